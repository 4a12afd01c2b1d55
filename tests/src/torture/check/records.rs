//! One agent's history as the rig reads it, and the ledger's word on its orders beside it.

use writ_protocol::id::OrderId;
use writ_protocol::record::Record;

use super::tables::Order;
use super::{Found, note};
use crate::history::History;

/// Follows one agent.
#[derive(Debug, Default)]
pub(super) struct Reader {
    found: Found,
    history: History,
}

impl Reader {
    /// What was found since the last time.
    pub(super) fn take_found(&mut self) -> Found {
        std::mem::take(&mut self.found)
    }

    /// How many intents of a step were recorded.
    pub(super) fn intents(&self, order: OrderId, step: &str) -> u32 {
        self.history.intents(order, step)
    }

    /// Whether the agent took an order.
    pub(super) fn took(&self, order: OrderId) -> bool {
        self.history.took(order)
    }

    /// What the agent said last of an order.
    pub(super) fn said(&self, order: OrderId) -> Option<&'static str> {
        self.history.said(order)
    }

    /// Takes the next record.
    pub(super) fn read(&mut self, record: &Record, seq: u64) {
        for (rule, what) in self.history.read(record, seq) {
            note(&mut self.found, rule, what);
        }
    }

    /// The ledger says of every order what its agent said last.
    pub(super) fn compare<'a>(&self, orders: impl Iterator<Item = &'a Order>, found: &mut Found) {
        for order in orders {
            let (id, state) = (order.id, order.state.as_str());
            let said = self.said(id);
            let is_right = match said {
                Some(said) => state == said,
                None => matches!(state, "pending" | "expired" | "cancelled" | "unresolved"),
            };
            if !is_right {
                let what = format!("{id} is {state} and its agent said {said:?}");
                note(found, "I12", what);
            }
        }
    }
}
