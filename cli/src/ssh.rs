//! Agents on machines that the system's `ssh` reaches: one is carried over, speaks with the desk through the connection, and is gone with all that it
//! had when the connection is.
//!
//! ssh says who the host is and who we are, as its user has configured it; nothing here weakens that. What a host says before its agent speaks is
//! believed as little as what the agent says later: lines of bounded length, of which a few words are known.

mod carried;
mod carrier;
mod complaints;
mod host;

pub use carried::Carried;
pub use carrier::{Carrier, Means};
pub use host::{Host, NotAHost};

/// How often an agent at the end of a connection says hello: an answer is due to each.
pub const HELLO_INTERVAL: std::time::Duration = std::time::Duration::from_secs(4);
/// After so many seconds without a word of ours an agent ends, and its host forgets it.
pub const SILENCE_SECONDS: u64 = 16;
