//! Remediations as they are shown.

use serde::Serialize;
use utoipa::ToSchema;
use writ_store::remediation::{Remediation, policy};

/// What was begun against drift of a project on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemediationView {
    /// Its id; later ones are greater.
    pub id: String,
    /// The host's agent.
    pub agent: String,
    /// The project.
    pub project: String,
    /// The environment that the host was labelled with when it began.
    pub environment: Option<String>,
    /// `checking`, `proposed`, `remediating`, `verifying`, `resolved`, `failed` or `declined`.
    pub state: String,
    /// Why it stands so, in words.
    pub detail: String,
    /// Until when, RFC 3339; absent where nothing is waited for.
    pub deadline: Option<String>,
    /// The findings.
    pub findings: Vec<String>,
    /// Their resources.
    pub resources: Vec<String>,
    /// The order that applied the plan that it heads for.
    pub order_id: String,
    /// The run that checks what would change.
    pub check_run: String,
    /// The plan made of that; approving names it.
    pub plan_digest: Option<String>,
    /// The run that carries it out.
    pub run_id: Option<String>,
    /// Whether a person asked for it, or a policy did.
    pub asked: bool,
    /// Who began it.
    pub begun_by: String,
    /// Why.
    pub reason: String,
    /// When, RFC 3339.
    pub created_at: String,
    /// Who said yes.
    pub approved_by: Option<String>,
    /// When, RFC 3339.
    pub approved_at: Option<String>,
    /// When it was over, RFC 3339.
    pub ended_at: Option<String>,
}

impl From<&Remediation> for RemediationView {
    fn from(one: &Remediation) -> Self {
        let (approved_by, approved_at) = one.approved.clone().unzip();
        Self {
            id: one.remediation_id.to_string(),
            agent: one.agent_name.clone(),
            project: one.project.clone(),
            environment: one.environment.clone(),
            state: one.state.name().to_owned(),
            detail: one.outcome.clone(),
            deadline: one.deadline.map(|at| at.to_string()),
            findings: one.findings.iter().map(ToString::to_string).collect(),
            resources: one.resources.clone(),
            order_id: one.order_id.to_string(),
            check_run: one.check_run.to_string(),
            plan_digest: one.plan_digest.map(|digest| digest.to_string()),
            run_id: one.run_id.map(|id| id.to_string()),
            asked: one.is_asked,
            begun_by: one.begun_by.clone(),
            reason: one.reason.clone(),
            created_at: one.created_at.to_string(),
            approved_by,
            approved_at: approved_at.map(|at| at.to_string()),
            ended_at: one.ended_at.map(|at| at.to_string()),
        }
    }
}

/// What an environment lets happen without a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemediationPolicyView {
    /// The environment: the label `env` of its hosts.
    pub environment: String,
    /// `audit`, `propose` or `autocorrect`.
    pub mode: String,
    /// Most of its hosts that are worked on at once.
    pub hosts_at_once: u32,
    /// Most remediations within an hour that nobody asked for.
    pub per_hour: u32,
    /// So many that failed within a day stop it.
    pub failures_max: u32,
    /// Since when it is stopped, RFC 3339; setting it again has it go on.
    pub stopped_at: Option<String>,
    /// Who set it.
    pub set_by: String,
    /// When, RFC 3339.
    pub set_at: String,
    /// Why.
    pub reason: String,
}

impl From<&policy::Kept> for RemediationPolicyView {
    fn from(one: &policy::Kept) -> Self {
        Self {
            environment: one.environment.clone(),
            mode: one.policy.mode.name().to_owned(),
            hosts_at_once: one.policy.hosts_at_once,
            per_hour: one.policy.per_hour,
            failures_max: one.policy.failures_max,
            stopped_at: one.stopped_at.map(|at| at.to_string()),
            set_by: one.set_by.clone(),
            set_at: one.set_at.to_string(),
            reason: one.reason.clone(),
        }
    }
}
