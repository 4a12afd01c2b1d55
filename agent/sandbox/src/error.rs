//! Why a program was not run.

use std::io;

use writ_protocol::exec::Isolation;
use writ_protocol::reason::Code;

/// A run that did not take place. A program that ran and failed is an [`crate::Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spec breaks a rule.
    #[error("the step cannot be run: {rule}")]
    Spec {
        /// The rule, in words.
        rule: String,
    },
    /// A limit could not be set or reads back differently.
    #[error(
        "limit {name} of {requested} cannot be enforced on this host: {detail}; ask for less or raise the agent's own limit"
    )]
    Limit {
        /// Which limit.
        name: String,
        /// The value asked for.
        requested: u64,
        /// What the kernel said.
        detail: String,
    },
    /// The isolation asked for is not to be had.
    #[error("isolation {wanted:?} cannot be had on this host: {detail}")]
    Isolation {
        /// What was asked for.
        wanted: Isolation,
        /// Why not.
        detail: String,
    },
    /// The program could not be started: not found, not executable, no such directory.
    #[error("cannot start {program:?}: {detail}")]
    Start {
        /// The program or directory.
        program: String,
        /// What the kernel said.
        detail: String,
    },
    /// The shim did not do its work.
    #[error("the sandbox shim failed: {detail}")]
    Shim {
        /// What it said, or that it said nothing.
        detail: String,
    },
    /// A system call of the agent itself failed.
    #[error("failed to {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    pub(crate) fn os(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Io {
            what,
            source: errno.into(),
        }
    }

    /// The stable code to report.
    pub const fn code(&self) -> Code {
        match self {
            Self::Spec { .. } => Code::GraphInvalid,
            Self::Limit { .. } => Code::LimitUnavailable,
            Self::Isolation { .. } => Code::IsolationUnavailable,
            Self::Start { .. } => Code::StepFailed,
            Self::Shim { .. } | Self::Io { .. } => Code::Internal,
        }
    }
}
