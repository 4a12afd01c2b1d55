//! Runs, cancellations, halts and the sweeper, as `writ_controller::app` does them.

use std::collections::BTreeSet;
use std::time::Duration;

use data_encoding::BASE64;
use uuid::Uuid;
use writ_controller::app::{Fence, rule};
use writ_domain::order::OrderState;
use writ_domain::rollout::Frozen;
use writ_domain::run::RunState;
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::halt::{self as word, HaltAction, Scope};
use writ_protocol::id::{AgentId, HaltId, OrderId, RunId};
use writ_protocol::manifest::{BundleRef, OrderKind};
use writ_protocol::statement;
use writ_protocol::time::Timestamp;
use writ_store::halt::Halt;
use writ_store::order::Order;
use writ_store::run::{RolloutRow, Run};

use super::super::books::Books;
use super::super::keys::{NOTARY, TENANT};
use super::super::store::Failed;
use super::super::witness::Witness;
use super::{LEASE, MANIFEST_TTL, rollout};
use crate::sim::exec::rates;
use crate::sim::plan::Spread;

/// A run to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewRun {
    /// Its number in this world; its ids follow from it.
    pub number: u64,
    /// What it asks for.
    pub kind: OrderKind,
    /// How long it may wait to be accepted.
    pub ttl: Duration,
    /// What each order may cost.
    pub grant_micros: u64,
    /// How many hosts may be at work at once and how many may fail; all at once without.
    pub spread: Option<Spread>,
}

/// Creates a run with one order for each active agent.
pub fn order(books: &mut Books, witness: &mut Witness, new: NewRun, now: Timestamp) {
    let run_id = RunId::from_uuid(Uuid::from_u64_pair(0x72, new.number));
    let active = |a: &&writ_store::agent::Agent| a.state == writ_domain::agent::AgentState::Active;
    let targets: Vec<AgentId> = books.agents.values().filter(active).map(|a| a.agent_id).collect();
    if targets.is_empty() || books.runs.contains_key(&run_id) {
        return;
    }
    let expires_at = now.plus(new.ttl);
    let count = u32::try_from(targets.len()).unwrap_or(u32::MAX);
    let frozen = new.spread.map(|spread| Frozen::of(&spread.rollout(), count));
    let bundle = BundleRef {
        digest: Digest::ZERO,
        length: 0,
    };
    let run = Run {
        run_id,
        kind: new.kind,
        project: "web".to_owned(),
        state: RunState::Queued,
        bundle,
        plan_digest: None,
        ordered_by: "ada".to_owned(),
        reason: None,
        traceparent: None,
        created_at: now,
        ended_at: None,
        deadline_at: Some(expires_at.plus(Duration::from_secs(3_600))),
        rollout: frozen.map(|frozen| RolloutRow {
            frozen,
            grant_micros: new.grant_micros,
            run_cap: None,
        }),
    };
    let state = if run.rollout.is_some() {
        OrderState::Held
    } else {
        OrderState::Pending
    };
    books.runs.insert(run_id, run);
    for (place, agent_id) in targets.iter().enumerate() {
        let order_id = OrderId::from_uuid(Uuid::from_u64_pair(
            0x6f00 + place as u64,
            new.number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        ));
        let one = Order {
            order_id,
            agent_id: *agent_id,
            ..first(books, (run_id, state), (new.grant_micros, expires_at), now)
        };
        books.orders.insert(order_id, one);
    }
    if state == OrderState::Held {
        return rollout::begin_next(books, witness, run_id, now);
    }
    books.bump(targets);
}

/// An order as it is made, nobody's yet.
fn first(
    books: &Books,
    (run_id, state): (RunId, OrderState),
    (grant_micros, expires_at): (u64, Timestamp),
    now: Timestamp,
) -> Order {
    Order {
        order_id: OrderId::from_uuid(Uuid::nil()),
        run_id,
        agent_id: AgentId::from_uuid(Uuid::nil()),
        agent_name: String::new(),
        state,
        fencing_token: 1,
        cancel_requested: false,
        late: false,
        control_epoch: books.control_epoch,
        lease_ms: u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX),
        issued_at: now,
        expires_at,
        deadline_at: (state == OrderState::Pending).then_some(expires_at),
        heard_at: None,
        grant_micros,
        rate_card: rates().version,
        rests_on: None,
        accepted_at: None,
        ended_at: None,
        code: None,
        detail: None,
        steps: None,
        cost_micros: None,
        statement: None,
        journal_id: None,
        first_seq: None,
        last_seq: None,
        at: None,
    }
}

/// Asks for the orders of a run to be stopped.
pub fn cancel(books: &mut Books, number: u64, now: Timestamp) {
    let run_id = RunId::from_uuid(Uuid::from_u64_pair(0x72, number));
    let open = books
        .orders
        .values_mut()
        .filter(|o| o.run_id == run_id && !o.state.is_terminal());
    let mut agents = BTreeSet::new();
    for one in open {
        rollout::cancel(one, now);
        agents.insert(one.agent_id);
    }
    books.remind([run_id]);
    books.bump(agents);
}

/// Sets a halt; gives its envelope, to be sent to everybody.
pub fn halt(
    books: &mut Books,
    number: u64,
    (scope, action): (Scope, HaltAction),
    now: Timestamp,
) -> Option<Vec<u8>> {
    let halt_id = HaltId::from_uuid(Uuid::from_u64_pair(0x68, number));
    let control_epoch = books.control_epoch + 1;
    let word = word::Halt {
        tenant: TENANT.to_owned(),
        halt_id,
        scope: scope.clone(),
        action,
        control_epoch,
        reason: "the simulation says so".to_owned(),
        set_by: "ada".to_owned(),
        issued_at: now,
    };
    let envelope = word::sign(word, &NOTARY.control).ok()?.to_json().ok()?;
    books.control_epoch = control_epoch;
    books.halts.push(Halt {
        halt_id,
        scope,
        action,
        control_epoch,
        envelope: envelope.clone(),
        reason: String::new(),
        set_by: String::new(),
        set_at: now,
        lifted_at: None,
        lift: None,
    });
    books.bump_all();
    Some(envelope)
}

/// Lifts a halt; gives the lift's envelope.
pub fn lift(books: &mut Books, witness: &mut Witness, number: u64, now: Timestamp) -> Option<Vec<u8>> {
    let halt_id = HaltId::from_uuid(Uuid::from_u64_pair(0x68, number));
    let place = books.halts.iter().position(|h| h.halt_id == halt_id)?;
    let control_epoch = books.control_epoch + 1;
    let word = word::Lift {
        tenant: TENANT.to_owned(),
        halt_id,
        control_epoch,
        reason: "the simulation says so".to_owned(),
        issued_at: now,
    };
    let envelope = word::sign_lift(word, &[&NOTARY.control, &NOTARY.lift])
        .ok()?
        .to_json()
        .ok()?;
    books.control_epoch = control_epoch;
    let mut lifted = books.halts.remove(place);
    (lifted.lifted_at, lifted.lift) = (Some(now), Some(envelope.clone()));
    books.lifted.insert(0, lifted);
    witness.lifts(halt_id, control_epoch);
    // What it kept may be begun.
    let kept: BTreeSet<RunId> = books
        .orders
        .values()
        .filter(|o| o.state == OrderState::Held)
        .map(|o| o.run_id)
        .collect();
    books.remind(kept);
    books.bump_all();
    Some(envelope)
}

/// Looks at the halts that an agent holds and was not told of: gives those that are lifted, and takes back those that this ledger lost.
pub fn look_at_held(books: &mut Books, held: &[String]) -> BTreeSet<HaltId> {
    let mut named = BTreeSet::new();
    for text in held {
        let envelope = BASE64.decode(text.as_bytes()).unwrap_or_default();
        let claimed = Envelope::parse(&envelope)
            .ok()
            .and_then(|e| statement::peek::<word::Halt>(&e).ok());
        let Some(halt) = claimed.map(|statement| statement.predicate) else {
            continue;
        };
        named.insert(halt.halt_id);
        let mut known = books.halts.iter().chain(&books.lifted);
        if known.any(|row| row.halt_id == halt.halt_id) {
            continue;
        }
        books.control_epoch += 1;
        books.halts.push(Halt {
            halt_id: halt.halt_id,
            scope: halt.scope,
            action: halt.action,
            control_epoch: books.control_epoch,
            envelope,
            reason: halt.reason,
            set_by: halt.set_by,
            set_at: halt.issued_at,
            lifted_at: None,
            lift: None,
        });
        books.bump_all();
    }
    named
}

/// Moves whatever has waited too long; how many orders it moved.
///
/// # Errors
/// [`Failed::Fenced`].
pub fn sweep(
    books: &mut Books,
    witness: &mut Witness,
    fence: &Fence,
    now: Timestamp,
) -> Result<usize, Failed> {
    super::ingest::guard(books, witness, fence, now)?;
    let (mut runs, mut agents, mut count) = (BTreeSet::new(), BTreeSet::new(), 0);
    for one in books.orders.values_mut() {
        if one.deadline_at.is_some_and(|at| at <= now) && rule::lapse(one, LEASE, now) {
            runs.insert(one.run_id);
            agents.insert(one.agent_id);
            count += 1;
        }
    }
    let late = books
        .runs
        .values()
        .filter(|r| r.deadline_at.is_some_and(|at| at <= now));
    runs.extend(late.map(|r| r.run_id));
    books.remind(runs);
    let soon = now.plus(MANIFEST_TTL / 2);
    let expiring = books.manifests.iter().filter(|(_, m)| m.expires_at < soon);
    agents.extend(expiring.map(|(id, _)| *id));
    books.bump(agents);
    Ok(count)
}
