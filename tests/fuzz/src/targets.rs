//! The targets, by what they need to know.

pub(crate) mod config;
pub(crate) mod journal;
pub(crate) mod pack;
pub(crate) mod plain;
pub(crate) mod request;
pub(crate) mod signed;
