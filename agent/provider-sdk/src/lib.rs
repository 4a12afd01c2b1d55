//! What a program needs to be a provider of Writ: implement [`Provider`], call [`serve`], and never write to standard output yourself.
//!
//! * [`Provider`] has the three questions, and [`Work`] what goes with each: what is wanted, content that the host lent, words of progress,
//!   and [`Cancel`].
//! * [`wire`] reads and writes frames, for both sides.
//! * The words themselves are [`writ_protocol::provider`].
//!
//! `writ provider new` writes a whole provider to begin with, `writ provider test` runs the conformance suite on it, and docs/providers.md
//! says what a provider owes.
//!
//! Not here: starting, holding down and ending providers, which is the host's work.

mod cancel;
mod provider;
mod serve;
pub mod wire;

pub use cancel::Cancel;
pub use provider::{Description, Provider, Work};
pub use serve::{ServeError, serve};
pub use writ_protocol::digest::Digest;
pub use writ_protocol::provider::{Capability, Change, Kind, Problem, Reason, Subject};
