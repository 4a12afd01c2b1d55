//! What the API says of signed reports of costs.

use serde::{Deserialize, Serialize};
use serde_json::json;
use writ_protocol::digest::Digest;

use super::{Client, Rest};

/// A report that is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredCostReport {
    /// The week.
    pub week: String,
    /// SHA-256 of its document.
    pub digest: String,
    /// Orders in it.
    pub orders: u64,
    /// What they count as, micro-units.
    pub counted_micros: u64,
    /// Who had it made.
    pub made_by: String,
    /// When.
    pub made_at: String,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// A report with its parts, and what its signature follows from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedCostReport {
    /// The document.
    pub document: String,
    /// Its rendering.
    pub rendering: String,
    /// The signed word on both.
    pub envelope: String,
    /// The root's envelope.
    pub root: String,
    /// The trust policy's envelope.
    pub policy: String,
    /// Which.
    #[serde(flatten)]
    pub report: StoredCostReport,
}

impl Client {
    /// Signed reports, the newest first.
    ///
    /// # Errors
    /// A fault.
    pub fn cost_reports(&self) -> anyhow::Result<Vec<StoredCostReport>> {
        self.list("/api/v1/cost-reports", usize::MAX)
    }

    /// Has a week reported.
    ///
    /// # Errors
    /// A fault.
    pub fn sign_costs(&self, week: &str) -> anyhow::Result<StoredCostReport> {
        self.post("/api/v1/cost-reports", &json!({ "week": week }))
    }

    /// A week's report: the newest, or the one of a digest.
    ///
    /// # Errors
    /// A fault.
    pub fn cost_report(&self, week: &str, digest: Option<&Digest>) -> anyhow::Result<SignedCostReport> {
        let which = digest.map_or_else(String::new, |digest| format!("?digest={digest}"));
        self.get(&format!("/api/v1/cost-reports/{week}{which}"))
    }
}
