//! Schedules as they are set and shown.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use writ_domain::schedule::{Rule, Tick};
use writ_store::schedule::Schedule;
use writ_store::schedule::fire::Fire;

/// When a schedule's times come, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleRule {
    /// Five fields: minute, hour, day of the month, month, day of the week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    pub cron: String,
    /// By whose clock: a zone of the IANA database; `UTC` where it is not given.
    #[serde(default = "utc")]
    pub zone: String,
    /// Each time is put off by up to so much, by its own part of it; at most a day.
    #[serde(default)]
    pub jitter_seconds: u64,
    /// What becomes of times at which no controller was there: `none`, `latest` or `all`; `latest` where it is not given.
    #[serde(default = "latest")]
    pub catch_up: String,
    /// With `all`: how many of the last; 1 to 16.
    #[serde(default)]
    pub catch_up_max: Option<u32>,
    /// What becomes of a time while what the one before started has not ended: `skip`, `queue` or `cancel`; `skip` where it is not given.
    #[serde(default = "skip")]
    pub overlap: String,
    /// When something may be started; always, where there is none.
    #[serde(default)]
    pub windows: Vec<WindowRule>,
    /// When nothing may be started.
    #[serde(default)]
    pub freezes: Vec<FreezeRule>,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn latest() -> String {
    "latest".to_owned()
}

fn skip() -> String {
    "skip".to_owned()
}

/// A maintenance window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowRule {
    /// When it opens, as `cron`, in the schedule's zone.
    pub opens: String,
    /// For how long; at most a week.
    pub minutes: u32,
}

/// A freeze.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FreezeRule {
    /// From this instant on, RFC 3339.
    pub from: String,
    /// Until before this one, RFC 3339.
    pub until: String,
}

/// A time that is still to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TickView {
    /// The time that the expression names, RFC 3339.
    pub at: String,
    /// The same by the clock of the schedule's zone.
    pub local: String,
    /// When it is due: that, put off by its jitter.
    pub due_at: String,
}

impl TickView {
    pub(in crate::app) fn new(rule: &Rule, tick: Tick) -> Self {
        Self {
            at: tick.at.to_string(),
            local: rule.zone.show(tick.at),
            due_at: tick.due.to_string(),
        }
    }
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it starts: `apply`, `check` or `cost_report`.
    pub starts: String,
    /// Of which plan; null for reports.
    pub plan_digest: Option<String>,
    /// When.
    pub rule: ScheduleRule,
    /// Whether it is paused: its times are then skipped.
    pub paused: bool,
    /// The next time; null when there will be no more.
    pub next: Option<TickView>,
    /// Every time until here has been decided, RFC 3339.
    pub decided_until: String,
    /// How many times wait for what runs to end.
    pub queued: u32,
    /// Who set it.
    pub created_by: String,
    /// When, RFC 3339.
    pub created_at: String,
    /// When it was removed, RFC 3339; null while it was not.
    pub removed_at: Option<String>,
}

impl ScheduleView {
    pub(in crate::app) fn new(row: &Schedule, set: ScheduleRule, rule: &Rule) -> Self {
        Self {
            id: row.schedule_id.to_string(),
            name: row.name.clone(),
            starts: row.kind.name().to_owned(),
            plan_digest: row.plan_digest.map(|digest| digest.to_string()),
            rule: set,
            paused: row.is_paused,
            next: row.next.map(|tick| TickView::new(rule, tick)),
            decided_until: row.decided_at.to_string(),
            queued: row.queued,
            created_by: row.created_by.clone(),
            created_at: row.created_at.to_string(),
            removed_at: row.removed_at.map(|at| at.to_string()),
        }
    }
}

/// What became of a time, or of several in a row that were skipped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FireView {
    /// The first of them, RFC 3339.
    pub at: String,
    /// The last of them.
    pub through: String,
    /// How many.
    pub times: u64,
    /// `started`, `queued`, `skipped` or `failed`.
    pub state: String,
    /// Why it was skipped (`paused`, `missed`, `superseded`, `overlap`, `queue_full`, `outside_window`, `frozen`, `locked_down`, `removed`) or could not be
    /// started (a code); null where it was started.
    pub reason: Option<String>,
    /// The same in words, or what was made.
    pub detail: Option<String>,
    /// The run that it started.
    pub run_id: Option<String>,
    /// When it was due.
    pub due_at: String,
    /// When what became of it was decided.
    pub decided_at: String,
    /// When it was started; null where it was not.
    pub started_at: Option<String>,
}

impl From<Fire> for FireView {
    fn from(fire: Fire) -> Self {
        Self {
            at: fire.at.to_string(),
            through: fire.through.to_string(),
            times: fire.times,
            state: fire.state.name().to_owned(),
            reason: fire.reason,
            detail: fire.detail,
            run_id: fire.run_id.map(|run| run.to_string()),
            due_at: fire.due.to_string(),
            decided_at: fire.decided_at.to_string(),
            started_at: fire.started_at.map(|at| at.to_string()),
        }
    }
}
