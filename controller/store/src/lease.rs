//! Leases with fencing tokens. Their clock is the server's, because holders' clocks differ; the guard shares the row's lock until the writing
//! transaction ends, so that a takeover waits for it and the fence is exact.

use std::time::Duration;

use sqlx::query;
use uuid::Uuid;
use writ_protocol::id::ControllerId;

use crate::error::Error;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    ACQUIRE = "-- lease.acquire
        INSERT INTO lease (name, holder, token, expires_at)
        VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 millisecond')
        ON CONFLICT (name) DO UPDATE SET
            holder = $2,
            token = lease.token + (lease.holder <> $2 OR lease.expires_at < clock_timestamp())::int,
            expires_at = clock_timestamp() + $3 * interval '1 millisecond'
        WHERE lease.expires_at < clock_timestamp() OR lease.holder = $2
        RETURNING token";
    GUARD = "-- lease.guard
        SELECT token FROM lease
        WHERE name = $1 AND holder = $2 AND token = $3 AND expires_at > clock_timestamp() FOR SHARE";
    RELEASE = "-- lease.release
        UPDATE lease SET expires_at = clock_timestamp() WHERE holder = $1";
}

/// What a holder shows with every write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The lease.
    pub name: String,
    /// Who holds it.
    pub holder: ControllerId,
    /// Under which token.
    pub token: i64,
}

/// Takes or renews a lease; none when another holds it.
///
/// # Errors
/// [`Error`].
pub async fn acquire(
    tx: &mut Tx,
    name: &str,
    holder: ControllerId,
    ttl: Duration,
) -> Result<Option<Fence>, Error> {
    let millis = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
    let found = tx
        .row(query(ACQUIRE).bind(name).bind(holder.as_uuid()).bind(millis))
        .await?;
    let Some(found) = found else { return Ok(None) };
    Ok(Some(Fence {
        name: name.to_owned(),
        holder,
        token: row::get(&found, "token")?,
    }))
}

/// Whether the lease is still held under this token; it then stays so until the transaction ends.
///
/// # Errors
/// [`Error`].
pub async fn guard(tx: &mut Tx, fence: &Fence) -> Result<bool, Error> {
    let holder: Uuid = fence.holder.as_uuid();
    let found = tx
        .row(query(GUARD).bind(&fence.name).bind(holder).bind(fence.token))
        .await?;
    Ok(found.is_some())
}

/// Gives up every lease of a holder.
///
/// # Errors
/// [`Error`].
pub async fn release(tx: &mut Tx, holder: ControllerId) -> Result<u64, Error> {
    tx.run(query(RELEASE).bind(holder.as_uuid())).await
}
