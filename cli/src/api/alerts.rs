//! What the API says of alerts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Client, Rest};

/// A notification of one receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Its id, by which receivers know it.
    pub id: String,
    /// To whom.
    pub receiver: String,
    /// Under which rule.
    pub rule: String,
    /// How bad it is.
    pub severity: String,
    /// How it stands.
    pub state: String,
    /// Why it was dropped.
    pub reason: Option<String>,
    /// What happened.
    pub events: Vec<Value>,
    /// When it was made.
    pub made_at: String,
    /// When it is, or was, due.
    pub due_at: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was last tried.
    pub tried_at: Option<String>,
    /// What the receiver said.
    pub answer: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// Somebody who is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// `webhook`, `slack` or `email`.
    pub kind: String,
    /// Whether anything is sent at all.
    pub delivers: bool,
    /// Whether it is told of findings of the class security.
    pub sees_security: bool,
    /// How many it takes in a span.
    pub rate_most: u32,
    /// The span, seconds.
    pub rate_per_seconds: u64,
    /// How many quiet hours it has.
    pub quiet_hours: u64,
    /// How often it is tried.
    pub tries: u32,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// Which events are for whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRule {
    /// Its name.
    pub name: String,
    /// Kinds of events.
    pub events: Vec<String>,
    /// At least as bad as this.
    pub at_least: String,
    /// Of any of these classes.
    pub classes: Vec<String>,
    /// Of any of these projects.
    pub projects: Vec<String>,
    /// On hosts of any of these environments.
    pub environments: Vec<String>,
    /// On hosts that carry all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Who is told.
    pub receivers: Vec<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Client {
    /// Notifications, the newest first; `query` is empty or begins with a question mark.
    ///
    /// # Errors
    /// A fault.
    pub fn alerts(&self, query: &str) -> anyhow::Result<Vec<Alert>> {
        self.list(&format!("/api/v1/alerts{query}"), usize::MAX)
    }

    /// One notification.
    ///
    /// # Errors
    /// A fault.
    pub fn alert(&self, id: &str) -> anyhow::Result<Alert> {
        self.get(&format!("/api/v1/alerts/{id}"))
    }

    /// Sends a dead notification again.
    ///
    /// # Errors
    /// A fault.
    pub fn replay_alert(&self, id: &str) -> anyhow::Result<Alert> {
        self.post(&format!("/api/v1/alerts/{id}/replay"), &json!({}))
    }

    /// Who can be told.
    ///
    /// # Errors
    /// A fault.
    pub fn alert_receivers(&self) -> anyhow::Result<Vec<Receiver>> {
        self.list("/api/v1/alert-receivers", usize::MAX)
    }

    /// Of what they are told.
    ///
    /// # Errors
    /// A fault.
    pub fn alert_rules(&self) -> anyhow::Result<Vec<AlertRule>> {
        self.list("/api/v1/alert-rules", usize::MAX)
    }

    /// Makes a notification to see whether a receiver is reached.
    ///
    /// # Errors
    /// A fault.
    pub fn test_receiver(&self, receiver: &str) -> anyhow::Result<Alert> {
        self.post(&format!("/api/v1/alert-receivers/{receiver}/test"), &json!({}))
    }
}
