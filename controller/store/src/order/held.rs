//! Orders that wait for their turn in their run: found, and given to their agents.

use sqlx::query;
use uuid::Uuid;
use writ_protocol::id::RunId;
use writ_protocol::time::Timestamp;

use super::{Order, read_order};
use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    NEXT = "-- order.next_held
        SELECT o.*, a.name AS agent_name FROM run_order o JOIN agent a USING (agent_id)
        WHERE o.run_id = $1 AND o.state = 'held' ORDER BY a.name LIMIT $2 FOR UPDATE OF o";
    RELEASE = "-- order.release
        UPDATE run_order SET state = 'pending', issued_at = $2, expires_at = $3, deadline_at = $3, grant_micros = $4, control_epoch = $5,
                             updated_at = $2
        WHERE order_id = ANY($1) AND state = 'held'";
    NOTE = "-- run_moved.note_held
        INSERT INTO run_moved (run_id) SELECT DISTINCT run_id FROM run_order WHERE state = 'held'";
}

/// With what orders are given to their agents.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// When.
    pub at: Timestamp,
    /// Not to be accepted after.
    pub expires_at: Timestamp,
    /// What each may cost, micro-units.
    pub grant_micros: u64,
    /// The control epoch by then.
    pub control_epoch: u64,
}

/// The first held orders of a run by their agents' names, locked until the transaction ends. Lock the run before.
///
/// # Errors
/// [`Error`].
pub async fn next(tx: &mut Tx, run: RunId, limit: u64) -> Result<Vec<Order>, Error> {
    let query = query(NEXT).bind(run.as_uuid()).bind(row::signed(limit));
    tx.rows(query).await?.iter().map(read_order).collect()
}

/// Gives held orders to their agents.
///
/// # Errors
/// [`Error`].
pub async fn release(tx: &mut Tx, orders: &[Order], given: &Given) -> Result<(), Error> {
    let ids: Vec<Uuid> = orders.iter().map(|one| one.order_id.as_uuid()).collect();
    let query = query(RELEASE)
        .bind(ids)
        .bind(Instant(given.at))
        .bind(Instant(given.expires_at))
        .bind(row::signed(given.grant_micros))
        .bind(row::signed(given.control_epoch));
    tx.run(query).await.map(|_| ())
}

/// Writes down that all runs with held orders are to be looked at: what kept them may be gone.
///
/// # Errors
/// [`Error`].
pub async fn note_all(tx: &mut Tx) -> Result<(), Error> {
    tx.run(query(NOTE)).await.map(|_| ())
}
