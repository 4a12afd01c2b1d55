//! Who did what, and what changed for those who watch; both written in the transaction that does it.

use serde_json::Value;
use sqlx::query;
use sqlx::types::Json;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    WRITE = "-- audit.write
        INSERT INTO audit (at, actor, verb, object, detail) VALUES ($1, $2, $3, $4, $5)";
    LIST = "-- audit.list
        SELECT audit_id, at, actor, verb, object, detail FROM audit WHERE audit_id > $1 ORDER BY audit_id LIMIT $2";
    TELL = "-- feed.tell
        INSERT INTO feed (at, topic, kind, body) SELECT $1, t, $3, b FROM unnest($2::text[], $4::jsonb[]) u(t, b)";
    AFTER = "-- feed.after
        SELECT feed_id, at, topic, kind, body FROM feed
        WHERE feed_id > $1 AND xact < pg_snapshot_xmin(pg_current_snapshot()) AND (cardinality($2::text[]) = 0 OR topic = ANY($2))
        ORDER BY feed_id LIMIT $3";
    NEWEST = "-- feed.newest
        SELECT COALESCE(max(feed_id), 0) FROM feed";
    PRUNE = "-- feed.prune
        DELETE FROM feed WHERE at < $1";
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Its place.
    pub audit_id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What was done, such as `run.create`.
    pub verb: String,
    /// To what.
    pub object: String,
    /// The rest.
    pub detail: Value,
}

/// One change for those who watch.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedEntry {
    /// Its place; grows, with holes.
    pub feed_id: i64,
    /// When.
    pub at: Timestamp,
    /// What changed, such as `run:run_…` or `agents`.
    pub topic: String,
    /// How.
    pub kind: String,
    /// The rest.
    pub body: Value,
}

/// Who does something, and when.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: &'a str,
}

/// Writes a line of the audit log.
///
/// # Errors
/// [`Error`].
pub async fn write(tx: &mut Tx, act: Act<'_>, verb: &str, object: &str, detail: Value) -> Result<(), Error> {
    let query = query(WRITE)
        .bind(Instant(act.at))
        .bind(act.actor)
        .bind(verb)
        .bind(object)
        .bind(Json(detail));
    tx.run(query).await.map(|_| ())
}

/// Lines after a place, oldest first.
///
/// # Errors
/// [`Error`].
pub async fn list(tx: &mut Tx, after: i64, limit: u32) -> Result<Vec<AuditEntry>, Error> {
    let rows = tx.rows(query(LIST).bind(after).bind(i64::from(limit))).await?;
    let read = |r| {
        Ok(AuditEntry {
            audit_id: row::get(r, "audit_id")?,
            at: row::time(r, "at")?,
            actor: row::get(r, "actor")?,
            verb: row::get(r, "verb")?,
            object: row::get(r, "object")?,
            detail: row::json(r, "detail")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Tells those who watch of changes of one kind: topic and body of each.
///
/// # Errors
/// [`Error`].
pub async fn tell(
    tx: &mut Tx,
    at: Timestamp,
    kind: &str,
    changes: Vec<(String, Value)>,
) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let (topics, bodies): (Vec<String>, Vec<Json<Value>>) =
        changes.into_iter().map(|(t, b)| (t, Json(b))).unzip();
    tx.run(query(TELL).bind(Instant(at)).bind(topics).bind(kind).bind(bodies))
        .await
        .map(|_| ())
}

/// Changes after a place, on these topics (all where none is named); never past a transaction that is still open.
///
/// # Errors
/// [`Error`].
pub async fn after(tx: &mut Tx, place: i64, topics: &[String], limit: u32) -> Result<Vec<FeedEntry>, Error> {
    let rows = tx
        .rows(query(AFTER).bind(place).bind(topics).bind(i64::from(limit)))
        .await?;
    let read = |r| {
        Ok(FeedEntry {
            feed_id: row::get(r, "feed_id")?,
            at: row::time(r, "at")?,
            topic: row::get(r, "topic")?,
            kind: row::get(r, "kind")?,
            body: row::json(r, "body")?,
        })
    };
    rows.iter().map(read).collect()
}

/// The newest place.
///
/// # Errors
/// [`Error`].
pub async fn newest(tx: &mut Tx) -> Result<i64, Error> {
    tx.one(query(NEWEST), "coalesce").await
}

/// Forgets changes from before an instant.
///
/// # Errors
/// [`Error`].
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64, Error> {
    tx.run(query(PRUNE).bind(Instant(before))).await
}
