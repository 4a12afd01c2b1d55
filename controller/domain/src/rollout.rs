//! How an apply spreads over its hosts: how many are at work at once, in which waves, and from how many failures on no further one is begun.
//!
//! What somebody wrote becomes numbers once, when the run is ordered, so that a percent is of the targets at the start and stays so. From then on
//! a decision follows from the numbers and from where the orders stand, and from nothing else: whoever looks twice decides the same.

pub use writ_plan::rollout::{Decision, Frozen, Rollout, Share, Standing, Wider};

use crate::order::OrderState;

/// Counts orders by where they stand; `is_excused` says of a state's orders that a halt or a cancellation ended them.
pub fn standing_of(orders: impl IntoIterator<Item = (OrderState, bool, u64)>) -> Standing {
    let mut all = Standing::default();
    for (state, is_excused, orders) in orders {
        let slot = match state {
            OrderState::Held => &mut all.held,
            OrderState::Pending | OrderState::Accepted => &mut all.in_flight,
            OrderState::Succeeded
            | OrderState::Failed
            | OrderState::Aborted
            | OrderState::Stopped
            | OrderState::Indeterminate
            | OrderState::Refused
            | OrderState::Expired
            | OrderState::Cancelled
            | OrderState::Unresolved
            | OrderState::NotStarted => &mut all.over,
        };
        *slot = slot.saturating_add(orders);
        if is_failure(state) && !is_excused {
            all.failed = all.failed.saturating_add(orders);
        }
    }
    all
}

/// Whether an order that ended so counts against the threshold: the host is not known to be where the plan wants it. One that was never begun
/// does not, and what a person cancelled does not.
pub const fn is_failure(state: OrderState) -> bool {
    match state {
        OrderState::Failed
        | OrderState::Aborted
        | OrderState::Stopped
        | OrderState::Indeterminate
        | OrderState::Refused
        | OrderState::Expired
        | OrderState::Unresolved => true,
        OrderState::Held
        | OrderState::Pending
        | OrderState::Accepted
        | OrderState::Succeeded
        | OrderState::Cancelled
        | OrderState::NotStarted => false,
    }
}

#[cfg(test)]
mod tests;
