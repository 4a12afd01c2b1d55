//! The drift watch: holds the host against the last plan that each project applied here, and tells where it is not so. It changes nothing, and
//! starts no program of a plan.
//!
//! [`Rules`] decide when to look at what and what of it is news; [`Eyes`] have the kernel tell of changes at what plans describe; [`Kept`] is what is
//! wanted here, on disk. The shell (`app/drift.rs`) carries looks out beside the loop.

mod desired;
mod eyes;
mod places;
mod rules;

use std::time::Duration;

pub use desired::{Applied, DESIRED_MAX, Desired, Kept, wanted};
pub use eyes::{Eyes, Noticed};
pub use places::{Concerned, Places, is_watched};
pub use rules::{Ask, Input, Now, Rules, Shape};

/// How the watch behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two looks at everything.
    pub interval: Duration,
    /// Whether the kernel is asked to tell of changes.
    pub events: bool,
}
