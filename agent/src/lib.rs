//! The agent: takes signed orders for one host, carries them out under limits, and keeps signed evidence until the ledger has it.

pub mod config;
pub mod journal;
