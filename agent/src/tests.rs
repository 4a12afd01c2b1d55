//! What the tests of several rooms share.

pub(crate) mod host;
pub(crate) mod scene;
