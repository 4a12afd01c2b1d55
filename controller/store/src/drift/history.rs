//! What became of findings. Rows are added and, after a time, forgotten; a trigger refuses every change.

use serde_json::Value;
use sqlx::query;
use writ_protocol::id::DriftId;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::{json, text};
use crate::tx::Tx;

statements! {
    ADD = "-- drift_event.add
        INSERT INTO drift_event (drift_id, at, written_at, kind, actor, detail)
        SELECT u.drift_id, u.at, $6, u.kind, u.actor, u.detail
        FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::jsonb[]) u(drift_id, at, kind, actor, detail)";
    LIST = "-- drift_event.list
        SELECT at, kind, actor, detail FROM drift_event WHERE drift_id = $1 ORDER BY drift_event_id DESC LIMIT $2";
    PRUNE = "-- drift_event.prune
        DELETE FROM drift_event WHERE drift_event_id = ANY (ARRAY(
            SELECT drift_event_id FROM (SELECT drift_event_id, written_at FROM drift_event ORDER BY drift_event_id LIMIT $2) oldest
            WHERE written_at < $1))";
    PRUNE_CLEARED = "-- drift_event.prune_cleared
        DELETE FROM drift_finding WHERE drift_id = ANY (ARRAY(
            SELECT drift_id FROM drift_finding WHERE state = 'cleared' AND last_clean < $1 ORDER BY last_clean LIMIT $2))
            AND state = 'cleared'";
}

/// Something that became of a finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When the host was looked at, or somebody said it.
    pub at: Timestamp,
    /// What, as [`writ_domain::drift::finding::Told::name`] says it.
    pub kind: String,
    /// Who.
    pub actor: String,
    /// The rest.
    pub detail: Value,
}

/// Adds what became of findings, in this order.
///
/// # Errors
/// [`Error`].
pub async fn add(tx: &mut Tx, all: &[(DriftId, Event)], now: Timestamp) -> Result<(), Error> {
    if all.is_empty() {
        return Ok(());
    }
    let details = all.iter().map(|(_, event)| json(&event.detail));
    let query = query(ADD)
        .bind(all.iter().map(|(id, _)| id.as_uuid()).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, e)| Instant(e.at)).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, e)| e.kind.as_str()).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, e)| text(&e.actor)).collect::<Vec<_>>())
        .bind(details.collect::<Result<Vec<_>, _>>()?)
        .bind(Instant(now));
    tx.run(query).await.map(|_| ())
}

/// What became of a finding, the latest first.
///
/// # Errors
/// [`Error`].
pub async fn list(tx: &mut Tx, id: DriftId, limit: u32) -> Result<Vec<Event>, Error> {
    let rows = tx
        .rows(query(LIST).bind(id.as_uuid()).bind(i64::from(limit)))
        .await?;
    let read = |r| {
        Ok(Event {
            at: row::time(r, "at")?,
            kind: row::get(r, "kind")?,
            actor: row::get(r, "actor")?,
            detail: row::json(r, "detail")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Forgets what became of findings before an instant, of the oldest `limit`; how many.
///
/// # Errors
/// [`Error`].
pub async fn prune(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, Error> {
    tx.run(query(PRUNE).bind(Instant(before)).bind(i64::from(limit)))
        .await
}

/// Forgets findings that were last seen clean before an instant, at most `limit`, with what became of them; how many.
///
/// # Errors
/// [`Error`].
pub async fn prune_cleared(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, Error> {
    tx.run(query(PRUNE_CLEARED).bind(Instant(before)).bind(i64::from(limit)))
        .await
}
