//! Doors, desk and clocks of the controller.

pub mod app;
pub mod bus;
pub mod config;
pub mod signer;
