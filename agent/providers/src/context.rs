//! What an engine's caller lends to a provider, and what it gets back.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use writ_protocol::digest::Digest;
use writ_protocol::exec::Usage;
use writ_sandbox::{Control, Loopback, Outcome, Sandbox, Stream};

use crate::error::Error;

/// What a provider may use while it works on one step.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Where commands and guards run.
    pub sandbox: &'a Sandbox,
    /// Stops whatever runs.
    pub control: &'a Control,
    /// Blobs of the bundle by digest; they were verified when the bundle was.
    pub blob: &'a (dyn Fn(&Digest) -> Option<&'a [u8]> + Sync),
    /// A folder that only the agent reaches, for programs out of the bundle; without one none is run.
    pub programs: Option<&'a Path>,
    /// Who the step is.
    pub ids: &'a StepIds,
    /// The network that the commands of an order share; each has its own where absent.
    pub network: Option<&'a Arc<Loopback>>,
    /// Where in it the agent's proxy listens; without one a command that names destinations is refused.
    pub door: Option<SocketAddr>,
    /// Whether a resource that changed notified this one.
    pub notified: bool,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("ids", self.ids)
            .field("notified", &self.notified)
            .finish_non_exhaustive()
    }
}

/// Names that a command finds in its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepIds {
    /// `WRIT_RUN_ID`.
    pub run_id: String,
    /// `WRIT_ORDER_ID`.
    pub order_id: String,
    /// `WRIT_IDEMPOTENCY_KEY`: the same for every attempt at this step.
    pub idempotency_key: String,
}

/// Where what comes out of a step goes while it runs.
pub struct Sinks<'a> {
    /// Live output of the command itself; guards are silent.
    pub on_output: &'a mut dyn FnMut(Stream, &[u8]),
    /// Each artefact, in the order of the spec.
    pub on_artefact: &'a mut dyn FnMut(Artefact),
}

impl std::fmt::Debug for Sinks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sinks")
    }
}

/// A file that a step produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// Its path as declared.
    pub path: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its bytes, at most [`writ_protocol::limits::ARTEFACT_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// What an apply did.
#[derive(Debug)]
pub struct Applied {
    /// Why the step failed, though it ran: exit code, limit, stop, artefact. What it used is to be paid all the same.
    pub failure: Option<Error>,
    /// The process, where there was one.
    pub run: Option<Outcome>,
    /// What it used.
    pub usage: Usage,
}
