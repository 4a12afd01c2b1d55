//! What alerts of other programs started, so that one that comes again starts nothing.

use sqlx::query;
use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    KNOWN = "-- trigger.known
        SELECT key FROM trigger_seen WHERE key = ANY($1)";
    STARTS = "-- trigger.starts
        SELECT count(*) AS starts FROM trigger_seen WHERE trigger = $1 AND is_start AND seen_at > $2";
    ADD = "-- trigger.add
        INSERT INTO trigger_seen (key, trigger, rule, is_start, seen_at)
        SELECT u.key, $3, $4, u.is_start, $5 FROM unnest($1::bytea[], $2::boolean[]) u(key, is_start) ON CONFLICT (key) DO NOTHING";
    PRUNE = "-- trigger.prune
        DELETE FROM trigger_seen WHERE seen_at < $1";
}

fn bytes(keys: &[Digest]) -> Vec<&[u8]> {
    keys.iter().map(|key| key.as_bytes().as_slice()).collect()
}

/// Which of these are known.
///
/// # Errors
/// [`Error`].
pub async fn known(tx: &mut Tx, keys: &[Digest]) -> Result<Vec<Digest>, Error> {
    let rows = tx.rows(query(KNOWN).bind(bytes(keys))).await?;
    rows.iter().map(|r| row::digest(r, "key")).collect()
}

/// How much a trigger started after an instant.
///
/// # Errors
/// [`Error`].
pub async fn starts(tx: &mut Tx, trigger: &str, after: Timestamp) -> Result<u64, Error> {
    match tx.row(query(STARTS).bind(trigger).bind(Instant(after))).await? {
        Some(found) => row::count(&found, "starts"),
        None => Ok(0),
    }
}

/// Writes down that these alerts started one thing together; the first of them counts.
///
/// # Errors
/// [`Error`].
pub async fn add(
    tx: &mut Tx,
    keys: &[Digest],
    (trigger, rule): (&str, &str),
    at: Timestamp,
) -> Result<(), Error> {
    let is_start: Vec<bool> = (0..keys.len()).map(|number| number == 0).collect();
    let query = query(ADD)
        .bind(bytes(keys))
        .bind(is_start)
        .bind(trigger)
        .bind(rule)
        .bind(Instant(at));
    tx.run(query).await.map(|_| ())
}

/// Forgets what is from before an instant; how many.
///
/// # Errors
/// [`Error`].
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64, Error> {
    tx.run(query(PRUNE).bind(Instant(before))).await
}
