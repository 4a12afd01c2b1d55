//! `writ dev`: a private PostgreSQL, a private nats-server, controllers and agents on this machine, started, watched and taken down by us.

pub mod account;
pub mod bus_keys;
pub mod controller;
pub mod fleet;
pub mod given;
pub mod guard;
mod inside;
pub mod lab;
pub mod layout;
pub mod nats;
mod parts;
pub mod port;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod stack;
pub mod state;
pub mod tls;
pub mod trust;
