//! Agents: who they are, what they are allowed, and the counter of their manifests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::query;
use sqlx::types::Json;
use uuid::Uuid;
use writ_domain::agent::AgentState;
use writ_protocol::digest::Digest;
use writ_protocol::id::AgentId;
use writ_protocol::key::PublicKey;
use writ_protocol::nats::UserKey;
use writ_protocol::subject::Shard;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::{json, text};
use crate::tx::Tx;

statements! {
    CREATE = "-- agent.create
        INSERT INTO agent (agent_id, name, user_key, artefact_key, machine, hostname, shard, labels, facts, state, keys, generation,
                           created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'active', $10, 1, $11, $11)";
    BY_ID = "-- agent.by_id
        SELECT a.*, l.seen_at, l.agent_version, l.have_epoch, l.have_generation, l.free_disk_bytes, l.clock_offset_us, l.draining,
               l.reads_lifts
        FROM agent a LEFT JOIN agent_liveness l USING (agent_id) WHERE a.agent_id = $1";
    BY_NAME = "-- agent.by_name
        SELECT a.*, l.seen_at, l.agent_version, l.have_epoch, l.have_generation, l.free_disk_bytes, l.clock_offset_us, l.draining,
               l.reads_lifts
        FROM agent a LEFT JOIN agent_liveness l USING (agent_id) WHERE a.name = $1";
    BY_KEYS = "-- agent.by_keys
        SELECT a.*, l.seen_at, l.agent_version, l.have_epoch, l.have_generation, l.free_disk_bytes, l.clock_offset_us, l.draining,
               l.reads_lifts
        FROM agent a LEFT JOIN agent_liveness l USING (agent_id) WHERE a.user_key = ANY($1)";
    BY_IDS = "-- agent.by_ids
        SELECT a.*, l.seen_at, l.agent_version, l.have_epoch, l.have_generation, l.free_disk_bytes, l.clock_offset_us, l.draining,
               l.reads_lifts
        FROM agent a LEFT JOIN agent_liveness l USING (agent_id) WHERE a.agent_id = ANY($1)";
    PAGE = "-- agent.page
        SELECT a.*, l.seen_at, l.agent_version, l.have_epoch, l.have_generation, l.free_disk_bytes, l.clock_offset_us, l.draining,
               l.reads_lifts
        FROM agent a LEFT JOIN agent_liveness l USING (agent_id)
        WHERE a.name > $1 AND a.state <> 'removed' AND a.labels @> $2 ORDER BY a.name LIMIT $3";
    WALK = "-- agent.walk
        SELECT agent_id, user_key, generation FROM agent WHERE agent_id > $1 AND state <> 'removed' ORDER BY agent_id LIMIT $2";
    TARGETS = "-- agent.targets
        SELECT agent_id, name, user_key, labels FROM agent
        WHERE state = 'active' AND labels @> $1 AND (cardinality($2::text[]) = 0 OR name = ANY($2)) ORDER BY name";
    SET_STATE = "-- agent.set_state
        UPDATE agent SET state = $2, state_reason = $3, updated_at = $4 WHERE agent_id = $1";
    SET_LABELS = "-- agent.set_labels
        UPDATE agent SET labels = $2, updated_at = $3 WHERE agent_id = $1";
    LOCK = "-- agent.lock
        SELECT agent_id FROM agent WHERE agent_id = ANY($1) ORDER BY agent_id FOR UPDATE";
    BUMP = "-- agent.bump
        -- Locked in the order of ids first: two that count up the same agents must not wait for each other.
        WITH locked AS (
            SELECT agent_id FROM agent WHERE agent_id = ANY($1) AND state <> 'removed' ORDER BY agent_id FOR NO KEY UPDATE),
        bumped AS (
            UPDATE agent a SET generation = a.generation + 1 FROM locked WHERE a.agent_id = locked.agent_id
            RETURNING a.agent_id, a.shard, a.generation)
        INSERT INTO manifest_dirty (agent_id, shard, generation, since, can_wait)
        SELECT agent_id, shard, generation, $2, $3 FROM bumped
        ON CONFLICT (agent_id) DO UPDATE SET generation = EXCLUDED.generation,
            can_wait = manifest_dirty.can_wait AND EXCLUDED.can_wait";
    BUMP_ALL = "-- agent.bump_all
        WITH locked AS (SELECT agent_id FROM agent WHERE state <> 'removed' ORDER BY agent_id FOR NO KEY UPDATE),
        bumped AS (
            UPDATE agent a SET generation = a.generation + 1 FROM locked WHERE a.agent_id = locked.agent_id
            RETURNING a.agent_id, a.shard, a.generation)
        INSERT INTO manifest_dirty (agent_id, shard, generation, since)
        SELECT agent_id, shard, generation, $1 FROM bumped
        ON CONFLICT (agent_id) DO UPDATE SET generation = EXCLUDED.generation, can_wait = false";
    HOLD_NAME = "-- agent.hold_name
        SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    REMOVED_KEYS = "-- agent.removed_keys
        SELECT user_key, updated_at FROM agent WHERE state = 'removed' AND updated_at >= $1
        ORDER BY updated_at DESC, agent_id LIMIT $2";
    COUNT = "-- agent.count
        SELECT count(*) FROM agent WHERE state <> 'removed'";
}

/// An agent's row, with its last hello.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its id.
    pub agent_id: AgentId,
    /// Its name.
    pub name: String,
    /// Its bus identity.
    pub user_key: UserKey,
    /// Its key for records.
    pub artefact_key: PublicKey,
    /// The host's name.
    pub hostname: String,
    /// What selects it.
    pub labels: BTreeMap<String, String>,
    /// What its host said of itself.
    pub facts: BTreeMap<String, String>,
    /// Its standing.
    pub state: AgentState,
    /// Why it stands so.
    pub state_reason: Option<String>,
    /// The registry's statement.
    pub keys: Vec<u8>,
    /// Counter of its manifests.
    pub generation: u64,
    /// When it enrolled.
    pub created_at: Timestamp,
    /// Its last hello, if there was one.
    pub seen: Option<Seen>,
}

/// Whom a config selects: those that have all the labels and, where hosts are named, are one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// Labels with the values that a host must have.
    pub labels: BTreeMap<String, String>,
    /// Names; any where empty.
    pub hosts: Vec<String>,
}

impl Selector {
    /// One host, by its name.
    pub fn of_host(name: &str) -> Self {
        Self {
            labels: BTreeMap::new(),
            hosts: vec![name.to_owned()],
        }
    }
}

/// What the last hello said.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// The agent's version.
    pub agent_version: String,
    /// The highest generation it held.
    pub have_generation: u64,
    /// Its free disk, bytes.
    pub free_disk_bytes: u64,
    /// Its wall clock minus ours, microseconds.
    pub clock_offset_us: i64,
    /// Whether it was draining.
    pub draining: bool,
    /// Whether it reads lifts in manifests and answers.
    pub reads_lifts: bool,
}

/// A new agent.
#[derive(Clone, Debug)]
pub struct NewAgent {
    /// Its id.
    pub agent_id: AgentId,
    /// Its name.
    pub name: String,
    /// Its bus identity.
    pub user_key: UserKey,
    /// Its key for records.
    pub artefact_key: PublicKey,
    /// Digest of what identifies the machine.
    pub machine: Digest,
    /// The host's name.
    pub hostname: String,
    /// What selects it.
    pub labels: BTreeMap<String, String>,
    /// What its host says of itself.
    pub facts: BTreeMap<String, String>,
    /// The registry's statement.
    pub keys: Vec<u8>,
    /// When.
    pub created_at: Timestamp,
}

/// A target of a run.
#[derive(Clone, Debug)]
pub struct Target {
    /// The agent.
    pub agent_id: AgentId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Stores a new agent.
///
/// # Errors
/// [`Error::Taken`] when the name or key is.
pub async fn create(tx: &mut Tx, agent: &NewAgent) -> Result<(), Error> {
    let query = query(CREATE)
        .bind(agent.agent_id.as_uuid())
        .bind(&agent.name)
        .bind(agent.user_key.as_str())
        .bind(agent.artefact_key.as_bytes().as_slice())
        .bind(agent.machine.as_bytes().as_slice())
        .bind(text(&agent.hostname))
        .bind(i16::from(Shard::of(&agent.user_key).number()))
        .bind(Json(&agent.labels))
        .bind(json(&agent.facts)?)
        .bind(&agent.keys)
        .bind(Instant(agent.created_at));
    tx.run(query).await.map(|_| ())
}

/// An agent by id.
///
/// # Errors
/// [`Error`].
pub async fn by_id(tx: &mut Tx, id: AgentId) -> Result<Option<Agent>, Error> {
    tx.row(query(BY_ID).bind(id.as_uuid()))
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// An agent by name.
///
/// # Errors
/// [`Error`].
pub async fn by_name(tx: &mut Tx, name: &str) -> Result<Option<Agent>, Error> {
    tx.row(query(BY_NAME).bind(text(name)))
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// Agents by bus identity, in no order.
///
/// # Errors
/// [`Error`].
pub async fn by_keys(tx: &mut Tx, keys: &[String]) -> Result<Vec<Agent>, Error> {
    tx.rows(query(BY_KEYS).bind(keys))
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Agents by id, in no order.
///
/// # Errors
/// [`Error`].
pub async fn by_ids(tx: &mut Tx, ids: &[AgentId]) -> Result<Vec<Agent>, Error> {
    tx.rows(query(BY_IDS).bind(uuids(ids)))
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Agents after a name that carry all these labels, by name.
///
/// # Errors
/// [`Error`].
pub async fn page(
    tx: &mut Tx,
    after: &str,
    labels: &BTreeMap<String, String>,
    limit: u32,
) -> Result<Vec<Agent>, Error> {
    tx.rows(
        query(PAGE)
            .bind(text(after))
            .bind(Json(labels))
            .bind(i64::from(limit)),
    )
    .await?
    .iter()
    .map(read)
    .collect()
}

/// Agents after an id, for walking through all of them: id, bus identity, generation.
///
/// # Errors
/// [`Error`].
pub async fn walk(tx: &mut Tx, after: AgentId, limit: u32) -> Result<Vec<(AgentId, UserKey, u64)>, Error> {
    let rows = tx
        .rows(query(WALK).bind(after.as_uuid()).bind(i64::from(limit)))
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

/// Active agents that carry all these labels and, where names are given, are named.
///
/// # Errors
/// [`Error`].
pub async fn targets(tx: &mut Tx, selector: &Selector) -> Result<Vec<Target>, Error> {
    let query = query(TARGETS).bind(Json(&selector.labels)).bind(&selector.hosts);
    let rows = tx.rows(query).await?;
    let read = |r: &PgRow| {
        Ok(Target {
            agent_id: row::uuid(r, "agent_id", AgentId::from_uuid)?,
            name: row::get(r, "name")?,
            labels: row::labels(r, "labels")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Holds a name and those made from it until the transaction ends: two that look for a free one look one after the other.
///
/// # Errors
/// [`Error`].
pub async fn hold_name(tx: &mut Tx, name: &str) -> Result<(), Error> {
    tx.rows(query(HOLD_NAME).bind(text(name))).await.map(|_| ())
}

/// Sets an agent's standing.
///
/// # Errors
/// [`Error`].
pub async fn set_state(
    tx: &mut Tx,
    id: AgentId,
    state: AgentState,
    reason: &str,
    now: Timestamp,
) -> Result<(), Error> {
    tx.run(
        query(SET_STATE)
            .bind(id.as_uuid())
            .bind(state.name())
            .bind(text(reason))
            .bind(Instant(now)),
    )
    .await
    .map(|_| ())
}

/// Sets an agent's labels.
///
/// # Errors
/// [`Error`].
pub async fn set_labels(
    tx: &mut Tx,
    id: AgentId,
    labels: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<(), Error> {
    tx.run(
        query(SET_LABELS)
            .bind(id.as_uuid())
            .bind(Json(labels))
            .bind(Instant(now)),
    )
    .await
    .map(|_| ())
}

/// Locks agents' rows in order.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx, ids: &[AgentId]) -> Result<(), Error> {
    tx.rows(query(LOCK).bind(uuids(ids))).await.map(|_| ())
}

/// Gives agents their next generation and marks their manifests as behind.
///
/// # Errors
/// [`Error`].
pub async fn bump(tx: &mut Tx, ids: &[AgentId], now: Timestamp) -> Result<u64, Error> {
    bump_with(tx, ids, now, false).await
}

/// As [`bump`], where nobody waits for the new manifest: the relay takes those that bring something first.
///
/// # Errors
/// [`Error`].
pub async fn bump_unhurried(tx: &mut Tx, ids: &[AgentId], now: Timestamp) -> Result<u64, Error> {
    bump_with(tx, ids, now, true).await
}

async fn bump_with(tx: &mut Tx, ids: &[AgentId], now: Timestamp, can_wait: bool) -> Result<u64, Error> {
    if ids.is_empty() {
        return Ok(0);
    }
    let query = query(BUMP).bind(uuids(ids)).bind(Instant(now)).bind(can_wait);
    tx.run(query).await
}

/// As [`bump`], for every agent.
///
/// # Errors
/// [`Error`].
pub async fn bump_all(tx: &mut Tx, now: Timestamp) -> Result<u64, Error> {
    tx.run(query(BUMP_ALL).bind(Instant(now))).await
}

/// Bus identities of agents removed since an instant and when they were removed, the latest first: what the bus must refuse.
///
/// # Errors
/// [`Error`].
pub async fn removed_keys(
    tx: &mut Tx,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<(UserKey, Timestamp)>, Error> {
    let rows = tx
        .rows(query(REMOVED_KEYS).bind(Instant(since)).bind(i64::from(limit)))
        .await?;
    rows.iter()
        .map(|r| Ok((row::parsed(r, "user_key")?, row::time(r, "updated_at")?)))
        .collect()
}

/// How many agents there are.
///
/// # Errors
/// [`Error`].
pub async fn count(tx: &mut Tx) -> Result<u64, Error> {
    let count: i64 = tx.one(query(COUNT), "count").await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(crate) fn uuids(ids: &[AgentId]) -> Vec<Uuid> {
    ids.iter().map(AgentId::as_uuid).collect()
}

fn read(r: &PgRow) -> Result<Agent, Error> {
    let key: Vec<u8> = row::get(r, "artefact_key")?;
    let state: String = row::get(r, "state")?;
    let seen = match row::maybe_time(r, "seen_at")? {
        None => None,
        Some(at) => Some(Seen {
            at,
            agent_version: row::get(r, "agent_version")?,
            have_generation: row::count(r, "have_generation")?,
            free_disk_bytes: row::count(r, "free_disk_bytes")?,
            clock_offset_us: row::get(r, "clock_offset_us")?,
            draining: row::get(r, "draining")?,
            reads_lifts: row::get(r, "reads_lifts")?,
        }),
    };
    Ok(Agent {
        agent_id: row::uuid(r, "agent_id", AgentId::from_uuid)?,
        name: row::get(r, "name")?,
        user_key: row::parsed(r, "user_key")?,
        artefact_key: PublicKey::from_slice(&key)
            .map_err(|_| Error::Inconsistent { what: "artefact_key" })?,
        hostname: row::get(r, "hostname")?,
        labels: row::labels(r, "labels")?,
        facts: row::labels(r, "facts")?,
        state: AgentState::of(&state).ok_or(Error::Inconsistent { what: "agent.state" })?,
        state_reason: row::get(r, "state_reason")?,
        keys: row::get(r, "keys")?,
        generation: row::count(r, "generation")?,
        created_at: row::time(r, "created_at")?,
        seen,
    })
}
