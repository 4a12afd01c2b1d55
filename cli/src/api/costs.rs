//! What the API says of costs. Amounts are micro-units.

use serde::{Deserialize, Serialize};

use super::{Client, Rest};

/// Most pages of a report that are followed.
const PAGES_MAX: usize = 1_000;

/// A report of costs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CostReport {
    /// What its lines are about.
    pub by: String,
    /// Orders made at or after count.
    pub from: String,
    /// Orders made before count.
    pub to: String,
    /// Only orders of this project count.
    pub project: Option<String>,
    /// In which currency.
    pub currency: String,
    /// The sums over all lines.
    pub total: CostLine,
    /// The lines.
    pub items: Vec<CostLine>,
    /// Where the next page begins.
    #[serde(default, skip_serializing)]
    pub next: Option<String>,
    /// Orders of which nobody knows all that they cost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownCost>,
}

/// A line of a report, or its total.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CostLine {
    /// What it is of; empty for the total.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// How many orders have a part in it.
    pub orders: u64,
    /// What they cost, as far as it is known.
    pub cost_micros: u64,
    /// What is counted beyond that.
    pub unknown_micros: u64,
    /// Both.
    pub counted_micros: u64,
    /// Promised to orders that have not ended.
    pub open_micros: u64,
    /// Versions of the rate cards that priced it.
    pub rate_cards: Vec<u32>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// An order of which nobody knows all that it cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnknownCost {
    /// Its run.
    pub run_id: String,
    /// The host's name.
    pub agent_name: String,
    /// Where it stands.
    pub state: String,
    /// `silent` or `unmetered`.
    pub why: String,
    /// What is known.
    pub cost_micros: u64,
    /// What it is counted as.
    pub counted_micros: u64,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Client {
    /// Every line of a report; `window` begins with `&`, or is empty. Its pages may be of different moments of the ledger.
    ///
    /// # Errors
    /// A fault.
    pub fn costs(&self, by: &str, window: &str) -> anyhow::Result<CostReport> {
        let mut report: CostReport = self.get(&format!("/api/v1/costs?by={by}&limit=500{window}"))?;
        // A window that ends now is the first page's for the pages after it too.
        let project = report
            .project
            .as_ref()
            .map_or_else(String::new, |name| format!("&project={name}"));
        let settled = format!(
            "/api/v1/costs?by={by}&limit=500{project}&from={}&to={}",
            report.from, report.to
        );
        for _ in 0..PAGES_MAX {
            let Some(next) = report.next.take() else { break };
            let page: CostReport = self.get(&format!("{settled}&cursor={next}"))?;
            report.items.extend(page.items);
            (report.total, report.next) = (page.total, page.next);
        }
        Ok(report)
    }

    /// The dearest of a window.
    ///
    /// # Errors
    /// A fault.
    pub fn cost_top(&self, by: &str, limit: u32, window: &str) -> anyhow::Result<CostReport> {
        self.get(&format!("/api/v1/costs/top?by={by}&limit={limit}{window}"))
    }

    /// Orders of which nobody knows all that they cost.
    ///
    /// # Errors
    /// A fault.
    pub fn unknown_costs(&self, window: &str) -> anyhow::Result<Vec<UnknownCost>> {
        self.list(&format!("/api/v1/costs/unknown?limit=500{window}"), usize::MAX)
    }
}
