//! Schedules: what somebody set, and until when their times are decided. What became of each time stands in [`fire`].
//!
//! Whoever decides holds the schedule's row; another controller that looks meanwhile passes it over. The row's place in time moves in the
//! transaction that writes down, and starts, what was decided.

pub mod fire;

use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::query;
use sqlx::types::Json;
use writ_domain::schedule::Tick;
use writ_protocol::digest::Digest;
use writ_protocol::id::ScheduleId;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::json;
use crate::tx::Tx;

statements! {
    CREATE = "-- schedule.create
        INSERT INTO schedule (schedule_id, name, rule, kind, plan_digest, decided_at, next_at, due_at, created_by, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)";
    READ = "-- schedule.read
        SELECT * FROM schedule WHERE schedule_id = $1";
    NAMED = "-- schedule.named
        SELECT * FROM schedule WHERE name = $1 AND removed_at IS NULL";
    LOCK = "-- schedule.lock
        SELECT * FROM schedule WHERE schedule_id = $1 AND removed_at IS NULL FOR NO KEY UPDATE";
    PAGE = "-- schedule.page
        SELECT * FROM schedule WHERE name COLLATE \"C\" > $1 AND removed_at IS NULL ORDER BY name COLLATE \"C\" LIMIT $2";
    CLAIM_DUE = "-- schedule.claim_due
        SELECT * FROM schedule WHERE due_at <= $1 AND removed_at IS NULL AND (kind = 'cost_report') = $2 AND schedule_id <> ALL ($3)
        ORDER BY due_at, schedule_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED";
    CLAIM_QUEUED = "-- schedule.claim_queued
        SELECT * FROM schedule WHERE schedule_id > $1 AND queued > 0 AND removed_at IS NULL AND NOT is_paused
        ORDER BY schedule_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED";
    DECIDE = "-- schedule.decide
        UPDATE schedule SET decided_at = $2, next_at = $3, due_at = $4, queued = $5, updated_at = $6 WHERE schedule_id = $1";
    PAUSE = "-- schedule.pause
        UPDATE schedule SET is_paused = $2, updated_at = $3 WHERE schedule_id = $1";
    REMOVE = "-- schedule.remove
        UPDATE schedule SET removed_at = $2, updated_at = $2, queued = 0 WHERE schedule_id = $1 AND removed_at IS NULL";
    REPORTING = "-- schedule.reporting
        SELECT * FROM schedule WHERE kind = 'cost_report' AND removed_at IS NULL ORDER BY schedule_id LIMIT $1";
}

/// What a schedule starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plan is carried out.
    Apply,
    /// The hosts of a plan are looked at.
    Check,
    /// What the last week cost is reported.
    CostReport,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Apply, Self::Check, Self::CostReport];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Check => "check",
            Self::CostReport => "cost_report",
        }
    }

    /// The kind of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Its id.
    pub schedule_id: ScheduleId,
    /// Its name; no two have one at a time.
    pub name: String,
    /// When, as somebody set it.
    pub rule: Value,
    /// What it starts.
    pub kind: Kind,
    /// Of which plan.
    pub plan_digest: Option<Digest>,
    /// Whether it was paused.
    pub is_paused: bool,
    /// Every time until here has been decided.
    pub decided_at: Timestamp,
    /// The next one; none when there will be no more.
    pub next: Option<Tick>,
    /// How many times wait for what runs to end.
    pub queued: u32,
    /// Who set it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was removed.
    pub removed_at: Option<Timestamp>,
}

/// Stores a new schedule.
///
/// # Errors
/// [`Error::Taken`] when the name is another's.
pub async fn create(tx: &mut Tx, new: &Schedule) -> Result<(), Error> {
    let query = query(CREATE)
        .bind(new.schedule_id.as_uuid())
        .bind(&new.name)
        .bind(json(&new.rule)?)
        .bind(new.kind.name())
        .bind(new.plan_digest.as_ref().map(|digest| digest.as_bytes().to_vec()))
        .bind(Instant(new.decided_at))
        .bind(new.next.map(|tick| Instant(tick.at)))
        .bind(new.next.map(|tick| Instant(tick.due)))
        .bind(&new.created_by)
        .bind(Instant(new.created_at));
    tx.run(query).await.map(|_| ())
}

/// A schedule by id, removed or not.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, id: ScheduleId) -> Result<Option<Schedule>, Error> {
    one(tx.row(query(READ).bind(id.as_uuid())).await?.as_ref())
}

/// The schedule of a name.
///
/// # Errors
/// [`Error`].
pub async fn named(tx: &mut Tx, name: &str) -> Result<Option<Schedule>, Error> {
    one(tx.row(query(NAMED).bind(name)).await?.as_ref())
}

/// A schedule that was not removed, held until the end of the transaction.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx, id: ScheduleId) -> Result<Option<Schedule>, Error> {
    one(tx.row(query(LOCK).bind(id.as_uuid())).await?.as_ref())
}

/// Schedules behind a name.
///
/// # Errors
/// [`Error`].
pub async fn page(tx: &mut Tx, after: &str, limit: u32) -> Result<Vec<Schedule>, Error> {
    let rows = tx.rows(query(PAGE).bind(after).bind(i64::from(limit))).await?;
    rows.iter().map(read_schedule).collect()
}

/// The schedule whose time came first and that nobody else holds, held until the end of the transaction: of those that make
/// reports, or of the others. Those in `but` are passed over.
///
/// # Errors
/// [`Error`].
pub async fn claim_due(
    tx: &mut Tx,
    now: Timestamp,
    reports: bool,
    but: &[ScheduleId],
) -> Result<Option<Schedule>, Error> {
    let but: Vec<uuid::Uuid> = but.iter().map(ScheduleId::as_uuid).collect();
    let query = query(CLAIM_DUE).bind(Instant(now)).bind(reports).bind(but);
    one(tx.row(query).await?.as_ref())
}

/// The next schedule behind an id, of which times wait and that nobody else holds.
///
/// # Errors
/// [`Error`].
pub async fn claim_queued(tx: &mut Tx, after: ScheduleId) -> Result<Option<Schedule>, Error> {
    one(tx.row(query(CLAIM_QUEUED).bind(after.as_uuid())).await?.as_ref())
}

/// Writes down until when times are decided, which is next, and how many wait.
///
/// # Errors
/// [`Error`].
pub async fn decide(
    tx: &mut Tx,
    id: ScheduleId,
    (decided, next): (Timestamp, Option<Tick>),
    queued: u32,
    now: Timestamp,
) -> Result<(), Error> {
    let query = query(DECIDE)
        .bind(id.as_uuid())
        .bind(Instant(decided))
        .bind(next.map(|tick| Instant(tick.at)))
        .bind(next.map(|tick| Instant(tick.due)))
        .bind(row::signed_small(queued))
        .bind(Instant(now));
    tx.run(query).await.map(|_| ())
}

/// Pauses a schedule, or has it go on.
///
/// # Errors
/// [`Error`].
pub async fn pause(tx: &mut Tx, id: ScheduleId, is_paused: bool, now: Timestamp) -> Result<(), Error> {
    let query = query(PAUSE).bind(id.as_uuid()).bind(is_paused).bind(Instant(now));
    tx.run(query).await.map(|_| ())
}

/// Removes a schedule; what became of its times stays.
///
/// # Errors
/// [`Error`].
pub async fn remove(tx: &mut Tx, id: ScheduleId, now: Timestamp) -> Result<(), Error> {
    tx.run(query(REMOVE).bind(id.as_uuid()).bind(Instant(now)))
        .await
        .map(|_| ())
}

/// Schedules that make reports, paused or not.
///
/// # Errors
/// [`Error`].
pub async fn reporting(tx: &mut Tx, limit: u32) -> Result<Vec<Schedule>, Error> {
    let rows = tx.rows(query(REPORTING).bind(i64::from(limit))).await?;
    rows.iter().map(read_schedule).collect()
}

fn one(found: Option<&PgRow>) -> Result<Option<Schedule>, Error> {
    found.map(read_schedule).transpose()
}

fn read_schedule(r: &PgRow) -> Result<Schedule, Error> {
    let kind: String = row::get(r, "kind")?;
    let next = row::maybe_time(r, "next_at")?.zip(row::maybe_time(r, "due_at")?);
    Ok(Schedule {
        schedule_id: row::uuid(r, "schedule_id", ScheduleId::from_uuid)?,
        name: row::get(r, "name")?,
        rule: row::get::<Json<Value>>(r, "rule")?.0,
        kind: Kind::of(&kind).ok_or(Error::Inconsistent {
            what: "schedule.kind",
        })?,
        plan_digest: row::maybe_digest(r, "plan_digest")?,
        is_paused: row::get(r, "is_paused")?,
        decided_at: row::time(r, "decided_at")?,
        next: next.map(|(at, due)| Tick { at, due }),
        queued: row::small(r, "queued")?,
        created_by: row::get(r, "created_by")?,
        created_at: row::time(r, "created_at")?,
        removed_at: row::maybe_time(r, "removed_at")?,
    })
}
