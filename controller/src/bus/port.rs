//! What the bus asks of the desk: the only functions that its doors call, so that they can be tried against a real bus without a ledger.

use bytes::Bytes;
use writ_protocol::id::AgentId;
use writ_protocol::manifest::Generation;
use writ_protocol::nats::UserKey;
use writ_protocol::subject::Shard;

use super::deliver::Parcel;

/// The desk could not do it.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct DeskError {
    /// Why, with its causes.
    pub detail: String,
    /// Whether the same call can succeed later: the ledger is away, or the lease was lost.
    pub retryable: bool,
}

/// Manifests that the bus should hold.
pub trait Outbox: Send + Sync {
    /// The newest manifests of agents of some shards whose place on the bus is behind, oldest first, signed.
    fn dirty(
        &self,
        shards: &[Shard],
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Parcel>, DeskError>> + Send;

    /// These are on the bus; whatever became newer meanwhile stays dirty.
    fn published(&self, parcels: &[Parcel]) -> impl Future<Output = Result<(), DeskError>> + Send;
}

/// An event batch as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The agent that its subject names; the server has checked it.
    pub key: UserKey,
    /// The message.
    pub message: Bytes,
    /// How often it was given out, from 1.
    pub delivery: i64,
}

/// A signed watermark to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// To whom.
    pub key: UserKey,
    /// The envelope's JSON.
    pub envelope: Bytes,
}

/// What became of batches that were taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingested {
    /// The watermarks to send now that it is committed.
    pub marks: Vec<Mark>,
    /// Places of the arrivals that do not verify, contradict what is known, or come from nobody: they stand among the dead letters.
    pub refused: Vec<usize>,
    /// Places of the arrivals of which nothing was written, because the lease of their shard is not held.
    pub unheld: Vec<usize>,
}

/// Where event batches go.
pub trait Inbox: Send + Sync {
    /// Takes batches in one transaction, each fenced by the lease of its shard; those that it refuses are set aside by the same commit.
    fn ingest(&self, arrivals: &[Arrival]) -> impl Future<Output = Result<Ingested, DeskError>> + Send;

    /// Sets a batch aside that cannot be taken even alone.
    fn set_aside(
        &self,
        arrival: &Arrival,
        why: &DeskError,
    ) -> impl Future<Output = Result<(), DeskError>> + Send;
}

/// Where the ledger says that an agent's manifest stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The agent.
    pub agent: AgentId,
    /// Its bus identity.
    pub key: UserKey,
    /// Its newest signed manifest. An agent without one has no place.
    pub at: Generation,
}

/// The ledger, agent by agent.
pub trait Walk: Send + Sync {
    /// The places of the next agents in the order of their ids.
    fn places(
        &self,
        after: Option<AgentId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Place>, DeskError>> + Send;

    /// Has the manifests of these agents published again.
    fn mark_dirty(&self, agents: &[AgentId]) -> impl Future<Output = Result<(), DeskError>> + Send;
}
