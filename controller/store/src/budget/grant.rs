//! Grants: made with their orders, and settled when those have ended.

use sqlx::postgres::PgRow;
use sqlx::query;
use uuid::Uuid;
use writ_domain::budget::{Grant, GrantState};
use writ_domain::order::OrderState;
use writ_protocol::id::{OrderId, RunId};
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::metered::{known_cost, metered};
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    CREATE = "-- grant.create
        INSERT INTO budget_grant (order_id, tenant_account, project_account, run_account, amount_micros, state, updated_at)
        SELECT unnest($1::uuid[]), $2, $3, $4, $5, 'open', $6";
    UNSETTLED = concat!("-- grant.unsettled
        SELECT g.*, o.run_id, o.state AS order_state, ", known_cost!(), " AS cost_micros, ", metered!(), " AS metered
        FROM run_order o JOIN budget_grant g ON g.order_id = o.order_id
        WHERE o.run_id = ANY($1) AND o.state NOT IN ('held', 'pending', 'accepted')
            AND (g.state = 'open' OR g.state = 'disputed' AND o.state NOT IN ('expired', 'cancelled', 'unresolved'))
        ORDER BY g.order_id LIMIT $2 FOR UPDATE OF g");
    SAVE = "-- grant.save
        UPDATE budget_grant g SET state = u.state, spent_micros = u.spent, overrun_micros = u.overrun, updated_at = $5
        FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) u(order_id, state, spent, overrun)
        WHERE g.order_id = u.order_id";
}

/// What the grants of new orders have in common.
#[derive(Clone, Copy, Debug)]
pub struct NewGrants {
    /// What each may spend, micro-units.
    pub amount_micros: u64,
    /// The accounts that it is reserved of: the tenant's, the project's, the run's.
    pub accounts: [Option<i64>; 3],
    /// When.
    pub at: Timestamp,
}

/// A grant whose order has ended, or was given up.
#[derive(Clone, Debug)]
pub struct GrantRow {
    /// The order that carries it.
    pub order_id: OrderId,
    /// Its run.
    pub run_id: RunId,
    /// The accounts that it was reserved of.
    pub accounts: [Option<i64>; 3],
    /// The grant.
    pub grant: Grant,
    /// Where its order stands.
    pub order_state: OrderState,
    /// What is known of what it cost, by its agent's word, micro-units.
    pub cost_micros: Option<u64>,
    /// Whether that is all: everything that was begun left its cost.
    pub is_metered: bool,
}

/// Writes one grant for each order, in one statement.
///
/// # Errors
/// [`Error`].
pub async fn create_grants(tx: &mut Tx, new: &NewGrants, orders: &[OrderId]) -> Result<(), Error> {
    let ids: Vec<Uuid> = orders.iter().map(OrderId::as_uuid).collect();
    let [tenant, project, run] = new.accounts;
    let query = query(CREATE).bind(ids).bind(tenant).bind(project).bind(run);
    tx.run(query.bind(row::signed(new.amount_micros)).bind(Instant(new.at)))
        .await
        .map(|_| ())
}

/// Grants of these runs that can be settled now, at most `limit`, locked until the transaction ends.
///
/// # Errors
/// [`Error`].
pub async fn unsettled(tx: &mut Tx, runs: &[RunId], limit: u32) -> Result<Vec<GrantRow>, Error> {
    let ids: Vec<Uuid> = runs.iter().map(RunId::as_uuid).collect();
    let rows = tx.rows(query(UNSETTLED).bind(ids).bind(i64::from(limit))).await?;
    rows.iter().map(read_grant).collect()
}

/// Writes grants that are locked.
///
/// # Errors
/// [`Error`].
pub async fn save_grants(tx: &mut Tx, grants: &[GrantRow], now: Timestamp) -> Result<(), Error> {
    if grants.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&Grant) -> u64| grants.iter().map(|g| row::signed(of(&g.grant))).collect();
    let (spent, overrun): (Vec<i64>, Vec<i64>) = (column(|g| g.spent_micros), column(|g| g.overrun_micros));
    let query = query(SAVE)
        .bind(grants.iter().map(|g| g.order_id.as_uuid()).collect::<Vec<_>>())
        .bind(grants.iter().map(|g| g.grant.state.name()).collect::<Vec<_>>())
        .bind(spent)
        .bind(overrun)
        .bind(Instant(now));
    tx.run(query).await.map(|_| ())
}

fn read_grant(r: &PgRow) -> Result<GrantRow, Error> {
    let (state, order_state): (String, String) = (row::get(r, "state")?, row::get(r, "order_state")?);
    Ok(GrantRow {
        order_id: row::uuid(r, "order_id", OrderId::from_uuid)?,
        run_id: row::uuid(r, "run_id", RunId::from_uuid)?,
        accounts: [
            row::get(r, "tenant_account")?,
            row::get(r, "project_account")?,
            row::get(r, "run_account")?,
        ],
        grant: Grant {
            amount_micros: row::count(r, "amount_micros")?,
            state: GrantState::of(&state).ok_or(Error::Inconsistent {
                what: "budget_grant.state",
            })?,
            spent_micros: row::count(r, "spent_micros")?,
            overrun_micros: row::count(r, "overrun_micros")?,
        },
        order_state: OrderState::of(&order_state).ok_or(Error::Inconsistent {
            what: "run_order.state",
        })?,
        cost_micros: row::maybe_count(r, "cost_micros")?,
        is_metered: row::get(r, "metered")?,
    })
}
