//! What the desk shows: the forms in which doors hand things to operators. Fields are only ever added.

mod alert;
mod budget;
mod cost;
mod cost_report;
mod drift;
mod incident;
mod remediation;
mod rollout;
mod schedule;
mod slo;
mod trigger;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use writ_domain::order::OrderState;
use writ_protocol::record::StepResult;
use writ_store::{agent, halt, order, run, step, token};

pub use alert::{AlertRuleView, AlertView, ReceiverView};
pub use budget::BudgetView;
pub use cost::{CostLine, CostReportView, CostSums, UnknownCostView, UsedView};
pub use cost_report::{SignedCostReportView, StoredCostReportView};
pub use drift::{
    DriftChange, DriftDetailView, DriftEventView, DriftUnseen, DriftView, ScanMissing, ScanView,
    SuppressionTermsView, SuppressionView, WatchView,
};
pub use incident::{IncidentDetailView, IncidentEntryView, IncidentView};
pub use remediation::{RemediationPolicyView, RemediationView};
pub use rollout::RolloutView;
pub use schedule::{FireView, FreezeRule, ScheduleRule, ScheduleView, TickView, WindowRule};
pub use slo::{SloBurn, SloRule, SloView};
pub use trigger::{TriggerStartView, TriggerView};

/// An agent.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `active`, `quarantined` or `removed`.
    pub state: String,
    /// Why it stands so.
    pub state_reason: Option<String>,
    /// What selects it.
    pub labels: BTreeMap<String, String>,
    /// What its host says of itself.
    pub facts: BTreeMap<String, String>,
    /// The host's name.
    pub hostname: String,
    /// Its bus identity.
    pub user_key: String,
    /// When it enrolled, RFC 3339.
    pub enrolled_at: String,
    /// Its last hello, RFC 3339; null before the first.
    pub last_seen: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its newest manifest's generation.
    pub generation: u64,
    /// The generation that it holds.
    pub have_generation: Option<u64>,
    /// Its free disk, bytes.
    pub free_disk_bytes: Option<u64>,
    /// Its wall clock minus the controller's, microseconds.
    pub clock_offset_micros: Option<i64>,
    /// Whether it is stopping.
    pub draining: Option<bool>,
}

impl From<agent::Agent> for AgentView {
    fn from(a: agent::Agent) -> Self {
        let seen = a.seen;
        let of = |f: fn(&agent::Seen) -> u64| seen.as_ref().map(f);
        Self {
            id: a.agent_id.to_string(),
            name: a.name,
            state: a.state.name().to_owned(),
            state_reason: a.state_reason,
            labels: a.labels,
            facts: a.facts,
            hostname: a.hostname,
            user_key: a.user_key.to_string(),
            enrolled_at: a.created_at.to_string(),
            generation: a.generation,
            have_generation: of(|s| s.have_generation),
            free_disk_bytes: of(|s| s.free_disk_bytes),
            last_seen: seen.as_ref().map(|s| s.at.to_string()),
            clock_offset_micros: seen.as_ref().map(|s| s.clock_offset_us),
            draining: seen.as_ref().map(|s| s.draining),
            version: seen.map(|s| s.agent_version),
        }
    }
}

/// A run.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// Its id.
    pub id: String,
    /// `check` or `apply`.
    pub kind: String,
    /// The project.
    pub project: String,
    /// Where it stands.
    pub state: String,
    /// What it carries out, SHA-256.
    pub bundle_digest: String,
    /// The plan that was reviewed, SHA-256.
    pub plan_digest: Option<String>,
    /// Who asked for it.
    pub ordered_by: String,
    /// Why.
    pub reason: Option<String>,
    /// Where its trace goes on from, as W3C Trace Context has it: the request that made it, or itself.
    pub traceparent: Option<String>,
    /// When, RFC 3339.
    pub created_at: String,
    /// When it ended, RFC 3339.
    pub ended_at: Option<String>,
    /// How many orders stand where.
    pub counts: BTreeMap<String, u64>,
    /// What it cost, micro-units.
    pub cost_micros: u64,
    /// In which currency.
    pub currency: String,
    /// Its orders, by host; at most a page of them.
    pub orders: Vec<OrderView>,
    /// Where the next page of orders begins.
    pub orders_next: Option<String>,
    /// How it spreads over its hosts; null where it went to all at once.
    pub rollout: Option<RolloutView>,
    /// What its operator is to be told, in the answer to the request that ordered it: budgets that it goes past and that only warn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

impl RunView {
    pub(super) fn new(run: &run::Run, counts: &[order::Count], currency: &str) -> Self {
        let mine: Vec<&order::Count> = counts.iter().filter(|c| c.run_id == run.run_id).collect();
        Self {
            id: run.run_id.to_string(),
            kind: run::kind_name(run.kind).to_owned(),
            project: run.project.clone(),
            state: run.state.name().to_owned(),
            bundle_digest: run.bundle.digest.to_string(),
            plan_digest: run.plan_digest.map(|d| d.to_string()),
            ordered_by: run.ordered_by.clone(),
            reason: run.reason.clone(),
            traceparent: super::trace::text(run),
            created_at: run.created_at.to_string(),
            ended_at: run.ended_at.map(|t| t.to_string()),
            counts: mine.iter().fold(BTreeMap::new(), |mut counts, c| {
                *counts.entry(c.state.name().to_owned()).or_default() += c.orders;
                counts
            }),
            cost_micros: mine.iter().fold(0, |sum, c| sum.saturating_add(c.cost_micros)),
            currency: currency.to_owned(),
            orders: Vec::new(),
            orders_next: None,
            rollout: run.rollout.as_ref().map(|row| RolloutView::new(run, row, counts)),
            notices: Vec::new(),
        }
    }
}

/// One order of a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderView {
    /// Its id.
    pub id: String,
    /// The agent's id.
    pub agent_id: String,
    /// The agent's name.
    pub agent_name: String,
    /// Where it stands.
    pub state: String,
    /// Whether it is to stop.
    pub cancel_requested: bool,
    /// Whether the agent's word came after the controllers had given up.
    pub late: bool,
    /// Why it did not succeed.
    pub code: Option<String>,
    /// Why, in words.
    pub detail: Option<String>,
    /// When it was accepted, RFC 3339.
    pub accepted_at: Option<String>,
    /// When it ended, RFC 3339.
    pub ended_at: Option<String>,
    /// Steps that changed something.
    pub changed: Option<u32>,
    /// Steps that found nothing to do.
    pub unchanged: Option<u32>,
    /// Steps that failed.
    pub failed: Option<u32>,
    /// Steps that did not start.
    pub skipped: Option<u32>,
    /// What it cost, micro-units.
    pub cost_micros: Option<u64>,
}

impl From<order::Order> for OrderView {
    fn from(o: order::Order) -> Self {
        let step = |place: usize| o.steps.and_then(|s| s.get(place).copied());
        Self {
            id: o.order_id.to_string(),
            agent_id: o.agent_id.to_string(),
            agent_name: o.agent_name.clone(),
            state: o.state.name().to_owned(),
            cancel_requested: o.cancel_requested && !o.state.is_terminal(),
            late: o.late,
            code: o.code.clone(),
            detail: o.detail.clone().filter(|_| o.state != OrderState::Succeeded),
            accepted_at: o.accepted_at.map(|t| t.to_string()),
            ended_at: o.ended_at.map(|t| t.to_string()),
            changed: step(0),
            unchanged: step(1),
            failed: step(2),
            skipped: step(3),
            cost_micros: o.cost_micros,
        }
    }
}

/// One resource on one host.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// The order.
    pub order_id: String,
    /// The host's name.
    pub agent_name: String,
    /// The resource.
    pub step: String,
    /// Which attempt.
    pub attempt: u32,
    /// How it ended.
    pub outcome: String,
    /// Why it did not succeed.
    pub code: Option<String>,
    /// Why, in words.
    pub detail: String,
    /// What differed.
    #[schema(value_type = Vec<Object>)]
    pub changes: Value,
    /// How its process tree ended; null when it had none.
    #[schema(value_type = Option<Object>)]
    pub exit: Value,
    /// Limits as the kernel reported them.
    #[schema(value_type = Vec<Object>)]
    pub limits: Value,
    /// Isolation reached; null when nothing was started.
    #[schema(value_type = Option<String>)]
    pub isolation: Value,
    /// What it used.
    #[schema(value_type = Object)]
    pub usage: Value,
    /// What that cost, micro-units.
    pub cost_micros: u64,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// When it ended, RFC 3339.
    pub ended_at: String,
    /// The kept part of its output, SHA-256.
    pub output_digest: Option<String>,
    /// Bytes of output that were dropped.
    pub output_dropped: u64,
    /// What it did with the network that its plan gave it: each decision, and bytes; null where it gave none.
    #[schema(value_type = Option<Object>)]
    pub egress: Value,
}

impl StepView {
    pub(super) fn new(result: &StepResult, agent_name: &str) -> Self {
        let json = |value: Result<Value, serde_json::Error>| value.unwrap_or(Value::Null);
        Self {
            order_id: result.order_id.to_string(),
            agent_name: agent_name.to_owned(),
            step: result.step.clone(),
            attempt: result.attempt,
            outcome: result.outcome.name().to_owned(),
            code: result.code.map(|c| c.to_string()),
            detail: result.detail.clone(),
            changes: json(serde_json::to_value(&result.changes)),
            exit: json(serde_json::to_value(&result.exit)),
            limits: json(serde_json::to_value(&result.limits)),
            isolation: json(serde_json::to_value(result.isolation)),
            usage: json(serde_json::to_value(&result.usage)),
            cost_micros: result.cost_micros,
            started_at: result.started_at.to_string(),
            ended_at: result.ended_at.to_string(),
            output_digest: result.output.as_ref().map(|o| o.digest.to_string()),
            output_dropped: result.output_dropped,
            egress: json(serde_json::to_value(&result.egress)),
        }
    }
}

/// A file that a run produced.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtefactView {
    /// The order.
    pub order_id: String,
    /// The host's name.
    pub agent_name: String,
    /// Which step made it.
    pub step: String,
    /// Its path on the host.
    pub path: String,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// Their number.
    pub length: u64,
}

impl From<step::Artefact> for ArtefactView {
    fn from(a: step::Artefact) -> Self {
        Self {
            order_id: a.order_id.to_string(),
            agent_name: a.agent_name,
            step: a.step,
            path: a.path,
            digest: a.digest.to_string(),
            length: a.length,
        }
    }
}

/// What a check run found.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// The plan's name, SHA-256 of its canonical bytes.
    pub digest: String,
    /// The plan.
    #[schema(value_type = Object)]
    pub plan: writ_plan::plan::Plan,
}

/// A halt.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HaltView {
    /// Its id.
    pub id: String,
    /// `set` or `lifted`.
    pub state: String,
    /// What it covers: `all`, or an object with one of `project`, `environment`, `run` and `agent`.
    #[schema(value_type = Value)]
    pub scope: Value,
    /// `soft`, `hard` or `lockdown`.
    pub action: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub set_by: String,
    /// When, RFC 3339.
    pub set_at: String,
    /// When it was lifted, RFC 3339.
    pub lifted_at: Option<String>,
    /// The control epoch that it began.
    pub control_epoch: u64,
}

impl From<&halt::Halt> for HaltView {
    fn from(h: &halt::Halt) -> Self {
        Self {
            id: h.halt_id.to_string(),
            state: if h.lifted_at.is_some() { "lifted" } else { "set" }.to_owned(),
            scope: serde_json::to_value(&h.scope).unwrap_or(Value::Null),
            action: halt::action_name(h.action).to_owned(),
            reason: h.reason.clone(),
            set_by: h.set_by.clone(),
            set_at: h.set_at.to_string(),
            lifted_at: h.lifted_at.map(|t| t.to_string()),
            control_epoch: h.control_epoch,
        }
    }
}

/// How far a stop has come.
#[derive(Default, Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HaltStatusView {
    /// Agents that have taken it and carry out nothing that it covers.
    pub stopped: u64,
    /// Agents that have taken it and in which a step still ends: by itself under a soft halt, killed under another.
    pub ending: u64,
    /// Agents in its scope that are heard and have not taken it yet.
    pub pending: u64,
    /// Agents in its scope that have not been heard for two hello intervals.
    pub unreachable: u64,
    /// The latest instant by which everything that it covers has stopped, RFC 3339, whether or not anybody hears of it: the leases of those that
    /// have not taken it, and the wall limits of steps that may be under way. Null when all has stopped.
    pub all_stopped_by: Option<String>,
    /// Names of agents that have not taken it, at most a hundred.
    pub waiting_for: Vec<String>,
}

/// What a lift has to say beside who signs it and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiftTermsView {
    /// The tenant.
    pub tenant: String,
    /// The control epoch that the lift begins.
    pub control_epoch: u64,
}

/// A join token, shown once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenView {
    /// Its id.
    pub id: String,
    /// The token: a secret. Only in the first answer to the request that made it.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub token: String,
    /// Not to be used after, RFC 3339.
    pub expires_at: String,
}

/// An API token; its text is shown once, when it is made.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// Who it stands for.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it ends, RFC 3339.
    pub expires_at: Option<String>,
    /// When it was revoked, RFC 3339.
    pub revoked_at: Option<String>,
    /// The token itself. Only in the first answer to the request that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl From<token::ApiToken> for TokenView {
    fn from(t: token::ApiToken) -> Self {
        Self {
            id: t.token_id.to_string(),
            name: t.name,
            role: t.role,
            created_at: t.created_at.to_string(),
            expires_at: t.expires_at.map(|t| t.to_string()),
            revoked_at: t.revoked_at.map(|t| t.to_string()),
            token: None,
        }
    }
}

/// One change for those who watch.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeedView {
    /// Its place: what a reader gives as Last-Event-ID to go on after it.
    pub id: String,
    /// When, RFC 3339.
    pub at: String,
    /// What changed.
    pub topic: String,
    /// How.
    pub kind: String,
    /// The rest.
    #[schema(value_type = Object)]
    pub body: Value,
}
