//! What orders are counted as, whichever way they ended.

use std::time::Duration;

use writ_domain::budget::Mode;
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Limits, StepMode};
use writ_protocol::manifest::Order;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, OrderRefused, Record, StepIntent, StepOutcome};

use super::budgets::{PROJECT, set, submit, taken};
use super::desk::Desk;
use super::host::Host;
use super::journal::{accepted, done, step};

/// The step that the tests' config has, and one that it might have.
pub(crate) const STEP: &str = "file:/etc/motd";
const OTHER: &str = "file:/other";

/// What an order's records say after its acceptance.
pub(crate) type Records = fn(&Order) -> Vec<Record>;

/// What a step was about to do, as its agent wrote it down before.
pub(crate) fn begun(order: &Order) -> Record {
    Record::StepIntent(StepIntent {
        order_id: order.order_id,
        step: STEP.to_owned(),
        attempt: 1,
        idempotency_key: Digest::ZERO,
        mode: StepMode::Idempotent,
        limits: Limits::default(),
        observed: Digest::ZERO,
    })
}

/// How a step ended that was begun, or in the instant in which it was looked at.
pub(crate) fn ended(order: &Order, step_id: &str, outcome: StepOutcome, after: u64) -> Record {
    let mut result = step(order, outcome, "ended");
    step_id.clone_into(&mut result.step);
    result.ended_at = result.started_at.plus(Duration::from_millis(after));
    Record::StepResult(Box::new(result))
}

pub(crate) fn over(order: &Order, outcome: OrderOutcome, cost: u64) -> Record {
    done(order, outcome, cost, Digest::of(b"s"))
}

fn refused(order: &Order, code: Code) -> Record {
    Record::OrderRefused(OrderRefused {
        order_id: order.order_id,
        run_id: order.run_id,
        fencing_token: order.fencing_token,
        code,
        detail: "no".to_owned(),
    })
}

/// Ways to an end after which nobody knows what it cost.
pub(crate) const UNKNOWN: [(&str, Records); 4] = [
    ("killed in a step, then the lease was lost", |o| {
        vec![begun(o), over(o, OrderOutcome::Aborted, 0)]
    }),
    ("the same, and another step could not be looked at", |o| {
        let looked = ended(o, OTHER, StepOutcome::Failed, 0);
        vec![begun(o), looked, over(o, OrderOutcome::Aborted, 40)]
    }),
    ("the manifest was lost, and the sum with it", |o| {
        let changed = ended(o, STEP, StepOutcome::Changed, 1);
        vec![begun(o), changed, over(o, OrderOutcome::Aborted, 0)]
    }),
    ("the journal was damaged", |o| {
        vec![refused(o, Code::JournalDamaged)]
    }),
];

/// Ways to an end that look like one of those, with what they cost.
pub(crate) const KNOWN: [(&str, u64, Records); 4] = [
    ("never begun", 0, |o| vec![refused(o, Code::Expired)]),
    ("failed while it ran", 40, |o| {
        let failed = ended(o, STEP, StepOutcome::Failed, 1);
        vec![begun(o), failed, over(o, OrderOutcome::Failed, 40)]
    }),
    ("stopped while it ran", 40, |o| {
        let aborted = ended(o, STEP, StepOutcome::Aborted, 1);
        vec![begun(o), aborted, over(o, OrderOutcome::Aborted, 40)]
    }),
    ("only looked at", 40, |o| {
        let looked = ended(o, STEP, StepOutcome::Failed, 0);
        vec![looked, over(o, OrderOutcome::Failed, 40)]
    }),
];

/// Orders a run for the only host and has its records say so much of it.
async fn goes(desk: &Desk, host: &mut Host, records: Records) {
    submit(desk).await.unwrap();
    let manifest = host.manifest(desk).await;
    let order = manifest.predicate.orders[0].clone();
    let first = host.journal.last_seq() + 1;
    let all = records(&order);
    if !matches!(all[0], Record::OrderRefused(_)) {
        host.journal.write(&accepted(&order, &manifest));
    }
    for record in &all {
        host.journal.write(record);
    }
    let batch = host.journal.batch(first, host.journal.last_seq());
    desk.takes(&[batch]).await;
}

#[tokio::test]
async fn what_was_begun_and_left_nothing_counts_as_the_whole_grant() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    set(&desk, PROJECT, Mode::Enforce, 9_000_000).await.unwrap();
    let unknown = UNKNOWN.map(|(what, records)| (what, 500_000, records));
    let mut spent = 0;
    for (what, counts, records) in unknown.into_iter().chain(KNOWN) {
        goes(&desk, &mut host, records).await;
        spent += counts;
        assert_eq!(taken(&desk, PROJECT).await, (0, spent, 0), "{what}");
        let shown = desk.app.get_budget(PROJECT).await.unwrap();
        assert_eq!(shown.overrun_micros, 0, "{what}");
    }
}
