//! Signed manifests, and which of them the bus does not have yet.

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_protocol::digest::Digest;
use writ_protocol::id::AgentId;
use writ_protocol::manifest::Generation;
use writ_protocol::nats::UserKey;
use writ_protocol::subject::Shard;
use writ_protocol::time::Timestamp;

use crate::agent::uuids;
use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    NEWEST = "-- manifest.newest
        SELECT DISTINCT ON (agent_id) agent_id, epoch, generation, envelope, digest, expires_at FROM manifest
        WHERE agent_id = ANY($1) ORDER BY agent_id, epoch DESC, generation DESC";
    AT = "-- manifest.at
        SELECT agent_id, epoch, generation, envelope, digest, expires_at FROM manifest
        WHERE agent_id = $1 AND epoch = $2 AND generation = $3";
    STORE = "-- manifest.store
        INSERT INTO manifest (agent_id, epoch, generation, envelope, digest, orders, signed_at, expires_at)
        SELECT * FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::bytea[], $5::bytea[], $6::int[], $7::timestamptz[], $8::timestamptz[])
        ON CONFLICT (agent_id, epoch, generation) DO NOTHING RETURNING agent_id";
    PRUNE = "-- manifest.prune
        DELETE FROM manifest m USING unnest($1::uuid[], $2::int[], $3::bigint[]) AS newest(agent_id, epoch, generation)
        WHERE m.agent_id = newest.agent_id AND m.orders = 0 AND (m.epoch, m.generation) < (newest.epoch, newest.generation)";
    DIRTY = "-- manifest.dirty
        SELECT d.agent_id, a.user_key, d.generation FROM manifest_dirty d JOIN agent a USING (agent_id)
        WHERE d.shard = ANY($1) AND a.state <> 'removed' AND (NOT d.can_wait OR d.since <= $3)
        ORDER BY d.can_wait, d.since LIMIT $2";
    MARK = "-- manifest.mark
        INSERT INTO manifest_dirty (agent_id, shard, generation, since)
        SELECT agent_id, shard, generation, $2 FROM agent WHERE agent_id = ANY($1) AND state <> 'removed'
        ON CONFLICT (agent_id) DO UPDATE SET can_wait = false WHERE manifest_dirty.can_wait";
    MARK_ALL = "-- manifest.mark_all
        INSERT INTO manifest_dirty (agent_id, shard, generation, since)
        SELECT agent_id, shard, generation, $1 FROM agent WHERE state <> 'removed'
        ON CONFLICT (agent_id) DO UPDATE SET can_wait = false WHERE manifest_dirty.can_wait";
    BACKLOG = "-- manifest.backlog
        SELECT d.shard, count(*) AS agents, min(d.since) AS oldest FROM manifest_dirty d JOIN agent a USING (agent_id)
        WHERE a.state <> 'removed' GROUP BY d.shard ORDER BY d.shard";
    CLEAN = "-- manifest.clean
        DELETE FROM manifest_dirty d USING unnest($1::uuid[], $2::bigint[]) u(agent_id, generation)
        WHERE d.agent_id = u.agent_id AND d.generation <= u.generation";
    EXPIRING = "-- manifest.expiring
        SELECT agent_id FROM (
            SELECT DISTINCT ON (m.agent_id) m.agent_id, m.expires_at FROM manifest m JOIN agent a USING (agent_id)
            WHERE a.state <> 'removed' ORDER BY m.agent_id, m.epoch DESC, m.generation DESC) newest
        WHERE expires_at < $1 LIMIT $2";
}

/// A signed manifest.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Whose.
    pub agent_id: AgentId,
    /// Where it stands.
    pub at: Generation,
    /// The envelope's JSON.
    pub envelope: Vec<u8>,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// After this it is to be signed again.
    pub expires_at: Timestamp,
}

/// A manifest to be stored.
#[derive(Clone, Debug)]
pub struct ToStore {
    /// The manifest.
    pub signed: Signed,
    /// How many orders it holds; those with orders are kept as evidence.
    pub orders: u32,
    /// When it was signed.
    pub signed_at: Timestamp,
}

/// What waits for the relay of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The shard.
    pub shard: Shard,
    /// Agents whose manifest on the bus is behind.
    pub agents: u64,
    /// Since when the one that waits longest.
    pub oldest: Timestamp,
}

/// The newest manifests of agents; those without one are left out.
///
/// # Errors
/// [`Error`].
pub async fn newest(tx: &mut Tx, ids: &[AgentId]) -> Result<Vec<Signed>, Error> {
    tx.rows(query(NEWEST).bind(uuids(ids)))
        .await?
        .iter()
        .map(read)
        .collect()
}

/// The manifest of an agent at a place.
///
/// # Errors
/// [`Error`].
pub async fn at(tx: &mut Tx, agent: AgentId, at: Generation) -> Result<Option<Signed>, Error> {
    let query = query(AT)
        .bind(agent.as_uuid())
        .bind(row::signed_small(at.epoch))
        .bind(row::signed(at.generation));
    tx.row(query).await?.as_ref().map(read).transpose()
}

/// Stores manifests; where one is there already under the same `(epoch, generation)` it stays, so that no two differ. Gives the agents whose
/// manifest is the one that was handed in.
///
/// # Errors
/// [`Error`].
pub async fn store(tx: &mut Tx, all: &[ToStore]) -> Result<Vec<AgentId>, Error> {
    let ids: Vec<AgentId> = all.iter().map(|m| m.signed.agent_id).collect();
    let epochs: Vec<i32> = all.iter().map(|m| row::signed_small(m.signed.at.epoch)).collect();
    let generations: Vec<i64> = all.iter().map(|m| row::signed(m.signed.at.generation)).collect();
    let query = query(STORE)
        .bind(uuids(&ids))
        .bind(&epochs)
        .bind(&generations)
        .bind(
            all.iter()
                .map(|m| m.signed.envelope.as_slice())
                .collect::<Vec<_>>(),
        )
        .bind(
            all.iter()
                .map(|m| m.signed.digest.as_bytes().as_slice())
                .collect::<Vec<_>>(),
        )
        .bind(
            all.iter()
                .map(|m| row::signed_small(m.orders))
                .collect::<Vec<_>>(),
        )
        .bind(all.iter().map(|m| Instant(m.signed_at)).collect::<Vec<_>>())
        .bind(
            all.iter()
                .map(|m| Instant(m.signed.expires_at))
                .collect::<Vec<_>>(),
        );
    let stored = tx.rows(query).await?;
    // Manifests without orders prove nothing once a newer one stands.
    tx.run(
        sqlx::query(PRUNE)
            .bind(uuids(&ids))
            .bind(epochs)
            .bind(generations),
    )
    .await?;
    stored
        .iter()
        .map(|r| row::uuid(r, "agent_id", AgentId::from_uuid))
        .collect()
}

/// Agents of some shards whose manifest on the bus is behind, longest waiting first; those that can wait come last, and only once they have
/// waited since `waited`. One that was removed while it waited gets none any more.
///
/// # Errors
/// [`Error`].
pub async fn dirty(
    tx: &mut Tx,
    shards: &[Shard],
    waited: Timestamp,
    limit: u32,
) -> Result<Vec<(AgentId, UserKey, u64)>, Error> {
    let numbers: Vec<i16> = shards.iter().map(|s| i16::from(s.number())).collect();
    let rows = tx
        .rows(
            query(DIRTY)
                .bind(numbers)
                .bind(i64::from(limit))
                .bind(Instant(waited)),
        )
        .await?;
    let read = |r: &PgRow| {
        Ok((
            row::uuid(r, "agent_id", AgentId::from_uuid)?,
            row::parsed(r, "user_key")?,
            row::count(r, "generation")?,
        ))
    };
    rows.iter().map(read).collect()
}

/// Marks agents as behind without changing their generation.
///
/// # Errors
/// [`Error`].
pub async fn mark(tx: &mut Tx, ids: &[AgentId], now: Timestamp) -> Result<(), Error> {
    tx.run(query(MARK).bind(uuids(ids)).bind(Instant(now)))
        .await
        .map(|_| ())
}

/// As [`mark`], for every agent.
///
/// # Errors
/// [`Error`].
pub async fn mark_all(tx: &mut Tx, now: Timestamp) -> Result<u64, Error> {
    tx.run(query(MARK_ALL).bind(Instant(now))).await
}

/// How many agents of each shard are behind, and since when the longest waiting; shards without any are left out.
///
/// # Errors
/// [`Error`].
pub async fn backlog(tx: &mut Tx) -> Result<Vec<Backlog>, Error> {
    let rows = tx.rows(query(BACKLOG)).await?;
    let read = |r: &PgRow| {
        let number: i16 = row::get(r, "shard")?;
        let shard = u8::try_from(number).ok().and_then(Shard::new);
        Ok(Backlog {
            shard: shard.ok_or(Error::Inconsistent { what: "shard" })?,
            agents: row::count(r, "agents")?,
            oldest: row::time(r, "oldest")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Takes agents off the list unless they changed again meanwhile.
///
/// # Errors
/// [`Error`].
pub async fn clean(tx: &mut Tx, published: &[(AgentId, u64)]) -> Result<(), Error> {
    let (ids, generations): (Vec<AgentId>, Vec<i64>) =
        published.iter().map(|(a, g)| (*a, row::signed(*g))).unzip();
    tx.run(query(CLEAN).bind(uuids(&ids)).bind(generations))
        .await
        .map(|_| ())
}

/// Agents whose newest manifest expires before an instant.
///
/// # Errors
/// [`Error`].
pub async fn expiring(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<Vec<AgentId>, Error> {
    let rows = tx
        .rows(query(EXPIRING).bind(Instant(before)).bind(i64::from(limit)))
        .await?;
    rows.iter()
        .map(|r| row::uuid(r, "agent_id", AgentId::from_uuid))
        .collect()
}

fn read(r: &PgRow) -> Result<Signed, Error> {
    Ok(Signed {
        agent_id: row::uuid(r, "agent_id", AgentId::from_uuid)?,
        at: Generation {
            epoch: row::small(r, "epoch")?,
            generation: row::count(r, "generation")?,
        },
        envelope: row::get(r, "envelope")?,
        digest: row::digest(r, "digest")?,
        expires_at: row::time(r, "expires_at")?,
    })
}
