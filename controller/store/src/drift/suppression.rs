//! What somebody signed beforehand about drift: kept as it was signed, ended once, never changed otherwise.

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_domain::drift::finding::State;
use writ_protocol::id::{DriftId, SuppressionId};
use writ_protocol::time::Timestamp;

use super::{Finding, read_finding};
use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

statements! {
    CREATE = "-- drift_suppression.create
        INSERT INTO drift_suppression (suppression_id, project, envelope, expires_at, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    READ = "-- drift_suppression.read
        SELECT * FROM drift_suppression WHERE suppression_id = $1 FOR NO KEY UPDATE";
    COUNTING = "-- drift_suppression.counting
        SELECT * FROM drift_suppression WHERE ended_at IS NULL AND ($1::text[] IS NULL OR project = ANY($1)) ORDER BY suppression_id LIMIT $2";
    OVER = "-- drift_suppression.over
        SELECT * FROM drift_suppression WHERE ended_at IS NULL AND expires_at <= $1 ORDER BY suppression_id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED";
    LAPSED = "-- drift_suppression.lapsed
        SELECT DISTINCT f.project FROM drift_finding f JOIN drift_suppression s ON s.suppression_id = f.expected_by
        WHERE f.state <> 'cleared' AND s.ended_at IS NOT NULL";
    PAGE = "-- drift_suppression.page
        SELECT * FROM drift_suppression WHERE ($1::uuid IS NULL OR suppression_id < $1) AND ($2 OR ended_at IS NULL)
            AND ($3::text IS NULL OR project = $3) ORDER BY suppression_id DESC LIMIT $4";
    END = "-- drift_suppression.end
        UPDATE drift_suppression SET ended_at = $2, ended_by = $3, end_reason = $4 WHERE suppression_id = $1 AND ended_at IS NULL";
    CONCERNED = "-- drift_suppression.concerned
        SELECT f.* FROM drift_finding f WHERE f.state <> 'cleared' AND f.project = ANY($1) AND f.state = ANY($2) AND ($3::uuid IS NULL OR f.drift_id > $3)
        ORDER BY f.drift_id LIMIT $4 FOR NO KEY UPDATE OF f";
}

/// What somebody signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id; later ones are greater.
    pub suppression_id: SuppressionId,
    /// The project.
    pub project: String,
    /// The signed statement.
    pub envelope: Vec<u8>,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// The token that brought it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ended, by whom, and why.
    pub ended: Option<(Timestamp, String, String)>,
}

/// Keeps one.
///
/// # Errors
/// [`Error::Taken`] where its id is kept already.
pub async fn create(tx: &mut Tx, one: &Kept) -> Result<(), Error> {
    let query = query(CREATE)
        .bind(one.suppression_id.as_uuid())
        .bind(text(&one.project))
        .bind(one.envelope.as_slice())
        .bind(Instant(one.expires_at))
        .bind(text(&one.created_by))
        .bind(Instant(one.created_at));
    tx.run(query).await.map(|_| ())
}

/// One, held until the end of the transaction.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx, id: SuppressionId) -> Result<Option<Kept>, Error> {
    let found = tx.row(query(READ).bind(id.as_uuid())).await?;
    found.as_ref().map(read).transpose()
}

/// Those of these projects that nobody has ended, or of all projects; at most `limit`. Some may be over and not ended yet.
///
/// # Errors
/// [`Error`].
pub async fn counting(tx: &mut Tx, projects: Option<&[String]>, limit: u32) -> Result<Vec<Kept>, Error> {
    let query = query(COUNTING).bind(projects).bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read).collect()
}

/// Those that are over at an instant and that nobody has ended, held until the end of the transaction; what another holds is left out.
///
/// # Errors
/// [`Error`].
pub async fn over(tx: &mut Tx, now: Timestamp, limit: u32) -> Result<Vec<Kept>, Error> {
    let query = query(OVER).bind(Instant(now)).bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read).collect()
}

/// Projects with findings that are expected because of what does not count any more.
///
/// # Errors
/// [`Error`].
pub async fn lapsed(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let rows = tx.rows(query(LAPSED)).await?;
    rows.iter().map(|r| row::get(r, "project")).collect()
}

/// From before one, the newest first; with those that ended, or without.
///
/// # Errors
/// [`Error`].
pub async fn page(
    tx: &mut Tx,
    (before, with_ended): (Option<SuppressionId>, bool),
    project: Option<&str>,
    limit: u32,
) -> Result<Vec<Kept>, Error> {
    let query = query(PAGE)
        .bind(before.map(|id| id.as_uuid()))
        .bind(with_ended)
        .bind(project)
        .bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read).collect()
}

/// Ends one; whether it counted until now.
///
/// # Errors
/// [`Error`].
pub async fn end(
    tx: &mut Tx,
    id: SuppressionId,
    (by, reason): (&str, &str),
    now: Timestamp,
) -> Result<bool, Error> {
    let query = query(END)
        .bind(id.as_uuid())
        .bind(Instant(now))
        .bind(text(by))
        .bind(text(reason));
    Ok(tx.run(query).await? > 0)
}

/// Findings of projects in one of these states behind one, by id, held until the end of the transaction.
///
/// # Errors
/// [`Error`].
pub async fn concerned(
    tx: &mut Tx,
    projects: &[String],
    states: &[State],
    after: Option<DriftId>,
    limit: u32,
) -> Result<Vec<Finding>, Error> {
    let query = query(CONCERNED)
        .bind(projects)
        .bind(states.iter().map(|state| state.name()).collect::<Vec<_>>())
        .bind(after.map(|id| id.as_uuid()))
        .bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_finding).collect()
}

fn read(r: &PgRow) -> Result<Kept, Error> {
    let ended = row::maybe_time(r, "ended_at")?
        .zip(row::get::<Option<String>>(r, "ended_by")?)
        .zip(row::get::<Option<String>>(r, "end_reason")?);
    Ok(Kept {
        suppression_id: row::uuid(r, "suppression_id", SuppressionId::from_uuid)?,
        project: row::get(r, "project")?,
        envelope: row::get(r, "envelope")?,
        expires_at: row::time(r, "expires_at")?,
        created_by: row::get(r, "created_by")?,
        created_at: row::time(r, "created_at")?,
        ended: ended.map(|((at, by), why)| (at, by, why)),
    })
}
