//! What the API says of drift.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Client, Rest};

/// A property that is not as it should be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DriftChange {
    /// Which.
    pub attribute: String,
    /// What should be.
    pub want: String,
    /// What is.
    pub got: String,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// Why nobody could see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DriftUnseen {
    /// Why, as a code.
    pub code: String,
    /// Why, in words.
    pub detail: String,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// A resource on a host that is, or was, not as its plan wants it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Its id.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// The project.
    pub project: String,
    /// The resource.
    pub resource: String,
    /// What it is about.
    pub class: String,
    /// How bad it is.
    pub severity: String,
    /// Where it stands.
    pub state: String,
    /// Whether it comes and goes.
    pub flapping: bool,
    /// What differed when it was last seen.
    pub changes: Vec<DriftChange>,
    /// Why nobody can see.
    pub unseen: Option<DriftUnseen>,
    /// How often it came.
    pub occurrences: u32,
    /// When it was first seen.
    pub first_seen: String,
    /// When it was last seen.
    pub last_seen: String,
    /// When it was last as it should be.
    pub last_clean: Option<String>,
    /// Who knows.
    pub acknowledged_by: Option<String>,
    /// What they said.
    pub reason: Option<String>,
    /// The suppression or baseline because of which it is expected.
    #[serde(default)]
    pub expected_by: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// A finding with what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindingDetail {
    /// As it is.
    pub finding: Finding,
    /// The latest first.
    pub history: Vec<FindingEvent>,
}

/// Something that became of a finding.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindingEvent {
    /// When.
    pub at: String,
    /// What.
    pub what: String,
    /// Who.
    pub actor: String,
    /// The finding as it was then.
    pub detail: Value,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What is watched of a project on a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedHost {
    /// The agent's name.
    pub agent: String,
    /// The project.
    pub project: String,
    /// `clean`, `differs` or `unknown`.
    pub state: String,
    /// When it was last looked at.
    pub looked_at: String,
    /// How long ago, seconds.
    pub age_seconds: u64,
    /// Resources that are looked at.
    pub watched: u64,
    /// Resources that no look can judge.
    pub unwatched: u64,
    /// How many differ.
    pub differing: u64,
    /// How many nobody can see.
    pub unseen: u64,
    /// How many differ as somebody said that they may; a controller from before says nothing of it.
    #[serde(default)]
    pub expected: u64,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// How far a look that somebody asked for has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scan {
    /// When it was asked for.
    pub asked_at: String,
    /// Projects on hosts that are watched there.
    pub watches: u64,
    /// Those that were looked at since.
    pub looked: u64,
    /// Those that were not, and from which a look may be expected now.
    pub coming: u64,
    /// Those that were not; the first of them.
    pub missing: Vec<ScanMissing>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// A project on a host that was not looked at since.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScanMissing {
    /// The agent's name.
    pub agent: String,
    /// The project.
    pub project: String,
    /// Why.
    pub why: String,
    /// When its agent was last heard.
    pub last_seen: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Client {
    /// Asks for a look now at what is watched there: names and values of the request.
    ///
    /// # Errors
    /// A fault.
    pub fn ask_for_scan(&self, of: &[(&'static str, String)]) -> anyhow::Result<Scan> {
        let body: serde_json::Map<String, Value> = of
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
            .collect();
        self.post("/api/v1/drift/scans", &Value::Object(body))
    }

    /// How far it has come; `query` as in [`Client::findings`].
    ///
    /// # Errors
    /// A fault.
    pub fn scan(&self, query: &str) -> anyhow::Result<Scan> {
        self.get(&format!("/api/v1/drift/scans{query}"))
    }

    /// Findings, the newest first; `query` is empty or begins with a question mark.
    ///
    /// # Errors
    /// A fault.
    pub fn findings(&self, query: &str) -> anyhow::Result<Vec<Finding>> {
        self.list(&format!("/api/v1/drift{query}"), usize::MAX)
    }

    /// One finding with what became of it.
    ///
    /// # Errors
    /// A fault.
    pub fn finding(&self, id: &str) -> anyhow::Result<FindingDetail> {
        self.get(&format!("/api/v1/drift/{id}"))
    }

    /// What is watched on which hosts; `query` as in [`Client::findings`].
    ///
    /// # Errors
    /// A fault.
    pub fn watched_hosts(&self, query: &str) -> anyhow::Result<Vec<WatchedHost>> {
        self.list(&format!("/api/v1/drift/hosts{query}"), usize::MAX)
    }

    /// Says that somebody knows of a finding.
    ///
    /// # Errors
    /// A fault.
    pub fn acknowledge_finding(&self, id: &str, reason: &str) -> anyhow::Result<Finding> {
        let path = format!("/api/v1/drift/{id}/acknowledge");
        self.post(&path, &json!({ "reason": reason }))
    }
}
