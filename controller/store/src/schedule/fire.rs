//! What became of each time of a schedule: `(schedule, time)` is unique, so whoever would write a time down twice is stopped by the ledger itself.

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_protocol::id::{RunId, ScheduleId};
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

statements! {
    WRITE = "-- schedule_fire.write
        INSERT INTO schedule_fire (schedule_id, fire_at, through_at, times, state, reason, detail, run_id, is_open, due_at, decided_at, started_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8::uuid, $8::uuid IS NOT NULL, $9, $10, $11)";
    RELEASE = "-- schedule_fire.release
        UPDATE schedule_fire SET state = $3, reason = $4, detail = $5, run_id = $6::uuid, is_open = $6::uuid IS NOT NULL, started_at = $7
        WHERE schedule_id = $1 AND fire_at = $2 AND state = 'queued'";
    FIRST_QUEUED = "-- schedule_fire.first_queued
        SELECT * FROM schedule_fire WHERE schedule_id = $1 AND state = 'queued' ORDER BY fire_at LIMIT 1";
    DROP_QUEUED = "-- schedule_fire.drop_queued
        UPDATE schedule_fire SET state = 'skipped', reason = $2 WHERE schedule_id = $1 AND state = 'queued'";
    CLOSE = "-- schedule_fire.close
        UPDATE schedule_fire f SET is_open = false FROM run r
        WHERE f.schedule_id = $1 AND f.is_open AND r.run_id = f.run_id AND r.ended_at IS NOT NULL";
    OPEN = "-- schedule_fire.open
        SELECT run_id FROM schedule_fire WHERE schedule_id = $1 AND is_open ORDER BY fire_at";
    PAGE = "-- schedule_fire.page
        SELECT * FROM schedule_fire WHERE schedule_id = $1 AND fire_at < $2 ORDER BY fire_at DESC LIMIT $3";
}

/// How a time stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FireState {
    /// It waits for what runs to end.
    Queued,
    /// What it is for was started.
    Started,
    /// It could not be started.
    Failed,
    /// It was skipped.
    Skipped,
}

impl FireState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Started, Self::Failed, Self::Skipped];

    /// Its name in the ledger, the API and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// The state of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What became of a time, or of several in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fire {
    /// The first of them.
    pub at: Timestamp,
    /// The last of them.
    pub through: Timestamp,
    /// How many.
    pub times: u64,
    /// How it stands.
    pub state: FireState,
    /// Why it was skipped or could not be started.
    pub reason: Option<String>,
    /// The same in words, or what was made.
    pub detail: Option<String>,
    /// The run that it started.
    pub run_id: Option<RunId>,
    /// When it was due.
    pub due: Timestamp,
    /// When that was decided.
    pub decided_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
}

/// Writes down what became of a time.
///
/// # Errors
/// [`Error::Taken`] when that is written already.
pub async fn write(tx: &mut Tx, id: ScheduleId, fire: &Fire) -> Result<(), Error> {
    let query = query(WRITE)
        .bind(id.as_uuid())
        .bind(Instant(fire.at))
        .bind(Instant(fire.through))
        .bind(row::signed(fire.times))
        .bind(fire.state.name())
        .bind(&fire.reason)
        .bind(fire.detail.as_deref().map(text))
        .bind(fire.run_id.map(|run| run.as_uuid()))
        .bind(Instant(fire.due))
        .bind(Instant(fire.decided_at))
        .bind(fire.started_at.map(Instant));
    tx.run(query).await.map(|_| ())
}

/// Writes down what became of a time that waited; whether it still did.
///
/// # Errors
/// [`Error`].
pub async fn release(tx: &mut Tx, id: ScheduleId, fire: &Fire) -> Result<bool, Error> {
    let query = query(RELEASE)
        .bind(id.as_uuid())
        .bind(Instant(fire.at))
        .bind(fire.state.name())
        .bind(&fire.reason)
        .bind(fire.detail.as_deref().map(text))
        .bind(fire.run_id.map(|run| run.as_uuid()))
        .bind(fire.started_at.map(Instant));
    Ok(tx.run(query).await? > 0)
}

/// The time that has waited longest.
///
/// # Errors
/// [`Error`].
pub async fn first_queued(tx: &mut Tx, id: ScheduleId) -> Result<Option<Fire>, Error> {
    let found = tx.row(query(FIRST_QUEUED).bind(id.as_uuid())).await?;
    found.as_ref().map(read_fire).transpose()
}

/// Skips everything that waits.
///
/// # Errors
/// [`Error`].
pub async fn drop_queued(tx: &mut Tx, id: ScheduleId, reason: &str) -> Result<u64, Error> {
    tx.run(query(DROP_QUEUED).bind(id.as_uuid()).bind(reason)).await
}

/// Runs that a schedule started and that have not ended.
///
/// # Errors
/// [`Error`].
pub async fn open(tx: &mut Tx, id: ScheduleId) -> Result<Vec<RunId>, Error> {
    tx.run(query(CLOSE).bind(id.as_uuid())).await?;
    let rows = tx.rows(query(OPEN).bind(id.as_uuid())).await?;
    rows.iter()
        .map(|r| row::uuid(r, "run_id", RunId::from_uuid))
        .collect()
}

/// What became of times before an instant, the latest first.
///
/// # Errors
/// [`Error`].
pub async fn page(tx: &mut Tx, id: ScheduleId, before: Timestamp, limit: u32) -> Result<Vec<Fire>, Error> {
    let query = query(PAGE)
        .bind(id.as_uuid())
        .bind(Instant(before))
        .bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_fire).collect()
}

fn read_fire(r: &PgRow) -> Result<Fire, Error> {
    let state: String = row::get(r, "state")?;
    Ok(Fire {
        at: row::time(r, "fire_at")?,
        through: row::time(r, "through_at")?,
        times: row::count(r, "times")?,
        state: FireState::of(&state).ok_or(Error::Inconsistent {
            what: "schedule_fire.state",
        })?,
        reason: row::get(r, "reason")?,
        detail: row::get(r, "detail")?,
        run_id: row::get::<Option<uuid::Uuid>>(r, "run_id")?.map(RunId::from_uuid),
        due: row::time(r, "due_at")?,
        decided_at: row::time(r, "decided_at")?,
        started_at: row::maybe_time(r, "started_at")?,
    })
}
