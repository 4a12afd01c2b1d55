//! The sandbox from outside: programs that misbehave in every way we know of, on every combination of cgroup and isolation.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "tests; the setting for tests does not reach their helper functions"
)]

mod accounting;
mod attacks;
mod cell;
mod ending;
mod limits;
mod looks;
mod output;
mod stage;
mod starter;
mod surroundings;
mod users;
