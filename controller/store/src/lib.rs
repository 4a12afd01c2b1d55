//! The ledger: every statement of SQL, and nothing that decides.
//!
//! One noun, one file. A function is `noun::verb(tx, …)` and runs one statement, which begins with `-- noun.verb` so that the server's own
//! views name it. Every statement stands in its file's registry; a test prepares all of them against a freshly migrated database
//! (`docs/adr/0005-sql-as-registered-statements.md`). Transactions are begun by `app` alone; `now` is an argument, except for leases, whose clock is
//! the server's own.
//!
//! To add a table: a migration with the next number, `cargo xtask tidy --seal`, a file here, its registry in [`statements`].

mod error;
mod instant;
mod metered;
mod row;
mod statement;
mod text;
mod tx;

pub mod agent;
pub mod alert;
pub mod audit;
pub mod budget;
pub mod cost;
pub mod cost_report;
pub mod drift;
pub mod evidence;
pub mod halt;
pub mod idempotency;
pub mod incident;
pub mod ingest;
pub mod join;
pub mod lease;
pub mod liveness;
pub mod manifest;
pub mod meta;
pub mod order;
pub mod rate_card;
pub mod remediation;
pub mod retention;
pub mod run;
pub mod schedule;
pub mod slo;
pub mod step;
pub mod token;
pub mod trigger;

#[cfg(feature = "testing")]
pub mod testing;

pub use error::Error;
pub use instant::writable;
pub use text::text as storable;
pub use tx::{Store, StoreOptions, Tx};

/// The schema versions that this build works with.
pub const SUPPORTED_SCHEMA: std::ops::RangeInclusive<i64> = 31..=31;

/// Every statement of the ledger.
pub fn statements() -> Vec<&'static str> {
    [
        agent::ALL,
        alert::ALL,
        alert::place::ALL,
        alert::shown::ALL,
        audit::ALL,
        budget::ALL,
        budget::GRANT_STATEMENTS,
        cost::ALL,
        cost_report::ALL,
        drift::ALL,
        drift::asked::ALL,
        drift::history::ALL,
        drift::shown::ALL,
        evidence::ALL,
        halt::ALL,
        idempotency::ALL,
        incident::ALL,
        ingest::ALL,
        join::ALL,
        lease::ALL,
        liveness::ALL,
        manifest::ALL,
        meta::ALL,
        order::ALL,
        order::traced::ALL,
        retention::ALL,
        rate_card::ALL,
        run::ALL,
        order::held::ALL,
        run::moved::ALL,
        schedule::ALL,
        schedule::fire::ALL,
        slo::ALL,
        step::ALL,
        token::ALL,
        trigger::ALL,
    ]
    .concat()
}
