//! A run's state follows from its orders; nobody sets it.

use crate::order::OrderState;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunState {
    /// No agent has answered yet.
    Queued,
    /// At least one agent has answered, and at least one has not ended.
    Running,
    /// Every order succeeded.
    Succeeded,
    /// An order failed, was refused, or was never begun.
    Failed,
    /// A halt or a lost lease aborted an order, and none failed.
    Aborted,
    /// A halt stopped an order between steps, and none failed or was aborted.
    Stopped,
    /// Orders were cancelled, before or after they were taken, and the rest succeeded.
    Cancelled,
    /// How an order ended is not known.
    Unresolved,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Aborted,
        Self::Stopped,
        Self::Cancelled,
        Self::Unresolved,
    ];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
            Self::Unresolved => "unresolved",
        }
    }

    /// The state of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether all its orders are terminal.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// What an order counts as for its run: one that was taken and ended because the run was cancelled (its own state stays `aborted` or `stopped`,
/// with what ran in its records) makes the run `cancelled`, not `aborted`, which is for halts and lost leases.
pub const fn as_of_run(order: OrderState, cancelled: bool) -> OrderState {
    if cancelled && matches!(order, OrderState::Aborted | OrderState::Stopped) {
        OrderState::Cancelled
    } else {
        order
    }
}

/// The state that follows from how many orders stand where. A run without orders has succeeded: there was nothing to do.
pub fn verdict(orders: impl IntoIterator<Item = (OrderState, u64)>) -> RunState {
    let mut counts = [0_u64; OrderState::ALL.len()];
    for (state, count) in orders {
        if let Some(slot) = OrderState::ALL
            .iter()
            .position(|s| *s == state)
            .and_then(|at| counts.get_mut(at))
        {
            *slot = slot.saturating_add(count);
        }
    }
    let any = |wanted: &[OrderState]| {
        OrderState::ALL
            .iter()
            .zip(counts)
            .any(|(state, count)| count > 0 && wanted.contains(state))
    };
    let waiting = any(&[OrderState::Held, OrderState::Pending, OrderState::Accepted]);
    if waiting {
        let answered = OrderState::ALL
            .iter()
            .zip(counts)
            .any(|(s, count)| count > 0 && !matches!(s, OrderState::Held | OrderState::Pending));
        return if answered {
            RunState::Running
        } else {
            RunState::Queued
        };
    }
    if any(&[OrderState::Failed, OrderState::Refused, OrderState::NotStarted]) {
        RunState::Failed
    } else if any(&[
        OrderState::Unresolved,
        OrderState::Expired,
        OrderState::Indeterminate,
    ]) {
        RunState::Unresolved
    } else if any(&[OrderState::Aborted]) {
        RunState::Aborted
    } else if any(&[OrderState::Stopped]) {
        RunState::Stopped
    } else if any(&[OrderState::Cancelled]) {
        RunState::Cancelled
    } else {
        RunState::Succeeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OrderState as O;

    #[test]
    fn the_worst_order_names_the_run() {
        for (orders, wanted) in [
            (vec![], RunState::Succeeded),
            (vec![O::Pending, O::Pending], RunState::Queued),
            (vec![O::Pending, O::Accepted], RunState::Running),
            (vec![O::Pending, O::Failed], RunState::Running),
            (vec![O::Succeeded, O::Succeeded], RunState::Succeeded),
            (vec![O::Succeeded, O::Failed, O::Unresolved], RunState::Failed),
            (vec![O::Held, O::Pending], RunState::Queued),
            (vec![O::Held, O::Succeeded], RunState::Running),
            (vec![O::Held, O::Failed], RunState::Running),
            (vec![O::Succeeded, O::NotStarted], RunState::Failed),
            (vec![O::Succeeded, O::Refused], RunState::Failed),
            (vec![O::Succeeded, O::Indeterminate], RunState::Unresolved),
            (vec![O::Aborted, O::Expired], RunState::Unresolved),
            (vec![O::Aborted, O::Stopped], RunState::Aborted),
            (vec![O::Stopped, O::Cancelled], RunState::Stopped),
            (vec![O::Succeeded, O::Cancelled], RunState::Cancelled),
        ] {
            assert_eq!(verdict(orders.iter().map(|o| (*o, 1))), wanted, "{orders:?}");
        }
    }

    #[test]
    fn what_a_cancellation_ended_makes_the_run_cancelled_and_what_a_halt_ended_does_not() {
        for state in O::ALL {
            let cancelled = as_of_run(state, true);
            if matches!(state, O::Aborted | O::Stopped) {
                assert_eq!(verdict([(cancelled, 1), (O::Succeeded, 1)]), RunState::Cancelled);
            } else {
                assert_eq!(cancelled, state, "a failure stays one, whoever cancelled");
            }
            assert_eq!(as_of_run(state, false), state);
            assert_eq!(cancelled.is_terminal(), state.is_terminal());
        }
    }

    #[test]
    fn a_run_is_terminal_exactly_when_all_its_orders_are() {
        for a in O::ALL {
            for b in O::ALL {
                let state = verdict([(a, 2), (b, 1)]);
                assert_eq!(
                    state.is_terminal(),
                    a.is_terminal() && b.is_terminal(),
                    "{a:?} {b:?}"
                );
                if state == RunState::Succeeded {
                    assert_eq!(
                        (a, b),
                        (O::Succeeded, O::Succeeded),
                        "never a success that nobody proved"
                    );
                }
            }
        }
    }
}
