//! Leases with fencing tokens. Their clock is the server's, because holders' clocks differ; the guard shares the row's lock until the writing
//! transaction ends, so that a takeover waits for it and the fence is exact.

use std::time::Duration;

use sqlx::postgres::PgRow;
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
        SELECT l.name FROM lease l JOIN unnest($1::text[], $2::uuid[], $3::bigint[]) u(name, holder, token) USING (name, holder, token)
        WHERE l.expires_at > clock_timestamp() ORDER BY l.name FOR SHARE OF l";
    RENEW = "-- lease.renew
        -- A lease that a transaction writes under is left out instead of waited for.
        WITH mine AS (
            SELECT name FROM lease WHERE holder = $1 AND name = ANY($2) AND expires_at >= clock_timestamp()
            ORDER BY name FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE lease l SET expires_at = clock_timestamp() + $3 * interval '1 millisecond'
        FROM mine WHERE l.name = mine.name RETURNING l.name, l.token";
    TAKEN = "-- lease.taken
        SELECT name FROM lease WHERE name = ANY($1) AND expires_at >= clock_timestamp()";
    RELEASE = "-- lease.release
        UPDATE lease SET expires_at = clock_timestamp() WHERE holder = $1";
    RELEASE_ONE = "-- lease.release_one
        UPDATE lease SET expires_at = clock_timestamp() WHERE name = $1 AND holder = $2 AND token = $3";
    LIVE = "-- lease.live
        SELECT count(*) FROM lease WHERE starts_with(name, $1) AND expires_at >= clock_timestamp()";
    FORGET = "-- lease.forget
        DELETE FROM lease WHERE starts_with(name, $1) AND expires_at < clock_timestamp() - $2 * interval '1 millisecond'";
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
    let found = tx
        .row(query(ACQUIRE).bind(name).bind(holder.as_uuid()).bind(millis(ttl)))
        .await?;
    let Some(found) = found else { return Ok(None) };
    Ok(Some(Fence {
        name: name.to_owned(),
        holder,
        token: row::get(&found, "token")?,
    }))
}

/// The names of those leases that are still held under their tokens; they then stay so until the transaction ends.
///
/// # Errors
/// [`Error`].
pub async fn guard(tx: &mut Tx, fences: &[Fence]) -> Result<Vec<String>, Error> {
    let names: Vec<&str> = fences.iter().map(|f| f.name.as_str()).collect();
    let holders: Vec<Uuid> = fences.iter().map(|f| f.holder.as_uuid()).collect();
    let tokens: Vec<i64> = fences.iter().map(|f| f.token).collect();
    let rows = tx
        .rows(query(GUARD).bind(names).bind(holders).bind(tokens))
        .await?;
    rows.iter().map(|r| row::get(r, "name")).collect()
}

/// Gives up every lease of a holder.
///
/// # Errors
/// [`Error`].
pub async fn release(tx: &mut Tx, holder: ControllerId) -> Result<u64, Error> {
    tx.run(query(RELEASE).bind(holder.as_uuid())).await
}

/// Renews those of these leases that a holder holds and nobody writes under at this moment.
///
/// # Errors
/// [`Error`].
pub async fn renew(
    tx: &mut Tx,
    names: &[String],
    holder: ControllerId,
    ttl: Duration,
) -> Result<Vec<Fence>, Error> {
    let query = query(RENEW).bind(holder.as_uuid()).bind(names).bind(millis(ttl));
    let rows = tx.rows(query).await?;
    let read = |r: &PgRow| {
        Ok(Fence {
            name: row::get(r, "name")?,
            holder,
            token: row::get(r, "token")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Those of these leases that somebody holds.
///
/// # Errors
/// [`Error`].
pub async fn taken(tx: &mut Tx, names: &[String]) -> Result<Vec<String>, Error> {
    let rows = tx.rows(query(TAKEN).bind(names)).await?;
    rows.iter().map(|r| row::get(r, "name")).collect()
}

/// Gives up one lease; it waits for whoever is writing under it.
///
/// # Errors
/// [`Error`].
pub async fn release_one(tx: &mut Tx, fence: &Fence) -> Result<u64, Error> {
    let query = query(RELEASE_ONE)
        .bind(&fence.name)
        .bind(fence.holder.as_uuid())
        .bind(fence.token);
    tx.run(query).await
}

/// How many leases are held whose names begin alike.
///
/// # Errors
/// [`Error`].
pub async fn live(tx: &mut Tx, prefix: &str) -> Result<usize, Error> {
    let count: i64 = tx.one(query(LIVE).bind(prefix), "count").await?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Forgets leases whose names begin alike and that nobody has held for this long.
///
/// # Errors
/// [`Error`].
pub async fn forget(tx: &mut Tx, prefix: &str, unheld: Duration) -> Result<u64, Error> {
    tx.run(query(FORGET).bind(prefix).bind(millis(unheld))).await
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
