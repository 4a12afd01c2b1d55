//! What is kept for people to look at, and not for ever: alarms and dead letters. The evidence itself is in `event` and stays.

use sqlx::query;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::statement::statements;
use crate::tx::Tx;

// Both tables number their rows as they come, so the oldest are the first by number: no pass looks at more than it may take.
statements! {
    PRUNE_ALARMS = "-- retention.alarms
        DELETE FROM alarm WHERE alarm_id = ANY (ARRAY(
            SELECT alarm_id FROM (SELECT alarm_id, at FROM alarm ORDER BY alarm_id LIMIT $2) oldest WHERE at < $1))";
    PRUNE_DEAD_LETTERS = "-- retention.dead_letters
        DELETE FROM dead_letter WHERE dead_letter_id = ANY (ARRAY(
            SELECT dead_letter_id FROM (SELECT dead_letter_id, at FROM dead_letter ORDER BY dead_letter_id LIMIT $2) oldest WHERE at < $1))";
}

/// Forgets alarms from before an instant, of the oldest `limit`; how many.
///
/// # Errors
/// [`Error`].
pub async fn prune_alarms(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, Error> {
    tx.run(query(PRUNE_ALARMS).bind(Instant(before)).bind(i64::from(limit)))
        .await
}

/// Forgets dead letters from before an instant, of the oldest `limit`; how many.
///
/// # Errors
/// [`Error`].
pub async fn prune_dead_letters(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, Error> {
    tx.run(
        query(PRUNE_DEAD_LETTERS)
            .bind(Instant(before))
            .bind(i64::from(limit)),
    )
    .await
}
