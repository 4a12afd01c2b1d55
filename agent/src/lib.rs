//! The agent: takes signed orders for one host, carries them out under limits, and keeps signed evidence until the ledger has it.

pub mod app;
pub mod command;
pub mod config;
pub mod core;
pub mod drift;
pub mod egress;
pub mod evidence;
pub mod executor;
pub mod hello;
pub mod identity;
pub mod intake;
pub mod journal;
pub mod link;
pub mod machine;
pub mod metrics;
#[cfg(test)]
mod tests;
pub mod trust;
pub mod uplink;
