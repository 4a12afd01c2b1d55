//! This machine as a fleet of one: a desk in this process, and the agent at the other end of a pipe.
//!
//! Nothing is made easier for it. The config becomes a signed bundle, an order comes in a signed manifest, the agent checks both against a root
//! that it pinned when it enrolled, and what it did comes back as signed batches of records, which are kept and of which a pack is made that
//! anybody can verify. What a controller keeps in PostgreSQL lies in a folder here: [`Ledger`]. What it decides, the desk decides; [`Session`]
//! carries the words.

mod desk;
mod kept;
mod ledger;
mod order;
mod places;
mod session;

pub use desk::{DeskError, Terms, Word};
pub use kept::{KEPT_PLANS_MAX, Kept, Origin};
pub use ledger::Ledger;
pub use order::{Ended, Ordered, Packed};
pub use places::Places;
pub use session::{Line, Session, Watching, spawn};

/// The tenant of this machine's own runs.
pub const TENANT: &str = "local";
/// How often an agent of this machine says hello.
pub const HELLO_INTERVAL: std::time::Duration = std::time::Duration::from_secs(20);
/// What a run may cost whose config names no budget, millionths of the rate card's unit: as a controller has it.
pub const DEFAULT_GRANT_MICROS: u64 = 10_000_000;
