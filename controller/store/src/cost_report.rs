//! Signed reports of what weeks cost. A week has one where nothing of it became known later, and one more each time that something did.

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    STORE = "-- cost_report.store
        INSERT INTO cost_report (week, digest, document, rendering, envelope, root, policy, orders, counted_micros, made_by, made_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (week, digest) DO NOTHING";
    READ = "-- cost_report.read
        SELECT * FROM cost_report WHERE week = $1 AND ($2::bytea IS NULL OR digest = $2) ORDER BY report_id DESC LIMIT 1";
    PAGE = "-- cost_report.page
        SELECT * FROM cost_report WHERE report_id < $1 ORDER BY report_id DESC LIMIT $2";
    IS_TOLD = "-- cost_report.is_told
        SELECT EXISTS (SELECT 1 FROM incident WHERE cause = $1) AS told";
}

/// A report as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number: of two, the later is the greater. Zero until it is stored.
    pub report_id: u64,
    /// The week.
    pub week: String,
    /// Digest of the document.
    pub digest: Digest,
    /// The document.
    pub document: Vec<u8>,
    /// Its rendering.
    pub rendering: Vec<u8>,
    /// The signed word on both.
    pub envelope: Vec<u8>,
    /// The root's envelope, as it was when the report was signed.
    pub root: Vec<u8>,
    /// The trust policy's, likewise: keys may go, and what they signed stays.
    pub policy: Vec<u8>,
    /// Orders in it.
    pub orders: u64,
    /// What they count as, micro-units.
    pub counted_micros: u64,
    /// Who had it made.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
}

/// Keeps a report; whether it was not kept already.
///
/// # Errors
/// [`Error`].
pub async fn store(tx: &mut Tx, kept: &Kept) -> Result<bool, Error> {
    let query = query(STORE)
        .bind(&kept.week)
        .bind(kept.digest.as_bytes().as_slice())
        .bind(&kept.document)
        .bind(&kept.rendering)
        .bind(&kept.envelope)
        .bind(&kept.root)
        .bind(&kept.policy)
        .bind(row::signed(kept.orders))
        .bind(row::signed(kept.counted_micros))
        .bind(&kept.made_by)
        .bind(Instant(kept.made_at));
    Ok(tx.run(query).await? > 0)
}

/// A week's newest report, or the one of a digest.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, week: &str, digest: Option<&Digest>) -> Result<Option<Kept>, Error> {
    let digest = digest.map(|digest| digest.as_bytes().to_vec());
    let found = tx.row(query(READ).bind(week).bind(digest)).await?;
    found.as_ref().map(read_kept).transpose()
}

/// Reports, the newest first, before a number.
///
/// # Errors
/// [`Error`].
pub async fn page(tx: &mut Tx, before: u64, limit: u32) -> Result<Vec<Kept>, Error> {
    let query = query(PAGE).bind(row::signed(before)).bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_kept).collect()
}

/// Whether there is, or was, an incident of a cause: a week that somebody has closed is not told again.
///
/// # Errors
/// [`Error`].
pub async fn is_told(tx: &mut Tx, cause: &str) -> Result<bool, Error> {
    tx.one(query(IS_TOLD).bind(cause), "told").await
}

fn read_kept(r: &PgRow) -> Result<Kept, Error> {
    Ok(Kept {
        report_id: row::count(r, "report_id")?,
        week: row::get(r, "week")?,
        digest: row::digest(r, "digest")?,
        document: row::get(r, "document")?,
        rendering: row::get(r, "rendering")?,
        envelope: row::get(r, "envelope")?,
        root: row::get(r, "root")?,
        policy: row::get(r, "policy")?,
        orders: row::count(r, "orders")?,
        counted_micros: row::count(r, "counted_micros")?,
        made_by: row::get(r, "made_by")?,
        made_at: row::time(r, "made_at")?,
    })
}
