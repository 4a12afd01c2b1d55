//! Servers that the user gives instead of private ones: looked at before anything is written or started, so that what is missing is said with
//! its fix and not as the log of a program that ended.

mod bus;
mod database;

pub use bus::check as check_bus;
pub use database::{check as check_database, psql};
