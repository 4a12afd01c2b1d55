//! Drift as it is shown.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use writ_domain::drift::Class;
use writ_domain::drift::finding::State;
use writ_domain::drift::watch::standing;
use writ_protocol::suppression::Suppression;
use writ_protocol::time::Timestamp;
use writ_store::drift::history::Event;
use writ_store::drift::shown::{Host, Shown};
use writ_store::drift::suppression::Kept;

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
    /// `configuration`, `security`, `availability`, `capacity` or `unknown`, and `expected` where somebody said that it may differ so.
    pub class: String,
    /// What it is about, also where it is expected.
    pub signal: String,
    /// `info`, `warn` or `critical`.
    pub severity: String,
    /// `open`, `acknowledged`, `expected`, `unknown` or `cleared`.
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
    /// The suppression or baseline because of which it is expected.
    pub expected_by: Option<String>,
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
    /// `opened`, `changed`, `seen`, `reopened`, `flapping`, `unknown`, `cleared`, `acknowledged`, `expected` or `lapsed`.
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
    /// How many differ as somebody said that they may.
    pub expected: u64,
    /// How many differ that the last answer had no room to name.
    pub left_out: u64,
    /// The order that applied the plan.
    pub order_id: String,
    /// Its run.
    pub run_id: String,
    /// The digest of the bundle that it applied.
    pub bundle: String,
}

/// How far a look that somebody asked for has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScanView {
    /// When it was asked for, RFC 3339: what was looked at since counts.
    pub asked_at: String,
    /// Projects on hosts that are watched there.
    pub watches: u64,
    /// Those that were looked at since.
    pub looked: u64,
    /// Those that were not, and from which a look may be expected now.
    pub coming: u64,
    /// Those that were not, by host and project; at most 100.
    pub missing: Vec<ScanMissing>,
}

/// A project on a host that was not looked at since somebody asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScanMissing {
    /// The agent's name.
    pub agent: String,
    /// The project.
    pub project: String,
    /// `coming`: its agent was heard lately, and looks as soon as it has a moment. `offline`: it was not, or is stopping; it looks when it is back.
    /// `quarantined`: it looks at nothing. `unable`: its watch is switched off, or its version looks by its schedule alone.
    pub why: String,
    /// When it was last looked at, RFC 3339.
    pub looked_at: String,
    /// When its agent was last heard, RFC 3339.
    pub last_seen: Option<String>,
}

/// What somebody signed beforehand about drift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuppressionView {
    /// Its id; later ones are greater.
    pub id: String,
    /// `suppression` or `baseline`; `unverified` where its signature is not trusted, and it counts for nothing.
    pub kind: String,
    /// The project.
    pub project: String,
    /// On this host only.
    pub host: Option<String>,
    /// On hosts with this environment only.
    pub environment: Option<String>,
    /// A resource's id, or the beginning of ids with `*` behind it.
    pub resource: String,
    /// Whether what is critical may be so too.
    pub critical: bool,
    /// What a baseline takes, and nothing else.
    pub accepts: Option<Vec<DriftChange>>,
    /// Why.
    pub reason: String,
    /// The token that brought it.
    pub created_by: String,
    /// When, RFC 3339.
    pub created_at: String,
    /// Until when it counts, RFC 3339.
    pub expires_at: String,
    /// Since when it does not count any more, RFC 3339.
    pub ended_at: Option<String>,
    /// Who ended it; `controller` where its time was over.
    pub ended_by: Option<String>,
    /// Why.
    pub end_reason: Option<String>,
    /// The signed statement.
    pub envelope: String,
}

/// What a suppression or baseline has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuppressionTermsView {
    /// The tenant that it is for.
    pub tenant: String,
}

impl SuppressionView {
    /// One as it is kept, with what it says where that verifies.
    pub(in crate::app) fn of(kept: &Kept, said: Option<&Suppression>) -> Self {
        let kind = match said {
            None => "unverified",
            Some(said) if said.accepts.is_some() => "baseline",
            Some(_) => "suppression",
        };
        let change = |one: &writ_protocol::record::Change| DriftChange {
            attribute: one.attribute.clone(),
            want: one.want.clone(),
            got: one.got.clone(),
        };
        let accepts = said.and_then(|said| said.accepts.as_ref());
        let ended = kept.ended.clone();
        Self {
            id: kept.suppression_id.to_string(),
            kind: kind.to_owned(),
            project: kept.project.clone(),
            host: said.and_then(|said| said.host.clone()),
            environment: said.and_then(|said| said.environment.clone()),
            resource: said.map(|said| said.resource.clone()).unwrap_or_default(),
            critical: said.is_some_and(|said| said.critical),
            accepts: accepts.map(|all| all.iter().map(change).collect()),
            reason: said.map(|said| said.reason.clone()).unwrap_or_default(),
            created_by: kept.created_by.clone(),
            created_at: kept.created_at.to_string(),
            expires_at: kept.expires_at.to_string(),
            ended_at: ended.as_ref().map(|(at, ..)| at.to_string()),
            ended_by: ended.as_ref().map(|(_, by, _)| by.clone()),
            end_reason: ended.map(|(.., why)| why),
            envelope: String::from_utf8_lossy(&kept.envelope).into_owned(),
        }
    }
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
        let class = match standing.state {
            State::Expected => Class::Expected,
            State::Open | State::Acknowledged | State::Unknown | State::Cleared => one.class,
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
            class: class.name().to_owned(),
            signal: one.class.name().to_owned(),
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
            expected_by: one.expected_by.map(|id| id.to_string()),
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
            expected: host.expected,
            left_out: one.left_out,
            order_id: one.order_id.to_string(),
            run_id: one.run_id.to_string(),
            bundle: one.bundle.to_string(),
        }
    }
}
