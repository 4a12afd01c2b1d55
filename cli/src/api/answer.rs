//! What the API answers, as far as the CLI reads it. Fields that a newer controller adds are passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A page of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last.
    #[serde(default)]
    pub next: Option<String>,
}

/// A join token to be made.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewJoinToken {
    /// The name of the agent that uses it; its hostname when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels of the agent.
    pub labels: BTreeMap<String, String>,
    /// How long it counts.
    pub ttl_seconds: u64,
}

/// An agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Everything else, as the controller says it.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

impl Agent {
    /// Whether a hello was seen.
    pub fn is_connected(&self) -> bool {
        self.rest.get("lastSeen").is_some_and(|seen| !seen.is_null())
    }
}
