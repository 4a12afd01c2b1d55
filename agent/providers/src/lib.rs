//! The resource providers: what is there (`observe`), what differs (`diff`), make it so (`apply`).
//!
//! One engine for checks and for changes: both observe and diff with the same code, and an apply is followed by another observation. An
//! [`Observation`] says what is there without saying what is inside: contents appear as digests.
//!
//! To add a provider: a variant of [`writ_protocol::graph::Spec`], an arm in each function of [`Host`], a variant of [`Observation`], and a
//! room of its own beside `file` and `command` with the same three functions; for the conformance suite, a schema in `serve` and examples in
//! `conformance/providers`.
//!
//! The system's own tools change packages, services and accounts; what is there is read from the system's own files wherever they say it.
//!
//! Not here: the order of resources, retries, evidence (`writ-agent`); running processes (`writ-sandbox`).

mod accounts;
mod cache;
mod command;
mod context;
mod error;
mod external;
mod file;
mod group;
mod host;
mod logins;
mod observation;
mod package;
mod serve;
mod service;
mod tool;
mod user;
mod wait;
mod walk;

pub use command::{DEFAULT_PATH, GUARD_WALL_MAX};
pub use context::{Applied, Artefact, Context, Sinks, StepIds};
pub use error::Error;
pub use external::LOOK_WALL_MAX;
pub use host::Host;
pub use observation::{
    Change, CommandObservation, ExternalObservation, FileObservation, Found, GroupObservation,
    LoginObservation, Observation, Observed, Owner, PackageFound, PackageObservation, ServiceObservation,
    UserObservation,
};
pub use serve::BuiltIns;
