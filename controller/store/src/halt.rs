//! Halts, their lifts, and who has taken them.

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;
use sqlx::query;
use sqlx::types::Json;
use uuid::Uuid;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::id::{AgentId, HaltId};
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

statements! {
    CREATE = "-- halt.create
        INSERT INTO halt (halt_id, scope, action, control_epoch, envelope, reason, set_by, set_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    READ = "-- halt.read
        SELECT halt_id, scope, action, control_epoch, envelope, reason, set_by, set_at, lifted_at, lift FROM halt WHERE halt_id = $1";
    ACTIVE = "-- halt.active
        SELECT halt_id, scope, action, control_epoch, envelope, reason, set_by, set_at, lifted_at, lift FROM halt
        WHERE lifted_at IS NULL ORDER BY control_epoch";
    LOCKDOWNS = "-- halt.lockdowns
        SELECT halt_id, scope, action, control_epoch, envelope, reason, set_by, set_at, lifted_at, lift FROM halt
        WHERE lifted_at IS NULL AND action = 'lockdown' ORDER BY control_epoch";
    CHANGE = "-- halt.change
        SELECT pg_advisory_xact_lock_shared($1)";
    OUTWAIT = "-- halt.outwait
        SELECT pg_advisory_xact_lock($1)";
    LIST = "-- halt.list
        SELECT halt_id, scope, action, control_epoch, envelope, reason, set_by, set_at, lifted_at, lift FROM halt
        WHERE $1::bigint IS NULL OR control_epoch < $1 ORDER BY control_epoch DESC LIMIT $2";
    LIFT = "-- halt.lift
        UPDATE halt SET lifted_at = $2, lift_epoch = $3, lift = $4 WHERE halt_id = $1 AND lifted_at IS NULL";
    BY_IDS = "-- halt.by_ids
        SELECT halt_id, scope, action, control_epoch, envelope, reason, set_by, set_at, lifted_at, lift FROM halt WHERE halt_id = ANY($1)";
    LIFTED = "-- halt.lifted
        SELECT halt_id, scope, action, control_epoch, envelope, reason, set_by, set_at, lifted_at, lift FROM halt
        WHERE lifted_at >= $1 ORDER BY lift_epoch DESC LIMIT $2";
    TAKE_BACK = "-- halt.take_back
        INSERT INTO halt (halt_id, scope, action, control_epoch, envelope, reason, set_by, set_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (halt_id) DO NOTHING";
    ACK = "-- halt.ack
        INSERT INTO halt_ack (halt_id, agent_id, lifted, at)
        SELECT u.halt_id, u.agent_id, u.lifted, $4 FROM unnest($1::uuid[], $2::uuid[], $3::boolean[]) u(halt_id, agent_id, lifted)
        JOIN halt USING (halt_id) ON CONFLICT (halt_id, agent_id, lifted) DO NOTHING";
    ACKED = "-- halt.acked
        SELECT agent_id, at FROM halt_ack WHERE halt_id = $1 AND lifted = $2";
}

/// What changes hold together, and who waits for all of them alone.
const CHANGES: i64 = 0x7772_6974_6368_616e;

/// A halt's row.
#[derive(Clone, Debug)]
pub struct Halt {
    /// Its id.
    pub halt_id: HaltId,
    /// What it covers.
    pub scope: Scope,
    /// How hard.
    pub action: HaltAction,
    /// The control epoch that it began.
    pub control_epoch: u64,
    /// The signed envelope.
    pub envelope: Vec<u8>,
    /// Why.
    pub reason: String,
    /// Who.
    pub set_by: String,
    /// When.
    pub set_at: Timestamp,
    /// When it was lifted.
    pub lifted_at: Option<Timestamp>,
    /// The signed lift.
    pub lift: Option<Vec<u8>>,
}

/// The name of an action.
pub const fn action_name(action: HaltAction) -> &'static str {
    match action {
        HaltAction::Soft => "soft",
        HaltAction::Hard => "hard",
        HaltAction::Lockdown => "lockdown",
    }
}

/// Stores a halt.
///
/// # Errors
/// [`Error`].
pub async fn create(tx: &mut Tx, halt: &Halt) -> Result<(), Error> {
    insert(tx, CREATE, halt).await.map(|_| ())
}

/// Stores a halt that this ledger lost, unless it is here; whether it was not.
///
/// # Errors
/// [`Error`].
pub async fn take_back(tx: &mut Tx, halt: &Halt) -> Result<bool, Error> {
    Ok(insert(tx, TAKE_BACK, halt).await? > 0)
}

async fn insert(tx: &mut Tx, statement: &'static str, halt: &Halt) -> Result<u64, Error> {
    let query = query(statement)
        .bind(halt.halt_id.as_uuid())
        .bind(Json(&halt.scope))
        .bind(action_name(halt.action))
        .bind(row::signed(halt.control_epoch))
        .bind(&halt.envelope)
        .bind(text(&halt.reason))
        .bind(text(&halt.set_by))
        .bind(Instant(halt.set_at));
    tx.run(query).await
}

/// Halts by id; those that are not here are left out.
///
/// # Errors
/// [`Error`].
pub async fn by_ids(tx: &mut Tx, ids: &[HaltId]) -> Result<Vec<Halt>, Error> {
    let query = query(BY_IDS).bind(ids.iter().map(HaltId::as_uuid).collect::<Vec<Uuid>>());
    tx.rows(query).await?.iter().map(read_halt).collect()
}

/// Halts lifted since, the last lift first.
///
/// # Errors
/// [`Error`].
pub async fn lifted(tx: &mut Tx, since: Timestamp, limit: usize) -> Result<Vec<Halt>, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = query(LIFTED).bind(Instant(since)).bind(limit);
    tx.rows(query).await?.iter().map(read_halt).collect()
}

/// A halt by id.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, id: HaltId) -> Result<Option<Halt>, Error> {
    tx.row(query(READ).bind(id.as_uuid()))
        .await?
        .as_ref()
        .map(read_halt)
        .transpose()
}

/// Halts in force, oldest first.
///
/// # Errors
/// [`Error`].
pub async fn active(tx: &mut Tx) -> Result<Vec<Halt>, Error> {
    tx.rows(query(ACTIVE)).await?.iter().map(read_halt).collect()
}

/// Lockdowns in force, oldest first. Who sets one that is not found here can wait for the end of this transaction with [`outwait_changes`].
///
/// # Errors
/// [`Error`].
pub async fn lockdowns(tx: &mut Tx) -> Result<Vec<Halt>, Error> {
    tx.rows(query(CHANGE).bind(CHANGES)).await?;
    // A statement of its own: it sees what was committed while the first one waited.
    tx.rows(query(LOCKDOWNS)).await?.iter().map(read_halt).collect()
}

/// Waits for the end of every transaction that has asked for [`lockdowns`]; those that ask meanwhile wait for the end of this one.
///
/// # Errors
/// [`Error`].
pub async fn outwait_changes(tx: &mut Tx) -> Result<(), Error> {
    tx.rows(query(OUTWAIT).bind(CHANGES)).await.map(drop)
}

/// Halts from before a control epoch, newest first; the newest of all without one.
///
/// # Errors
/// [`Error`].
pub async fn list(tx: &mut Tx, before: Option<u64>, limit: u32) -> Result<Vec<Halt>, Error> {
    let query = query(LIST).bind(before.map(row::signed)).bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_halt).collect()
}

/// Lifts a halt; whether it was in force.
///
/// # Errors
/// [`Error`].
pub async fn lift(
    tx: &mut Tx,
    id: HaltId,
    control_epoch: u64,
    envelope: &[u8],
    now: Timestamp,
) -> Result<bool, Error> {
    let query = query(LIFT)
        .bind(id.as_uuid())
        .bind(Instant(now))
        .bind(row::signed(control_epoch))
        .bind(envelope);
    Ok(tx.run(query).await? > 0)
}

/// Writes down which agents took which halts or lifts.
///
/// # Errors
/// [`Error`].
pub async fn ack(tx: &mut Tx, acks: &[(HaltId, AgentId, bool)], now: Timestamp) -> Result<(), Error> {
    if acks.is_empty() {
        return Ok(());
    }
    let query = query(ACK)
        .bind(acks.iter().map(|(h, ..)| h.as_uuid()).collect::<Vec<Uuid>>())
        .bind(acks.iter().map(|(_, a, _)| a.as_uuid()).collect::<Vec<Uuid>>())
        .bind(acks.iter().map(|(.., lifted)| *lifted).collect::<Vec<bool>>())
        .bind(Instant(now));
    tx.run(query).await.map(|_| ())
}

/// Agents that have taken a halt, or its lift, and when that was committed.
///
/// # Errors
/// [`Error`].
pub async fn acked(tx: &mut Tx, id: HaltId, lifted: bool) -> Result<BTreeMap<AgentId, Timestamp>, Error> {
    let rows = tx.rows(query(ACKED).bind(id.as_uuid()).bind(lifted)).await?;
    let read = |r: &PgRow| Ok((row::uuid(r, "agent_id", AgentId::from_uuid)?, row::time(r, "at")?));
    rows.iter().map(read).collect()
}

fn read_halt(r: &PgRow) -> Result<Halt, Error> {
    let action = match row::get::<String>(r, "action")?.as_str() {
        "soft" => HaltAction::Soft,
        "hard" => HaltAction::Hard,
        "lockdown" => HaltAction::Lockdown,
        _ => return Err(Error::Inconsistent { what: "halt.action" }),
    };
    Ok(Halt {
        halt_id: row::uuid(r, "halt_id", HaltId::from_uuid)?,
        scope: row::json(r, "scope")?,
        action,
        control_epoch: row::count(r, "control_epoch")?,
        envelope: row::get(r, "envelope")?,
        reason: row::get(r, "reason")?,
        set_by: row::get(r, "set_by")?,
        set_at: row::time(r, "set_at")?,
        lifted_at: row::maybe_time(r, "lifted_at")?,
        lift: row::get(r, "lift")?,
    })
}
