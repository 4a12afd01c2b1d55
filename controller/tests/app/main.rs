//! The desk over a real PostgreSQL, without a bus: what each use case promises, judged by what the desk shows and hosts would believe.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a fixture that cannot be made is a failed test"
)]
#![expect(
    clippy::default_trait_access,
    reason = "a first page or no labels is what most tests ask for"
)]

mod agents;
mod alerts;
mod budgets;
mod cancel;
mod cost_reports;
mod costs;
mod desk;
mod drift;
mod enrolment;
mod evidence;
mod forget;
mod halts;
mod hello;
mod host;
mod incidents;
mod ingest;
mod journal;
mod life;
mod lifts;
mod lockdown;
mod manifests;
mod once;
mod poison;
mod rates;
mod remediation;
mod resume;
mod rollout;
mod runs;
mod schedules;
mod settling;
mod sharing;
mod signed_costs;
mod slos;
mod standing;
mod sweep;
mod together;
mod tokens;
mod traces;
mod triggers;
