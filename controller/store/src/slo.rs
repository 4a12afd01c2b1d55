//! What happened to promises, by minute. Controllers add; nobody replaces.

use std::time::Duration;

use sqlx::query;
use writ_domain::slo::{Counts, Slo};
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

/// How coarse the counts are kept.
pub const MINUTE: Duration = Duration::from_secs(60);

statements! {
    ADD = "-- slo.add
        INSERT INTO slo_count (slo, minute_at, good, total) VALUES ($1, date_trunc('minute', $2::timestamptz), $3, $4)
        ON CONFLICT (slo, minute_at) DO UPDATE SET good = slo_count.good + EXCLUDED.good, total = slo_count.total + EXCLUDED.total";
    SINCE = "-- slo.since
        SELECT w.place, c.slo, LEAST(sum(c.good), 9223372036854775807)::bigint AS good, LEAST(sum(c.total), 9223372036854775807)::bigint AS total
        FROM unnest($1::timestamptz[]) WITH ORDINALITY AS w(from_at, place) JOIN slo_count c ON c.minute_at >= w.from_at
        GROUP BY w.place, c.slo";
    FRESH = "-- slo.fresh
        SELECT count(*) FILTER (WHERE l.seen_at >= $1) AS good, count(*) AS total
        FROM agent a LEFT JOIN agent_liveness l USING (agent_id) WHERE a.state = 'active'";
    PRUNE = "-- slo.prune
        DELETE FROM slo_count WHERE minute_at < $1";
}

/// Adds what happened to a promise.
///
/// # Errors
/// [`Error`].
pub async fn add(tx: &mut Tx, slo: Slo, counts: Counts, now: Timestamp) -> Result<(), Error> {
    let add = query(ADD)
        .bind(slo.name())
        .bind(Instant(now))
        .bind(row::signed(counts.good))
        .bind(row::signed(counts.total));
    tx.run(add).await.map(|_| ())
}

/// What happened from each instant on, to each promise that anything happened to: the instant's place among those given, from 0.
///
/// # Errors
/// [`Error`].
pub async fn since(tx: &mut Tx, from: &[Timestamp]) -> Result<Vec<(usize, Slo, Counts)>, Error> {
    let instants: Vec<Instant> = from.iter().copied().map(Instant).collect();
    let rows = tx.rows(query(SINCE).bind(instants)).await?;
    let mut found = Vec::with_capacity(rows.len());
    for r in &rows {
        // A promise that this build does not know is a newer one's.
        let Some(slo) = Slo::of(&row::get::<String>(r, "slo")?) else {
            continue;
        };
        let place = usize::try_from(row::count(r, "place")?).unwrap_or(usize::MAX);
        let counts = Counts {
            good: row::count(r, "good")?,
            total: row::count(r, "total")?,
        };
        found.push((place.saturating_sub(1), slo, counts));
    }
    Ok(found)
}

/// Of all active agents those that were heard since an instant.
///
/// # Errors
/// [`Error`].
pub async fn fresh(tx: &mut Tx, since: Timestamp) -> Result<Counts, Error> {
    let found = tx.row(query(FRESH).bind(Instant(since))).await?;
    found.as_ref().map_or(Ok(Counts::default()), |r| {
        Ok(Counts {
            good: row::count(r, "good")?,
            total: row::count(r, "total")?,
        })
    })
}

/// Forgets what happened before an instant.
///
/// # Errors
/// [`Error`].
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64, Error> {
    tx.run(query(PRUNE).bind(Instant(before))).await
}
