//! Incidents as they are shown.

use serde::Serialize;
use utoipa::ToSchema;
use writ_store::incident::{Incident, Kept};

/// An incident: what its entries in the log add up to.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncidentView {
    /// Its id; later ones are greater.
    pub id: String,
    /// `halt`, `budget`, `dispute`, `fork`, `clone` or `cost-report`.
    pub kind: String,
    /// `open`, `acknowledged` or `closed`.
    pub state: String,
    /// What it is one of: while an incident of a cause is open, there is no other.
    pub cause: String,
    /// For people.
    pub summary: String,
    /// The halt.
    pub halt_id: Option<String>,
    /// The run.
    pub run_id: Option<String>,
    /// The agent.
    pub agent_id: Option<String>,
    /// How many orders it is about.
    pub orders: u64,
    /// When it was opened, RFC 3339.
    pub opened_at: String,
    /// Who has seen it.
    pub acked_by: Option<String>,
    /// When, RFC 3339.
    pub acked_at: Option<String>,
    /// Who closed it.
    pub closed_by: Option<String>,
    /// When, RFC 3339.
    pub closed_at: Option<String>,
    /// Why it was closed.
    pub reason: Option<String>,
    /// The number of its last entry in the log.
    pub last_seq: u64,
}

/// An incident with its first entries.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncidentDetailView {
    /// What they add up to.
    pub incident: IncidentView,
    /// At most a hundred; the log has them all.
    pub entries: Vec<IncidentEntryView>,
}

/// An entry of the log as it is kept.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncidentEntryView {
    /// Its number, from 1, without holes, over all incidents.
    pub seq: u64,
    /// The JSON of the entry, to the byte: who did what, when, and which orders it is about.
    pub body: String,
    /// SHA-256 of `writ-incident/v1`, a newline, the 32 bytes of the digest before it (zero before the first), and the body.
    pub hash: String,
}

impl From<Incident> for IncidentView {
    fn from(one: Incident) -> Self {
        let (acked_by, acked_at) = one.acked.unzip();
        let (closed_by, closed_at, reason) = match one.closed {
            Some((by, at, reason)) => (Some(by), Some(at.to_string()), Some(reason)),
            None => (None, None, None),
        };
        Self {
            id: one.incident_id.to_string(),
            kind: one.kind.name().to_owned(),
            state: one.state.name().to_owned(),
            cause: one.cause,
            summary: one.summary,
            halt_id: one.halt_id.map(|id| id.to_string()),
            run_id: one.run_id.map(|id| id.to_string()),
            agent_id: one.agent_id.map(|id| id.to_string()),
            orders: one.orders,
            opened_at: one.opened_at.to_string(),
            acked_by,
            acked_at: acked_at.map(|at| at.to_string()),
            closed_by,
            closed_at,
            reason,
            last_seq: one.last_seq,
        }
    }
}

impl From<Kept> for IncidentEntryView {
    fn from(kept: Kept) -> Self {
        Self {
            seq: kept.head.seq,
            body: kept.body,
            hash: kept.head.hash.to_string(),
        }
    }
}
