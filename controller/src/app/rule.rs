//! The desk's decisions without their SQL: rows in, rows out. The transactions around them call these; the simulator runs the same ones over a
//! ledger in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use data_encoding::BASE64;
use writ_domain::agent::AgentState;
use writ_domain::halt::{Subject, covers};
use writ_domain::order::{OrderEvent, OrderState, apply};
use writ_domain::run::verdict;
use writ_protocol::cost::{Grant, RateCard};
use writ_protocol::exec::RunMode;
use writ_protocol::halt::Scope;
use writ_protocol::hello::{Hello, LeaseRenewed};
use writ_protocol::id::{HaltId, RunId};
use writ_protocol::limits::{HALTS_MAX, LIFTS_BYTES_MAX, LIFTS_MAX};
use writ_protocol::manifest::{Generation, Manifest, Order};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::{agent, halt, order, run};

use super::run::rule;

pub use super::ingest::effects::{Effects, Moved};
pub use super::ingest::{Decoded, decode};

/// Slack after the last order's expiry before the sweeper looks at a run by itself.
pub(super) const RUN_SLACK: Duration = Duration::from_secs(3_600);

/// From where an agent sends again that believes more to be committed than is: the database was restored.
pub fn resend_from(acknowledged: u64, upto: u64) -> Option<u64> {
    (acknowledged > upto).then_some(upto.saturating_add(1))
}

/// Renews the leases of the agent's orders that a hello reports as running under their present token; also gives the runs that moved by it.
pub fn renew(
    orders: &mut [order::Order],
    hello: &Hello,
    now: Timestamp,
) -> (Vec<LeaseRenewed>, BTreeSet<RunId>) {
    let (mut renewed, mut runs) = (Vec::new(), BTreeSet::new());
    for one in orders {
        let held = hello
            .running
            .iter()
            .find(|l| l.order_id == one.order_id)
            .map(|l| l.fencing_token);
        let event = OrderEvent::Heard {
            fencing_token: held.unwrap_or_default(),
        };
        if let Ok(next) = apply(&rule(one), event, Duration::from_millis(one.lease_ms), now) {
            if next.next.state != one.state {
                runs.insert(one.run_id);
                take_back(one);
            }
            one.heard_at = Some(now);
            (one.state, one.deadline_at) = (next.next.state, next.next.deadline_at);
        }
        renewed.push(LeaseRenewed {
            order_id: one.order_id,
            fencing_token: one.fencing_token,
            lease_ms: one.lease_ms,
        });
    }
    (renewed, runs)
}

/// Takes back what was written down without the agent's word: its word has come after all.
pub(super) fn take_back(one: &mut order::Order) {
    one.late = true;
    (one.ended_at, one.code, one.detail) = (None, None, None);
}

/// Writes down of an overdue order that no word came; whether its deadline had passed indeed.
pub fn lapse(one: &mut order::Order, lease: Duration, now: Timestamp) -> bool {
    let Ok(next) = apply(&rule(one), OrderEvent::DeadlinePassed, lease, now) else {
        return false;
    };
    (one.state, one.deadline_at) = (next.next.state, next.next.deadline_at);
    let (code, words) = match one.state {
        OrderState::Expired => (Code::Expired, "no word from the agent before the order expired"),
        OrderState::Cancelled => (Code::Cancelled, "cancelled before the agent answered"),
        _ => (
            Code::Unresolved,
            "the agent accepted the order and its lease ran out without word; its journal will say what happened",
        ),
    };
    one.ended_at = Some(now);
    (one.code, one.detail) = (Some(code.to_string()), Some(words.to_owned()));
    true
}

/// Sets where a run stands from where its orders stand; whether that is news.
pub fn settle(
    one: &mut run::Run,
    orders: impl IntoIterator<Item = (OrderState, u64)>,
    now: Timestamp,
) -> bool {
    let state = verdict(orders);
    if state == one.state {
        return false;
    }
    one.state = state;
    if state.is_terminal() {
        one.ended_at = one.ended_at.or(Some(now));
        one.deadline_at = None;
    } else {
        // The agent's late word can bring a run back from a guess.
        one.ended_at = None;
        one.deadline_at = one.deadline_at.or(Some(now.plus(RUN_SLACK)));
    }
    true
}

/// Everything that one agent's manifest is made of.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// Prices by version, those of all its orders.
    pub cards: &'a BTreeMap<u32, RateCard>,
    /// How long a manifest may be taken.
    pub ttl: Duration,
    /// The database's life.
    pub epoch: u32,
    /// How many halts and lifts there have been.
    pub control_epoch: u64,
    /// Halts in force.
    pub halts: &'a [halt::Halt],
    /// Halts that were lifted, the last first; none for an agent that does not read lifts.
    pub lifted: &'a [halt::Halt],
    /// Now.
    pub now: Timestamp,
    /// The agent.
    pub agent: &'a agent::Agent,
    /// Its outstanding orders, oldest first.
    pub orders: &'a [order::Order],
    /// Their runs.
    pub runs: &'a BTreeMap<RunId, run::Run>,
}

/// The manifest of an agent.
pub fn manifest(listed: &Listed<'_>) -> Manifest {
    let Listed {
        agent, orders, runs, ..
    } = *listed;
    let quarantined = agent.state == AgentState::Quarantined;
    let mine = |halt: &&halt::Halt| {
        let idle = Subject {
            agent_id: agent.agent_id,
            labels: &agent.labels,
            order: None,
        };
        let of = |o: &order::Order| runs.get(&o.run_id).map(|r| (r.run_id, r.project.as_str()));
        covers(&halt.scope, &idle)
            || orders
                .iter()
                .any(|o| covers(&halt.scope, &Subject { order: of(o), ..idle }))
    };
    let halts = listed
        .halts
        .iter()
        .filter(mine)
        .take(HALTS_MAX)
        .map(|h| BASE64.encode(&h.envelope))
        .collect();
    let ordered = if quarantined { &[][..] } else { orders };
    Manifest {
        tenant: listed.tenant.to_owned(),
        agent_id: agent.agent_id,
        user_key: agent.user_key.clone(),
        at: Generation {
            epoch: listed.epoch,
            generation: agent.generation,
        },
        issued_at: listed.now,
        expires_at: listed.now.plus(listed.ttl),
        control_epoch: listed.control_epoch,
        quarantined,
        orders: ordered
            .iter()
            .filter_map(|o| {
                Some(order_word(
                    o,
                    runs.get(&o.run_id)?,
                    listed.cards.get(&o.rate_card)?,
                ))
            })
            .collect(),
        cancelled: orders
            .iter()
            .filter(|o| o.cancel_requested)
            .map(|o| o.order_id)
            .collect(),
        halts,
        lifts: lifts(listed.lifted, agent, &BTreeSet::new()),
    }
}

/// The lifts that an agent is sent: those that it asks about, then those of halts that may be about it, as many as may be.
pub fn lifts(lifted: &[halt::Halt], agent: &agent::Agent, asked: &BTreeSet<HaltId>) -> Vec<String> {
    let idle = Subject {
        agent_id: agent.agent_id,
        labels: &agent.labels,
        order: None,
    };
    // Which runs and projects were its own is not known any more: the agent passes over what it does not hold.
    let is_its =
        |h: &&halt::Halt| covers(&h.scope, &idle) || matches!(h.scope, Scope::Project(_) | Scope::Run(_));
    let (first, rest): (Vec<_>, Vec<_>) = lifted.iter().partition(|h| asked.contains(&h.halt_id));
    let chosen = first.into_iter().chain(rest.into_iter().filter(is_its));
    let mut bytes = 0;
    let fits = |text: &String| {
        bytes += text.len();
        bytes <= LIFTS_BYTES_MAX
    };
    let texts = chosen
        .filter_map(|h| h.lift.as_ref())
        .map(|lift| BASE64.encode(lift));
    texts.take(LIFTS_MAX).take_while(fits).collect()
}

fn order_word(o: &order::Order, run: &run::Run, rates: &RateCard) -> Order {
    Order {
        order_id: o.order_id,
        run_id: o.run_id,
        ordered_by: run.ordered_by.clone(),
        kind: run.kind,
        bundle: run.bundle,
        // A fleet takes nothing else.
        mode: RunMode::Strict,
        plan_digest: run.plan_digest,
        rests_on: o.rests_on,
        issued_at: o.issued_at,
        not_before: o.issued_at,
        expires_at: o.expires_at,
        lease_ms: o.lease_ms,
        fencing_token: o.fencing_token,
        control_epoch: o.control_epoch,
        grant: Grant {
            amount_micros: o.grant_micros,
            rates: rates.clone(),
        },
    }
}
