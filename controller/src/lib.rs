//! Doors, desk and clocks of the controller.

pub mod bus;
pub mod config;
