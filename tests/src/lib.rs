//! Harness, system stories, swarm and benchmarks.

pub mod bench;
pub mod deb;
mod history;
pub mod nats;
pub mod observability;
pub mod sim;
pub mod torture;
pub mod world;
