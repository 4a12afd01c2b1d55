//! The providers from outside, in temporary directories: observe, diff, apply, and observe again.

#![expect(
    clippy::expect_used,
    reason = "tests; the setting for tests does not reach their helper functions"
)]

mod accounts;
mod artefacts;
mod checks;
mod commands;
mod externals;
mod files;
mod hostile;
mod keep;
mod lab;
mod packages;
mod services;
mod stage;
mod users;
