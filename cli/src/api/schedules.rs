//! What the API says of schedules.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Client, Rest};

/// A schedule.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it starts.
    pub starts: String,
    /// Of which plan.
    pub plan_digest: Option<String>,
    /// When.
    pub rule: Value,
    /// Whether it is paused.
    pub paused: bool,
    /// The next time.
    pub next: Option<ComingTime>,
    /// How many times wait.
    pub queued: u32,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// A time that is still to come.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComingTime {
    /// The time, RFC 3339.
    pub at: String,
    /// The same by the clock of the schedule's zone.
    pub local: String,
    /// When it is due.
    pub due_at: String,
}

/// What became of a time, or of several in a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastTime {
    /// The first of them.
    pub at: String,
    /// The last of them.
    pub through: String,
    /// How many.
    pub times: u64,
    /// `started`, `queued`, `skipped` or `failed`.
    pub state: String,
    /// Why it was skipped or could not be started.
    pub reason: Option<String>,
    /// The same in words, or what was made.
    pub detail: Option<String>,
    /// The run that it started.
    pub run_id: Option<String>,
    /// When it was started.
    pub started_at: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Client {
    /// Schedules by name.
    ///
    /// # Errors
    /// A fault.
    pub fn schedules(&self) -> anyhow::Result<Vec<Schedule>> {
        self.list("/api/v1/schedules", usize::MAX)
    }

    /// One schedule.
    ///
    /// # Errors
    /// A fault.
    pub fn schedule(&self, schedule: &str) -> anyhow::Result<Schedule> {
        self.get(&format!("/api/v1/schedules/{schedule}"))
    }

    /// Sets a schedule.
    ///
    /// # Errors
    /// A fault.
    pub fn create_schedule(&self, body: &Value) -> anyhow::Result<Schedule> {
        self.post("/api/v1/schedules", body)
    }

    /// `pause`, `resume` or `remove` of a schedule.
    ///
    /// # Errors
    /// A fault.
    pub fn change_schedule(&self, schedule: &str, verb: &str, reason: &str) -> anyhow::Result<Schedule> {
        let path = format!("/api/v1/schedules/{schedule}/{verb}");
        self.post(&path, &json!({ "reason": reason }))
    }

    /// What became of a schedule's times, the latest first, at most `limit`.
    ///
    /// # Errors
    /// A fault.
    pub fn schedule_history(&self, schedule: &str, limit: usize) -> anyhow::Result<Vec<PastTime>> {
        let page = limit.clamp(1, 500);
        self.list(
            &format!("/api/v1/schedules/{schedule}/history?limit={page}"),
            limit,
        )
    }

    /// The times that come next.
    ///
    /// # Errors
    /// A fault.
    pub fn schedule_next(&self, schedule: &str, count: u32) -> anyhow::Result<Vec<ComingTime>> {
        self.get(&format!("/api/v1/schedules/{schedule}/next?count={count}"))
    }
}
