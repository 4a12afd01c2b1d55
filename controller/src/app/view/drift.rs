//! Drift as it is shown.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use writ_domain::drift::watch::standing;
use writ_protocol::time::Timestamp;
use writ_store::drift::history::Event;
use writ_store::drift::shown::{Host, Shown};

/// A property that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DriftChange {
    /// Which.
    pub attribute: String,
    /// What should be.
    pub want: String,
    /// What is.
    pub got: String,
}

/// Why nobody could see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DriftUnseen {
    /// Why, as a code.
    pub code: String,
    /// Why, in words.
    pub detail: String,
}

/// A resource on a host that is, or was, not as the last applied plan wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftView {
    /// Its id; later ones are greater. What comes back is the same finding.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// The agent's id.
    pub agent_id: String,
    /// The project.
    pub project: String,
    /// The resource.
    pub resource: String,
    /// `configuration`, `security`, `availability`, `capacity`, `unknown` or `expected`.
    pub class: String,
    /// `info`, `warn` or `critical`.
    pub severity: String,
    /// `open`, `acknowledged`, `unknown` or `cleared`.
    pub state: String,
    /// Whether it comes and goes; what it does is not told until it is quiet or gets worse.
    pub flapping: bool,
    /// What differed when it was last seen.
    pub changes: Vec<DriftChange>,
    /// Why nobody can see.
    pub unseen: Option<DriftUnseen>,
    /// How often it came.
    pub occurrences: u32,
    /// When it was first seen, RFC 3339.
    pub first_seen: String,
    /// When it was last seen, RFC 3339.
    pub last_seen: String,
    /// When the resource was last seen as it should be, RFC 3339.
    pub last_clean: Option<String>,
    /// The order that applied the plan.
    pub order_id: String,
    /// Its run.
    pub run_id: String,
    /// Who knows.
    pub acknowledged_by: Option<String>,
    /// Since when, RFC 3339.
    pub acknowledged_at: Option<String>,
    /// What they said.
    pub reason: Option<String>,
}

/// A finding with what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftDetailView {
    /// As it is.
    pub finding: DriftView,
    /// The latest first, at most 200; older ones are forgotten after a time.
    pub history: Vec<DriftEventView>,
}

/// Something that became of a finding.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftEventView {
    /// When the host was looked at, or somebody said it, RFC 3339.
    pub at: String,
    /// `opened`, `changed`, `seen`, `reopened`, `flapping`, `unknown`, `cleared` or `acknowledged`.
    pub what: String,
    /// Who.
    pub actor: String,
    /// The finding as it was then.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// What is watched of a project on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchView {
    /// The agent's name.
    pub agent: String,
    /// The agent's id.
    pub agent_id: String,
    /// The project.
    pub project: String,
    /// `clean`, `differs` or `unknown`, by what the caller may see.
    pub state: String,
    /// When all of it was last looked at, RFC 3339.
    pub looked_at: String,
    /// How long ago.
    pub age_seconds: u64,
    /// Resources that are looked at.
    pub watched: u64,
    /// Resources of the plan that no look can judge.
    pub unwatched: u64,
    /// How many differ, as far as the caller may see them.
    pub differing: u64,
    /// How many nobody can see.
    pub unseen: u64,
    /// How many differ that the last answer had no room to name.
    pub left_out: u64,
    /// The order that applied the plan.
    pub order_id: String,
    /// Its run.
    pub run_id: String,
    /// The digest of the bundle that it applied.
    pub bundle: String,
}

impl DriftView {
    /// A finding as it is at an instant.
    pub(in crate::app) fn of(shown: Shown, now: Timestamp) -> Self {
        let one = shown.finding;
        // A look that left nothing out, and whose answer is still the last one, has seen this again.
        let whole = shown.looked.filter(|(_, left_out)| *left_out == 0);
        let standing = match whole {
            Some((at, _)) => one.standing.found_again(at),
            None => one.standing,
        };
        let change = |change: writ_protocol::record::Change| DriftChange {
            attribute: change.attribute,
            want: change.want,
            got: change.got,
        };
        let (acknowledged_by, acknowledged_at, reason) = match one.known {
            Some((by, at, why)) => (Some(by), Some(at.to_string()), Some(why)),
            None => (None, None, None),
        };
        Self {
            id: one.drift_id.to_string(),
            agent: shown.agent_name,
            agent_id: one.agent_id.to_string(),
            project: one.project,
            resource: one.resource,
            class: one.class.name().to_owned(),
            severity: one.severity.name().to_owned(),
            state: standing.state.name().to_owned(),
            flapping: standing.is_flapping(now),
            changes: one.changes.into_iter().map(change).collect(),
            unseen: one.unseen.map(|unseen| DriftUnseen {
                code: unseen.code.to_string(),
                detail: unseen.detail,
            }),
            occurrences: standing.occurrences,
            first_seen: standing.first_seen.to_string(),
            last_seen: standing.last_seen.to_string(),
            last_clean: standing.last_clean.map(|at| at.to_string()),
            order_id: one.order_id.to_string(),
            run_id: one.run_id.to_string(),
            acknowledged_by,
            acknowledged_at,
            reason,
        }
    }
}

impl From<Event> for DriftEventView {
    fn from(event: Event) -> Self {
        Self {
            at: event.at.to_string(),
            what: event.kind,
            actor: event.actor,
            detail: event.detail,
        }
    }
}

impl WatchView {
    /// A host's watch as it is at an instant.
    pub(in crate::app) fn of(host: Host, now: Timestamp) -> Self {
        let one = host.watch;
        let blind = host.unseen.saturating_add(one.left_out);
        Self {
            agent: host.agent_name,
            agent_id: one.agent_id.to_string(),
            project: one.project,
            state: standing(one.looked_at, host.differing, blind, now)
                .name()
                .to_owned(),
            looked_at: one.looked_at.to_string(),
            age_seconds: now.since(one.looked_at).as_secs(),
            watched: one.watched,
            unwatched: one.unwatched,
            differing: host.differing,
            unseen: host.unseen,
            left_out: one.left_out,
            order_id: one.order_id.to_string(),
            run_id: one.run_id.to_string(),
            bundle: one.bundle.to_string(),
        }
    }
}
