//! `writ dev`: a private PostgreSQL, a private nats-server, controllers and agents on this machine, started, watched and taken down by us.

pub mod account;
pub mod bus_keys;
pub mod lab;
pub mod layout;
pub mod nats;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod state;
pub mod tls;
pub mod trust;
pub mod controller;
pub mod fleet;
mod parts;
pub mod stack;
