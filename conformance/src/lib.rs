//! Golden vectors of the wire protocol: inputs, good and bad, each with a sentence why, and what a reader must make of it; and [`provider`],
//! [`agent`] and [`controller`], the suites that examine providers, agents and controllers as they run.
//!
//! * [`case`] is the form of a vector: `conformance/vectors/<area>/<case>/case.json` beside its input files.
//! * [`world`] and [`run`] are the fixed keys, ids and documents that all vectors share.
//! * [`make`] writes every vector from them; equal code gives equal bytes on every machine.
//! * [`judge`] hands a vector to the public functions of `writ-protocol` and says what came of it.
//! * [`shelf`] reads and writes the folder.
//!
//! The verdicts are written down by hand in [`make`], never taken from [`judge`], so that a mistake in the protocol cannot make its own
//! proof. To add a vector: a `case` in the file of its area below `make/`, then `cargo run -p writ-conformance -- generate`.

pub mod agent;
pub mod bus;
pub mod case;
pub mod controller;
mod family;
pub mod judge;
pub mod make;
mod process;
pub mod provider;
pub mod run;
pub mod shelf;
pub mod world;
