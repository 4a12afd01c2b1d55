//! What the committed records of one agent say, read in their order as a verifier reads them: the part of the promises that one history alone
//! can break. The checkers of the simulator and of the torture rig read with it, so that both mean the same by a promise.

use std::collections::{BTreeMap, BTreeSet};

use writ_protocol::exec::StepMode;
use writ_protocol::id::OrderId;
use writ_protocol::manifest::Generation;
use writ_protocol::record::{OrderAccepted, OrderOutcome, Record, StepIntent, StepOutcome};

/// A promise, and how it was broken.
pub(crate) type Broken = (&'static str, String);

/// Follows one agent.
#[derive(Debug, Default)]
pub(crate) struct History {
    water: Generation,
    incarnation: u64,
    accepted: BTreeSet<OrderId>,
    refused: BTreeSet<OrderId>,
    done: BTreeMap<OrderId, OrderOutcome>,
    intents: BTreeMap<(OrderId, String), u32>,
    results: BTreeSet<(OrderId, String)>,
    bad: BTreeSet<OrderId>,
    indeterminate: BTreeSet<OrderId>,
}

impl History {
    /// How many intents of a step were recorded.
    pub(crate) fn intents(&self, order: OrderId, step: &str) -> u32 {
        let intents = self.intents.get(&(order, step.to_owned()));
        intents.copied().unwrap_or(0)
    }

    /// Whether the agent took an order.
    pub(crate) fn took(&self, order: OrderId) -> bool {
        self.accepted.contains(&order)
    }

    /// What the agent said last of an order, as a state of the order.
    pub(crate) fn said(&self, order: OrderId) -> Option<&'static str> {
        let is_refused = self.refused.contains(&order);
        match self.done.get(&order) {
            Some(outcome) => Some(outcome.name()),
            // It took the order once and cannot say any more what became of it.
            None if is_refused && self.accepted.contains(&order) => Some("indeterminate"),
            None if is_refused => Some("refused"),
            None => None,
        }
    }

    /// Takes the next record, the `seq`th of its journal; what it breaks.
    pub(crate) fn read(&mut self, record: &Record, seq: u64) -> Vec<Broken> {
        let mut broken = Vec::new();
        match record {
            Record::SessionStart(start) => {
                if start.incarnation <= self.incarnation {
                    let (now, before) = (start.incarnation, self.incarnation);
                    broken.push(("I9", format!("record {seq}: start {now} after start {before}")));
                }
                self.incarnation = start.incarnation;
            }
            Record::HighWater(water) => {
                if water.at <= self.water {
                    let what = format!("record {seq}: {:?} after {:?}", water.at, self.water);
                    broken.push(("I4", what));
                }
                self.water = water.at;
            }
            Record::OrderAccepted(one) => self.accept(one, seq, &mut broken),
            Record::OrderRefused(one) => drop(self.refused.insert(one.order_id)),
            Record::StepIntent(intent) => self.intend(intent, seq, &mut broken),
            Record::StepResult(result) => {
                self.results.insert((result.order_id, result.step.clone()));
                match result.outcome {
                    StepOutcome::Failed | StepOutcome::Aborted => drop(self.bad.insert(result.order_id)),
                    StepOutcome::Indeterminate => drop(self.indeterminate.insert(result.order_id)),
                    StepOutcome::Changed
                    | StepOutcome::Unchanged
                    | StepOutcome::WouldChange
                    | StepOutcome::Skipped => {}
                }
            }
            Record::OrderDone(done) => self.end(done.order_id, done.outcome, seq, &mut broken),
            Record::HaltObserved(_)
            | Record::BlobChunk(_)
            | Record::Signed(_)
            | Record::Alarm(_)
            | Record::ManifestRefused(_)
            | Record::DriftSeen(_) => {}
        }
        broken
    }

    fn accept(&mut self, one: &OrderAccepted, seq: u64, broken: &mut Vec<Broken>) {
        let order = one.order_id;
        if !self.accepted.insert(order) {
            broken.push(("I1", format!("record {seq}: {order} is accepted twice")));
        }
        if one.at > self.water {
            let what = format!("record {seq}: {order} is accepted above the high water");
            broken.push(("I4", what));
        }
    }

    fn intend(&mut self, intent: &StepIntent, seq: u64, broken: &mut Vec<Broken>) {
        let (order, step) = (intent.order_id, &intent.step);
        if !self.accepted.contains(&order) || self.done.contains_key(&order) {
            let what = format!("record {seq}: a step of {order}, which is not accepted or is done");
            broken.push(("I1", what));
        }
        let place = (order, step.clone());
        if self.results.contains(&place) {
            let what = format!("record {seq}: {step} of {order} is started again after its result");
            broken.push(("I1", what));
        }
        let count = self.intents.entry(place).or_default();
        *count += 1;
        if intent.mode == StepMode::Once && *count > 1 {
            let what = format!("record {seq}: {count} intents of once step {step} of {order}");
            broken.push(("I1", what));
        }
    }

    fn end(&mut self, order: OrderId, outcome: OrderOutcome, seq: u64, broken: &mut Vec<Broken>) {
        if self.done.insert(order, outcome).is_some() {
            broken.push(("I1", format!("record {seq}: {order} ends twice")));
        }
        let is_known = !self.indeterminate.contains(&order);
        let is_honest = match outcome {
            OrderOutcome::Succeeded => is_known && !self.bad.contains(&order),
            OrderOutcome::Indeterminate => !is_known,
            OrderOutcome::Failed | OrderOutcome::Aborted | OrderOutcome::Stopped => is_known,
        };
        if !is_honest {
            let name = outcome.name();
            let what = format!("record {seq}: {order} ends as {name} and its steps say something else");
            broken.push(("I12", what));
        }
    }
}
