//! Answers to requests by key, so that a request sent again is answered again and done once. A key is claimed and answered in the transaction
//! that makes its request's change.

use sqlx::query;
use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    BEGIN = "-- idempotency.begin
        INSERT INTO idempotency (principal, key, request, created_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (principal, key) DO NOTHING";
    READ = "-- idempotency.read
        SELECT request, status, body, created_at FROM idempotency WHERE principal = $1 AND key = $2";
    FINISH = "-- idempotency.finish
        UPDATE idempotency SET status = $3, body = $4 WHERE principal = $1 AND key = $2 AND status IS NULL";
    PRUNE = "-- idempotency.prune
        DELETE FROM idempotency WHERE created_at < $1";
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Digest of the request that used it.
    pub request: Digest,
    /// The answer, once there is one: status and body.
    pub answer: Option<(u16, Vec<u8>)>,
    /// When it was first used.
    pub created_at: Timestamp,
}

/// Claims a key; whether it was free.
///
/// # Errors
/// [`Error`].
pub async fn begin(
    tx: &mut Tx,
    principal: &str,
    key: &str,
    request: &Digest,
    now: Timestamp,
) -> Result<bool, Error> {
    let query = query(BEGIN)
        .bind(principal)
        .bind(key)
        .bind(request.as_bytes().as_slice())
        .bind(Instant(now));
    Ok(tx.run(query).await? > 0)
}

/// Reads what is known of a key.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, principal: &str, key: &str) -> Result<Option<Known>, Error> {
    let Some(found) = tx.row(query(READ).bind(principal).bind(key)).await? else {
        return Ok(None);
    };
    let status = row::get::<Option<i32>>(&found, "status")?.and_then(|s| u16::try_from(s).ok());
    let answer = status.zip(row::get::<Option<Vec<u8>>>(&found, "body")?);
    Ok(Some(Known {
        request: row::digest(&found, "request")?,
        answer,
        created_at: row::time(&found, "created_at")?,
    }))
}

/// Writes the answer.
///
/// # Errors
/// [`Error`].
pub async fn finish(tx: &mut Tx, principal: &str, key: &str, status: u16, body: &[u8]) -> Result<(), Error> {
    tx.run(
        query(FINISH)
            .bind(principal)
            .bind(key)
            .bind(i32::from(status))
            .bind(body),
    )
    .await
    .map(|_| ())
}

/// Forgets keys first used before an instant.
///
/// # Errors
/// [`Error`].
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64, Error> {
    tx.run(query(PRUNE).bind(Instant(before))).await
}
