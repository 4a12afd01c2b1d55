//! The rulebook: what follows from what, for runs, orders, rollouts, agents, sessions, halts, leases, budgets, schedules, drift, alerts and service levels.
//!
//! Everything here is pure. A machine is a state, an event and an instant in, and a [`Transition`] or a refusal out; `app` writes the answer to
//! the ledger. Late and repeated events are answers (`changed: false`), not errors: a bus repeats, and agents come back after days.
//!
//! Reading order: [`order`], [`run`], [`rollout`], [`lease`], [`agent`], [`session`], [`halt`], [`budget`], [`schedule`], [`drift`], [`remediation`], [`alert`], [`slo`]; [`share`] is about controllers alone.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod agent;
pub mod alert;
pub mod budget;
pub mod drift;
pub mod halt;
pub mod lease;
pub mod order;
pub mod remediation;
pub mod rollout;
pub mod run;
pub mod schedule;
pub mod session;
pub mod share;
pub mod slo;
pub mod trigger;

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition<S> {
    /// The state afterwards.
    pub next: S,
    /// Whether it differs from the state before.
    pub changed: bool,
}

impl<S: PartialEq> Transition<S> {
    fn between(before: &S, next: S) -> Self {
        let changed = *before != next;
        Self { next, changed }
    }
}
