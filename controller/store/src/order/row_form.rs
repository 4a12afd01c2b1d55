//! Orders as rows: reading one, and binding many for one statement.

use sqlx::postgres::PgRow;
use writ_domain::order::OrderState;
use writ_protocol::id::{AgentId, JournalId, OrderId, RunId};
use writ_protocol::manifest::Generation;
use writ_protocol::time::Timestamp;

use super::Order;
use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::text::text;
use crate::tx::Bound;

pub(super) fn read(r: &PgRow) -> Result<Order, Error> {
    let state: String = row::get(r, "state")?;
    let epoch = row::maybe_small(r, "epoch")?;
    let generation = row::maybe_count(r, "generation")?;
    Ok(Order {
        order_id: row::uuid(r, "order_id", OrderId::from_uuid)?,
        run_id: row::uuid(r, "run_id", RunId::from_uuid)?,
        agent_id: row::uuid(r, "agent_id", AgentId::from_uuid)?,
        agent_name: row::get(r, "agent_name")?,
        state: OrderState::of(&state).ok_or(Error::Inconsistent {
            what: "run_order.state",
        })?,
        fencing_token: row::count(r, "fencing_token")?,
        cancel_requested: row::get(r, "cancel_requested")?,
        late: row::get(r, "late")?,
        control_epoch: row::count(r, "control_epoch")?,
        lease_ms: row::count(r, "lease_ms")?,
        issued_at: row::time(r, "issued_at")?,
        expires_at: row::time(r, "expires_at")?,
        deadline_at: row::maybe_time(r, "deadline_at")?,
        heard_at: row::maybe_time(r, "heard_at")?,
        grant_micros: row::count(r, "grant_micros")?,
        rate_card: row::small(r, "rate_card")?,
        rests_on: row::maybe_digest(r, "rests_on")?,
        accepted_at: row::maybe_time(r, "accepted_at")?,
        ended_at: row::maybe_time(r, "ended_at")?,
        code: row::get(r, "code")?,
        detail: row::get(r, "detail")?,
        steps: steps(r)?,
        cost_micros: row::maybe_count(r, "cost_micros")?,
        statement: row::maybe_digest(r, "statement")?,
        journal_id: row::get::<Option<uuid::Uuid>>(r, "journal_id")?.map(JournalId::from_uuid),
        first_seq: row::maybe_count(r, "first_seq")?,
        last_seq: row::maybe_count(r, "last_seq")?,
        at: epoch
            .zip(generation)
            .map(|(epoch, generation)| Generation { epoch, generation }),
    })
}

fn steps(r: &PgRow) -> Result<Option<[u32; 4]>, Error> {
    let Some(changed) = row::maybe_small(r, "changed")? else {
        return Ok(None);
    };
    let other = |what| row::maybe_small(r, what).map(Option::unwrap_or_default);
    Ok(Some([
        changed,
        other("unchanged")?,
        other("failed")?,
        other("skipped")?,
    ]))
}

pub(super) fn bind_save<'q>(query: Bound<'q>, orders: &'q [Order], now: Timestamp) -> Bound<'q> {
    fn column<T>(orders: &[Order], f: impl Fn(&Order) -> T) -> Vec<T> {
        orders.iter().map(f).collect()
    }
    let step = |place: usize| {
        column(orders, |o| {
            o.steps.and_then(|s| s.get(place).copied()).map(row::signed_small)
        })
    };
    let number = |f: fn(&Order) -> Option<u64>| column(orders, |o| f(o).map(row::signed));
    query
        .bind(column(orders, |o| o.order_id.as_uuid()))
        .bind(column(orders, |o| o.state.name()))
        .bind(column(orders, |o| o.cancel_requested))
        .bind(column(orders, |o| o.late))
        .bind(column(orders, |o| o.deadline_at.map(Instant)))
        .bind(column(orders, |o| o.heard_at.map(Instant)))
        .bind(column(orders, |o| o.accepted_at.map(Instant)))
        .bind(column(orders, |o| o.ended_at.map(Instant)))
        .bind(column(orders, |o| o.code.clone()))
        .bind(
            orders
                .iter()
                .map(|o| o.detail.as_deref().map(text))
                .collect::<Vec<_>>(),
        )
        .bind(step(0))
        .bind(step(1))
        .bind(step(2))
        .bind(step(3))
        .bind(number(|o| o.cost_micros))
        .bind(column(orders, |o| o.statement.map(|d| d.as_bytes().to_vec())))
        .bind(column(orders, |o| o.journal_id.map(|j| j.as_uuid())))
        .bind(number(|o| o.first_seq))
        .bind(number(|o| o.last_seq))
        .bind(column(orders, |o| o.at.map(|at| row::signed_small(at.epoch))))
        .bind(Instant(now))
        .bind(number(|o| o.at.map(|at| at.generation)))
}
