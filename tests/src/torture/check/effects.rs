//! The file of side effects against what was ordered and what agents recorded, also of orders that a restored ledger does not know any more.

use std::collections::{BTreeMap, BTreeSet};

use writ_protocol::id::OrderId;

use super::records::Reader;
use super::tables::{self, Order};
use super::{Checker, Found, note};
use crate::torture::Given;
use crate::torture::effects::{self, STEPS, Starts};
use crate::torture::ward::Ward;

impl Checker {
    /// What the steps themselves wrote: `once` steps started once, none without a durable intent, none missing of what succeeded.
    pub(super) fn effects(
        &self,
        ward: &Ward,
        orders: &[Order],
        given: &Given,
        found: &mut Found,
    ) -> anyhow::Result<()> {
        let starts = effects::starts(&ward.world)?;
        let known: BTreeMap<OrderId, &Order> = orders.iter().map(|order| (order.id, order)).collect();
        // Only a restore makes a ledger forget what it ordered.
        let lost: BTreeSet<OrderId> = match ward.restores {
            0 => BTreeSet::new(),
            _ => given
                .all
                .iter()
                .copied()
                .filter(|id| !known.contains_key(id))
                .collect(),
        };
        for ((order_id, step), times) in starts.iter().filter(|((id, _), _)| !given.strangers.contains(id)) {
            if *times > 1 && effects::is_once(step) {
                note(
                    found,
                    "I1",
                    format!("{step} of {order_id} was started {times} times"),
                );
            }
            let reader = match known.get(order_id) {
                Some(order) => self.readers.get(&order.agent_id),
                None if lost.contains(order_id) => self.taker(*order_id),
                None => {
                    note(
                        found,
                        "I4",
                        format!("{step} was started for {order_id}, which nobody gave"),
                    );
                    continue;
                }
            };
            let intents = reader.map_or(0, |reader| reader.intents(*order_id, step));
            if *times > intents {
                let what = format!("{step} of {order_id} was started {times} times after {intents} intents");
                note(found, "I2", what);
            }
        }
        let succeeded = orders
            .iter()
            .filter(|order| order.is_apply && order.state == "succeeded");
        for order in succeeded {
            all_started(order.id, &starts, found);
        }
        self.lost(ward, lost.difference(&given.strangers), &starts, found)
    }

    /// Orders that the ledger lost: it says so of each that an agent took, and what became of it stands in the records.
    fn lost<'a>(
        &self,
        ward: &Ward,
        lost: impl Iterator<Item = &'a OrderId>,
        starts: &Starts,
        found: &mut Found,
    ) -> anyhow::Result<()> {
        let orphans = tables::orphans(&ward.world)?;
        for order in lost {
            let Some(taker) = self.taker(*order) else { continue };
            if !orphans.contains(order) {
                let what = format!(
                    "an agent took {order}, and the restored ledger tells nobody that it does not know it"
                );
                note(found, "I12", what);
            }
            match taker.said(*order) {
                None => note(
                    found,
                    "I6",
                    format!("{order} was lost by the ledger and never ended"),
                ),
                Some("succeeded") => all_started(*order, starts, found),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Whose records say that it took an order.
    fn taker(&self, order: OrderId) -> Option<&Reader> {
        self.readers.values().find(|reader| reader.took(order))
    }
}

/// Every step was started of what succeeded.
fn all_started(order: OrderId, starts: &Starts, found: &mut Found) {
    for step in STEPS {
        if !starts.contains_key(&(order, (*step).to_owned())) {
            note(
                found,
                "I12",
                format!("{order} succeeded and {step} was never started"),
            );
        }
    }
}
