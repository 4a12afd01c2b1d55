//! Rollouts and reminders, as `writ_controller::app::rollout` and `::settle` do them: one pass over the reminders is several transactions, and a
//! controller may die, stand still or hear nothing of its commit between any two of them.

use std::time::Duration;

use writ_domain::agent::AgentState;
use writ_domain::halt::{Subject, covers};
use writ_domain::order::{self, OrderEvent, OrderState};
use writ_domain::rollout::{Decision, Frozen, Standing, is_failure, standing_of};
use writ_protocol::id::{OrderId, RunId};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::order::Order;
use writ_store::run::RolloutRow;

use super::super::books::Books;
use super::super::witness::Witness;
use super::LEASE;

/// The reminders there are: place and run, the oldest first.
pub fn reminders(books: &Books) -> Vec<(u64, RunId)> {
    books.moved.iter().map(|(place, run)| (*place, *run)).collect()
}

/// Gives the next orders of a run to their agents, or ends those that are held where too many failed.
pub fn begin_next(books: &mut Books, witness: &mut Witness, run_id: RunId, now: Timestamp) {
    let Some((run, rollout)) = books
        .runs
        .get(&run_id)
        .and_then(|run| Some((run.clone(), run.rollout.clone()?)))
    else {
        return;
    };
    let held = held(books, run_id);
    let hosts = match rollout.frozen.decide(&standing(books, run_id)) {
        Decision::Wait => return,
        Decision::Stop => return turn(books, &held, OrderEvent::Withdrawn, now),
        Decision::Release(hosts) => usize::try_from(hosts).unwrap_or(usize::MAX),
    };
    let (mut begun, mut gone) = (Vec::new(), Vec::new());
    for id in held.into_iter().take(hosts) {
        let agent = books
            .orders
            .get(&id)
            .and_then(|order| books.agents.get(&order.agent_id));
        let Some(agent) = agent.filter(|agent| agent.state == AgentState::Active) else {
            gone.push(id);
            continue;
        };
        let subject = Subject {
            agent_id: agent.agent_id,
            labels: &agent.labels,
            order: Some((run_id, &run.project)),
        };
        if books.halts.iter().any(|halt| covers(&halt.scope, &subject)) {
            break;
        }
        begun.push(id);
    }
    if !gone.is_empty() {
        turn(books, &gone, OrderEvent::Withdrawn, now);
        books.remind([run_id]);
    }
    for id in &begun {
        release(books, *id, &rollout, now);
    }
    if !begun.is_empty() {
        witness.counts.released += begun.len() as u64;
        judge(books, witness, (run_id, &rollout.frozen), begun.len());
    }
}

/// Sets where runs stand, and takes the reminders off that were looked at.
pub fn settle(books: &mut Books, looked_at: &[(u64, RunId)], now: Timestamp) {
    let ids = looked_at.iter().map(|(_, run)| *run).collect();
    books.settle(&ids, now);
    for (place, _) in looked_at {
        books.moved.remove(place);
    }
}

/// Asks for an order to be stopped.
pub fn cancel(one: &mut Order, now: Timestamp) {
    apply(one, OrderEvent::CancelRequested, now);
}

fn release(books: &mut Books, id: OrderId, rollout: &RolloutRow, now: Timestamp) {
    let control_epoch = books.control_epoch;
    let Some(one) = books.orders.get_mut(&id) else {
        return;
    };
    let ttl: Duration = one.expires_at.since(one.issued_at);
    let expires_at = now.plus(ttl);
    apply(one, OrderEvent::Released { expires_at }, now);
    (one.issued_at, one.control_epoch, one.grant_micros) = (now, control_epoch, rollout.grant_micros);
    let agent_id = one.agent_id;
    books.bump([agent_id]);
}

fn turn(books: &mut Books, ids: &[OrderId], event: OrderEvent, now: Timestamp) {
    for id in ids {
        if let Some(one) = books.orders.get_mut(id) {
            apply(one, event, now);
        }
    }
}

fn apply(one: &mut Order, event: OrderEvent, now: Timestamp) {
    let before = order::Order {
        state: one.state,
        fencing_token: one.fencing_token,
        cancel_requested: one.cancel_requested,
        expires_at: one.expires_at,
        deadline_at: one.deadline_at,
    };
    let Ok(after) = order::apply(&before, event, LEASE, now) else {
        return;
    };
    (one.state, one.cancel_requested) = (after.next.state, after.next.cancel_requested);
    (one.expires_at, one.deadline_at) = (after.next.expires_at, after.next.deadline_at);
    if one.state.is_terminal() {
        one.ended_at = one.ended_at.or(Some(now));
    }
}

/// The held orders of a run in their order.
fn held(books: &Books, run_id: RunId) -> Vec<OrderId> {
    let mine = books.orders.values();
    mine.filter(|one| one.run_id == run_id && one.state == OrderState::Held)
        .map(|one| one.order_id)
        .collect()
}

fn standing(books: &Books, run_id: RunId) -> Standing {
    let mine = books.orders.values().filter(|one| one.run_id == run_id);
    standing_of(mine.map(|one| (one.state, is_excused(one), 1)))
}

/// Whether a person's own word ended it: a cancellation or a halt.
fn is_excused(one: &Order) -> bool {
    let codes = [Code::Cancelled, Code::Halted].map(|code| code.to_string());
    one.code.as_ref().is_some_and(|code| codes.contains(code))
}

/// Holds what was begun to what the operator was told, counted from the orders themselves.
fn judge(books: &Books, witness: &mut Witness, (run_id, frozen): (RunId, &Frozen), begun: usize) {
    let mine: Vec<&Order> = books.orders.values().filter(|one| one.run_id == run_id).collect();
    let count = |is: &dyn Fn(&Order) -> bool| mine.iter().filter(|one| is(one)).count() as u64;
    let at_work = count(&|one| matches!(one.state, OrderState::Pending | OrderState::Accepted));
    let failed = count(&|one| is_failure(one.state) && !is_excused(one));
    if at_work > u64::from(frozen.concurrency) {
        let most = frozen.concurrency;
        witness.accuse(
            "I13",
            format!("{at_work} hosts of {run_id} are at work, and {most} may be"),
        );
    }
    if failed > u64::from(frozen.error_threshold) {
        let most = frozen.error_threshold;
        let what = format!("{begun} hosts of {run_id} are begun after {failed} failed, and {most} may");
        witness.accuse("I13", what);
    }
}
