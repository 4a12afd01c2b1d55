//! The ledger's nouns one by one: what each function promises of its rows, and of two connections that want them at once.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod agents;
mod budgets;
mod claims;
mod costs;
mod fixture;
mod halts;
mod liveness;
mod manifests;
mod marks;
mod orders;
mod runs;
mod steps;
mod tokens;
