//! What the API says of remediations.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use writ_protocol::digest::Digest;

use super::{Client, Rest};

/// What was begun against drift of a project on a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remediation {
    /// Its id.
    pub id: String,
    /// The host's agent.
    pub agent: String,
    /// The project.
    pub project: String,
    /// The environment of the host.
    pub environment: Option<String>,
    /// Where it stands.
    pub state: String,
    /// Why, in words.
    pub detail: String,
    /// The resources.
    pub resources: Vec<String>,
    /// The run that checks what would change.
    pub check_run: String,
    /// The plan made of that.
    pub plan_digest: Option<Digest>,
    /// The run that carries it out.
    pub run_id: Option<String>,
    /// Who began it.
    pub begun_by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub created_at: String,
    /// Who said yes.
    pub approved_by: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What an environment lets happen without a person.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemediationPolicy {
    /// The environment.
    pub environment: String,
    /// `audit`, `propose` or `autocorrect`.
    pub mode: String,
    /// Most hosts at once.
    pub hosts_at_once: u32,
    /// Most within an hour.
    pub per_hour: u32,
    /// So many failures stop it.
    pub failures_max: u32,
    /// Since when it is stopped.
    pub stopped_at: Option<String>,
    /// Who set it.
    pub set_by: String,
    /// Why.
    pub reason: String,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Client {
    /// Remediations, the newest first; `query` is empty or begins with a question mark.
    ///
    /// # Errors
    /// A fault.
    pub fn remediations(&self, query: &str) -> anyhow::Result<Vec<Remediation>> {
        self.list(&format!("/api/v1/remediations{query}"), usize::MAX)
    }

    /// One remediation.
    ///
    /// # Errors
    /// A fault.
    pub fn remediation(&self, id: &str) -> anyhow::Result<Remediation> {
        self.get(&format!("/api/v1/remediations/{id}"))
    }

    /// Has findings of one project on one host put right.
    ///
    /// # Errors
    /// A fault.
    pub fn remediate(&self, findings: &[String], reason: &str) -> anyhow::Result<Remediation> {
        let body = json!({ "findings": findings, "reason": reason });
        self.post("/api/v1/remediations", &body)
    }

    /// Says yes to a proposed remediation and its plan.
    ///
    /// # Errors
    /// A fault.
    pub fn approve_remediation(&self, id: &str, plan: &Digest) -> anyhow::Result<Remediation> {
        let path = format!("/api/v1/remediations/{id}/approve");
        self.post(&path, &json!({ "planDigest": plan }))
    }

    /// Says no to a remediation.
    ///
    /// # Errors
    /// A fault.
    pub fn decline_remediation(&self, id: &str, reason: &str) -> anyhow::Result<Remediation> {
        let path = format!("/api/v1/remediations/{id}/decline");
        self.post(&path, &json!({ "reason": reason }))
    }

    /// What environments let happen without a person.
    ///
    /// # Errors
    /// A fault.
    pub fn remediation_policies(&self) -> anyhow::Result<Vec<RemediationPolicy>> {
        self.get("/api/v1/remediation-policies")
    }

    /// Sets what an environment lets happen without a person.
    ///
    /// # Errors
    /// A fault.
    pub fn set_remediation_policy(
        &self,
        environment: &str,
        body: &Value,
    ) -> anyhow::Result<RemediationPolicy> {
        self.post(&format!("/api/v1/remediation-policies/{environment}"), body)
    }
}
