//! What environments let happen without a person, and what is under way in them.

use sqlx::postgres::PgRow;
use sqlx::query;
use uuid::Uuid;
use writ_domain::remediation::{AGAIN_SPAN, Load, Mode, Policy, RATE_SPAN};
use writ_protocol::id::RemediationId;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

statements! {
    SET = "-- remediation_policy.set
        INSERT INTO remediation_policy (environment, mode, hosts_at_once, per_hour, failures_max, set_by, set_at, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (environment) DO UPDATE SET mode = $2, hosts_at_once = $3, per_hour = $4,
            failures_max = $5, set_by = $6, set_at = $7, reason = $8, stopped_at = NULL";
    LOCK = "-- remediation_policy.lock
        SELECT * FROM remediation_policy WHERE environment = $1 FOR NO KEY UPDATE";
    LIST = "-- remediation_policy.list
        SELECT * FROM remediation_policy ORDER BY environment LIMIT $1";
    STOP = "-- remediation_policy.stop
        UPDATE remediation_policy SET stopped_at = $2 WHERE environment = $1 AND stopped_at IS NULL";
    LOAD = "-- remediation_policy.load
        SELECT count(DISTINCT agent_id) FILTER (WHERE ended_at IS NULL AND state <> 'proposed') AS hosts,
               count(*) FILTER (WHERE NOT is_asked AND coalesce(approved_at, created_at) > $2) AS within_hour,
               count(*) FILTER (WHERE NOT is_asked AND state = 'failed' AND ended_at > $3 AND created_at >= $4) AS failed
        FROM remediation WHERE environment = $1 AND remediation_id <> $5";
}

/// A policy as somebody set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The environment.
    pub environment: String,
    /// What it says.
    pub policy: Policy,
    /// Who set it.
    pub set_by: String,
    /// When.
    pub set_at: Timestamp,
    /// Why.
    pub reason: String,
    /// Since when it is stopped.
    pub stopped_at: Option<Timestamp>,
}

/// Sets a policy; one that was stopped goes on.
///
/// # Errors
/// [`Error`].
pub async fn set(tx: &mut Tx, one: &Kept) -> Result<(), Error> {
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let query = query(SET)
        .bind(text(&one.environment))
        .bind(one.policy.mode.name())
        .bind(number(one.policy.hosts_at_once))
        .bind(number(one.policy.per_hour))
        .bind(number(one.policy.failures_max))
        .bind(text(&one.set_by))
        .bind(Instant(one.set_at))
        .bind(text(&one.reason));
    tx.run(query).await.map(|_| ())
}

/// An environment's policy, held until the end of the transaction: whoever begins something counts what is under way alone.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx, environment: &str) -> Result<Option<Kept>, Error> {
    let found = tx.row(query(LOCK).bind(environment)).await?;
    found.as_ref().map(read).transpose()
}

/// All of them, by environment; at most `limit`.
///
/// # Errors
/// [`Error`].
pub async fn list(tx: &mut Tx, limit: u32) -> Result<Vec<Kept>, Error> {
    tx.rows(query(LIST).bind(i64::from(limit)))
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Stops a policy; whether it went on until now.
///
/// # Errors
/// [`Error`].
pub async fn stop(tx: &mut Tx, environment: &str, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.run(query(STOP).bind(environment).bind(Instant(now))).await? > 0)
}

/// What is under way in an environment, and what was since its policy was set; but for one, where it is named.
///
/// # Errors
/// [`Error`].
pub async fn load(tx: &mut Tx, of: &Kept, but: Option<RemediationId>, now: Timestamp) -> Result<Load, Error> {
    let query = query(LOAD)
        .bind(of.environment.as_str())
        .bind(Instant(now.minus(RATE_SPAN)))
        .bind(Instant(now.minus(AGAIN_SPAN)))
        .bind(Instant(of.set_at))
        .bind(but.map_or(Uuid::nil(), |id| id.as_uuid()));
    let found = tx
        .row(query)
        .await?
        .ok_or(Error::Inconsistent { what: "remediation" })?;
    let count = |what| Ok::<u32, Error>(u32::try_from(row::count(&found, what)?).unwrap_or(u32::MAX));
    Ok(Load {
        hosts: count("hosts")?,
        within_hour: count("within_hour")?,
        failed: count("failed")?,
    })
}

fn read(r: &PgRow) -> Result<Kept, Error> {
    let mode: String = row::get(r, "mode")?;
    let number = |what| Ok::<u32, Error>(u32::try_from(row::get::<i32>(r, what)?).unwrap_or_default());
    let stopped_at = row::maybe_time(r, "stopped_at")?;
    Ok(Kept {
        environment: row::get(r, "environment")?,
        policy: Policy {
            mode: Mode::of(&mode).ok_or(Error::Inconsistent {
                what: "remediation_policy.mode",
            })?,
            hosts_at_once: number("hosts_at_once")?,
            per_hour: number("per_hour")?,
            failures_max: number("failures_max")?,
            is_stopped: stopped_at.is_some(),
        },
        set_by: row::get(r, "set_by")?,
        set_at: row::time(r, "set_at")?,
        reason: row::get(r, "reason")?,
        stopped_at,
    })
}
