//! What the committed records of one agent say, read in their order as a verifier reads them.

use std::collections::{BTreeMap, BTreeSet};

use writ_protocol::exec::StepMode;
use writ_protocol::id::OrderId;
use writ_protocol::manifest::Generation;
use writ_protocol::record::{OrderOutcome, Record, StepIntent, StepOutcome};

use super::tables::Order;
use super::{Found, note};

/// Follows one agent.
#[derive(Debug, Default)]
pub(super) struct Reader {
    found: Found,
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

impl Reader {
    /// What was found since the last time.
    pub(super) fn take_found(&mut self) -> Found {
        std::mem::take(&mut self.found)
    }

    /// How many intents of a step were recorded.
    pub(super) fn intents(&self, order: OrderId, step: &str) -> u32 {
        let intents = self.intents.get(&(order, step.to_owned()));
        intents.copied().unwrap_or(0)
    }

    /// Takes the next record.
    pub(super) fn read(&mut self, record: &Record, seq: u64) {
        match record {
            Record::SessionStart(start) => {
                if start.incarnation <= self.incarnation {
                    let what = format!(
                        "record {seq}: start {} after start {}",
                        start.incarnation, self.incarnation
                    );
                    note(&mut self.found, "I9", what);
                }
                self.incarnation = start.incarnation;
            }
            Record::HighWater(water) => {
                if water.at <= self.water {
                    let what = format!("record {seq}: {:?} after {:?}", water.at, self.water);
                    note(&mut self.found, "I4", what);
                }
                self.water = water.at;
            }
            Record::OrderAccepted(one) => {
                if !self.accepted.insert(one.order_id) {
                    note(
                        &mut self.found,
                        "I1",
                        format!("record {seq}: {} is accepted twice", one.order_id),
                    );
                }
                if one.at > self.water {
                    let what = format!("record {seq}: {} is accepted above the high water", one.order_id);
                    note(&mut self.found, "I4", what);
                }
            }
            Record::OrderRefused(one) => drop(self.refused.insert(one.order_id)),
            Record::StepIntent(intent) => self.intend(intent, seq),
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
            Record::OrderDone(done) => self.end(done.order_id, done.outcome, seq),
            Record::HaltObserved(_)
            | Record::BlobChunk(_)
            | Record::Signed(_)
            | Record::Alarm(_)
            | Record::ManifestRefused(_) => {}
        }
    }

    fn intend(&mut self, intent: &StepIntent, seq: u64) {
        let order = intent.order_id;
        if !self.accepted.contains(&order) || self.done.contains_key(&order) {
            let what = format!("record {seq}: a step of {order}, which is not accepted or is done");
            note(&mut self.found, "I1", what);
        }
        let place = (order, intent.step.clone());
        if self.results.contains(&place) {
            let what = format!(
                "record {seq}: {} of {order} is started again after its result",
                intent.step
            );
            note(&mut self.found, "I1", what);
        }
        let count = self.intents.entry(place).or_default();
        *count += 1;
        if intent.mode == StepMode::Once && *count > 1 {
            let what = format!(
                "record {seq}: {count} intents of once step {} of {order}",
                intent.step
            );
            note(&mut self.found, "I1", what);
        }
    }

    fn end(&mut self, order: OrderId, outcome: OrderOutcome, seq: u64) {
        if self.done.insert(order, outcome).is_some() {
            note(&mut self.found, "I1", format!("record {seq}: {order} ends twice"));
        }
        let is_known = !self.indeterminate.contains(&order);
        let is_honest = match outcome {
            OrderOutcome::Succeeded => is_known && !self.bad.contains(&order),
            OrderOutcome::Indeterminate => !is_known,
            OrderOutcome::Failed | OrderOutcome::Aborted | OrderOutcome::Stopped => is_known,
        };
        if !is_honest {
            let what = format!(
                "record {seq}: {order} ends as {} and its steps say something else",
                outcome.name()
            );
            note(&mut self.found, "I12", what);
        }
    }

    /// The ledger says of every order what its agent said last.
    pub(super) fn compare<'a>(&self, orders: impl Iterator<Item = &'a Order>, found: &mut Found) {
        for order in orders {
            let id = order.id;
            let is_refused = self.refused.contains(&id);
            let said = match self.done.get(&id) {
                Some(outcome) => Some(outcome.name()),
                // It took the order once and cannot say any more what became of it.
                None if is_refused && self.accepted.contains(&id) => Some("indeterminate"),
                None if is_refused => Some("refused"),
                None => None,
            };
            let is_right = match said {
                Some(said) => order.state == said,
                None => matches!(
                    order.state.as_str(),
                    "pending" | "expired" | "cancelled" | "unresolved"
                ),
            };
            if !is_right {
                note(
                    found,
                    "I12",
                    format!("{id} is {} and its agent said {said:?}", order.state),
                );
            }
        }
    }
}
