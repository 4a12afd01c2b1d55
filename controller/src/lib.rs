//! Doors, desk and clocks of the controller.

pub mod api;
pub mod app;
pub mod bus;
pub mod command;
pub mod config;
pub mod lease;
pub mod metrics;
pub mod notify;
pub mod serve;
pub mod signer;
pub mod tasks;
pub mod traces;
