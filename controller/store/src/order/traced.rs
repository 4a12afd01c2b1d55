//! Which traces the outstanding orders of agents belong to.

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_protocol::id::{AgentId, OrderId};
use writ_protocol::time::Timestamp;
use writ_protocol::trace::TraceContext;

use crate::agent::uuids;
use crate::error::Error;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

/// Most orders that are read at once; of what is more, nobody is told a trace.
const TRACED_MAX: i64 = 10_000;

statements! {
    TRACED = "-- order.traced
        SELECT o.agent_id, o.order_id, o.state = 'pending' AS is_pending, o.issued_at, r.traceparent
        FROM run_order o JOIN run r USING (run_id)
        WHERE o.agent_id = ANY($1) AND o.state IN ('pending', 'accepted') AND r.traceparent IS NOT NULL
        ORDER BY o.agent_id, o.issued_at, o.order_id LIMIT $2";
}

/// An outstanding order and the trace of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Whose.
    pub agent_id: AgentId,
    /// The order.
    pub order_id: OrderId,
    /// Whether its agent has said nothing of it yet.
    pub is_pending: bool,
    /// When it was made.
    pub issued_at: Timestamp,
    /// Where the trace of its run goes on from.
    pub trace: TraceContext,
}

/// Outstanding orders of agents whose runs have a trace, each agent's oldest first.
///
/// # Errors
/// [`Error`].
pub async fn of(tx: &mut Tx, agents: &[AgentId]) -> Result<Vec<Traced>, Error> {
    let query = query(TRACED).bind(uuids(agents)).bind(TRACED_MAX);
    let rows = tx.rows(query).await?;
    let read = |r: &PgRow| {
        let Some(trace) = row::trace(r, "traceparent")? else {
            return Ok(None);
        };
        Ok(Some(Traced {
            agent_id: row::uuid(r, "agent_id", AgentId::from_uuid)?,
            order_id: row::uuid(r, "order_id", OrderId::from_uuid)?,
            is_pending: row::get(r, "is_pending")?,
            issued_at: row::time(r, "issued_at")?,
            trace,
        }))
    };
    rows.iter().filter_map(|r| read(r).transpose()).collect()
}
