//! What the API says of known noise, and the operator's signature under it, which is made here.

use serde::{Deserialize, Serialize};
use serde_json::json;
use writ_protocol::key::SigningKey;
use writ_protocol::suppression::{Suppression, sign};

use super::{Client, DriftChange, Rest};

/// A suppression or baseline.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SuppressionKept {
    /// Its id.
    pub id: String,
    /// `suppression`, `baseline` or `unverified`.
    pub kind: String,
    /// The project.
    pub project: String,
    /// On this host only.
    pub host: Option<String>,
    /// On hosts with this environment only.
    pub environment: Option<String>,
    /// A resource's id, or the beginning of ids.
    pub resource: String,
    /// Whether what is critical may be so too.
    pub critical: bool,
    /// What a baseline takes.
    pub accepts: Option<Vec<DriftChange>>,
    /// Why.
    pub reason: String,
    /// The token that brought it.
    pub created_by: String,
    /// Until when it counts.
    pub expires_at: String,
    /// Since when it does not count any more.
    pub ended_at: Option<String>,
    /// Who ended it.
    pub ended_by: Option<String>,
    /// Why.
    pub end_reason: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What a suppression or baseline has to say.
#[derive(Clone, Debug, Deserialize)]
pub struct SuppressionTerms {
    /// The tenant.
    pub tenant: String,
}

impl Client {
    /// Suppressions and baselines, the newest first; `query` is empty or begins with a question mark.
    ///
    /// # Errors
    /// A fault.
    pub fn suppressions(&self, query: &str) -> anyhow::Result<Vec<SuppressionKept>> {
        self.list(&format!("/api/v1/suppressions{query}"), usize::MAX)
    }

    /// The tenant that one is for.
    ///
    /// # Errors
    /// A fault.
    pub fn suppression_terms(&self) -> anyhow::Result<SuppressionTerms> {
        self.get("/api/v1/suppressions/terms")
    }

    /// Signs one and gives it to the controller.
    ///
    /// # Errors
    /// A fault.
    pub fn suppress(&self, said: Suppression, key: &SigningKey) -> anyhow::Result<SuppressionKept> {
        let envelope = String::from_utf8(sign(said, key)?.to_json()?)?;
        self.post("/api/v1/suppressions", &json!({ "envelope": envelope }))
    }

    /// Takes one back.
    ///
    /// # Errors
    /// A fault.
    pub fn end_suppression(&self, id: &str, reason: &str) -> anyhow::Result<SuppressionKept> {
        let path = format!("/api/v1/suppressions/{id}/end");
        self.post(&path, &json!({ "reason": reason }))
    }
}
