//! An order's life in the ledger.
//!
//! An order is pending until its agent's journal says that it was accepted or refused, and accepted until the journal says how it ended. Where no
//! word comes in time the ledger writes down that it does not know (`expired`, `unresolved`, or `cancelled` when nobody wants it any more); what the
//! journal says later still replaces that. Nothing ever starts an order a second time.
//!
//! Before all that an order of a [`crate::rollout`] is held until its turn comes; no agent has heard of it then.

use std::time::Duration;

use writ_protocol::record::OrderOutcome;
use writ_protocol::time::Timestamp;

use crate::Transition;
use crate::lease;

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderState {
    /// Written; the agent has not answered.
    Pending,
    /// The agent took it.
    Accepted,
    /// Every step succeeded.
    Succeeded,
    /// A step failed.
    Failed,
    /// A hard halt, a cancellation or a lost lease ended it.
    Aborted,
    /// A soft halt or a drain stopped it between steps.
    Stopped,
    /// A `once` step's effect is not known.
    Indeterminate,
    /// The agent did not take it.
    Refused,
    /// No word came before it expired.
    Expired,
    /// It was cancelled, and no word came before it expired.
    Cancelled,
    /// The agent took it and then fell silent.
    Unresolved,
    /// It is not its turn in its run's rollout: no agent is told of it, and it may cost nothing yet.
    Held,
    /// It was held, and its turn will not come.
    NotStarted,
}

impl OrderState {
    /// Every state.
    pub const ALL: [Self; 13] = [
        Self::Pending,
        Self::Accepted,
        Self::Succeeded,
        Self::Failed,
        Self::Aborted,
        Self::Stopped,
        Self::Indeterminate,
        Self::Refused,
        Self::Expired,
        Self::Cancelled,
        Self::Unresolved,
        Self::Held,
        Self::NotStarted,
    ];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Stopped => "stopped",
            Self::Indeterminate => "indeterminate",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unresolved => "unresolved",
            Self::Held => "held",
            Self::NotStarted => "not-started",
        }
    }

    /// The state of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing more is waited for.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Held | Self::Pending | Self::Accepted)
    }

    /// Whether the agent itself said how it ended.
    pub const fn is_proven(self) -> bool {
        match self {
            Self::Succeeded
            | Self::Failed
            | Self::Aborted
            | Self::Stopped
            | Self::Indeterminate
            | Self::Refused => true,
            Self::Held
            | Self::Pending
            | Self::Accepted
            | Self::Expired
            | Self::Cancelled
            | Self::Unresolved
            | Self::NotStarted => false,
        }
    }

    const fn ended(outcome: OrderOutcome) -> Self {
        match outcome {
            OrderOutcome::Succeeded => Self::Succeeded,
            OrderOutcome::Failed => Self::Failed,
            OrderOutcome::Aborted => Self::Aborted,
            OrderOutcome::Stopped => Self::Stopped,
            OrderOutcome::Indeterminate => Self::Indeterminate,
        }
    }
}

/// An order as the rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Where it stands.
    pub state: OrderState,
    /// The fencing token under which records count.
    pub fencing_token: u64,
    /// Whether an operator wants it stopped.
    pub cancel_requested: bool,
    /// Not to be accepted after.
    pub expires_at: Timestamp,
    /// When the sweeper looks at it; none while it is held, and none once it is terminal.
    pub deadline_at: Option<Timestamp>,
}

/// What happens to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderEvent {
    /// The journal says that it was taken under this token.
    Accepted {
        /// The token.
        fencing_token: u64,
    },
    /// The journal says that it was not taken.
    Refused {
        /// The token.
        fencing_token: u64,
    },
    /// The journal says how it ended.
    Done {
        /// The token.
        fencing_token: u64,
        /// How.
        outcome: OrderOutcome,
    },
    /// A hello reported it as running.
    Heard {
        /// The token.
        fencing_token: u64,
    },
    /// An operator wants it stopped.
    CancelRequested,
    /// The sweeper found its deadline passed.
    DeadlinePassed,
    /// Its turn has come.
    Released {
        /// Not to be accepted after.
        expires_at: Timestamp,
    },
    /// Its turn will not come.
    Withdrawn,
}

/// Why an event does not count. It is kept as evidence all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The record belongs to an earlier issue of the order.
    #[error("fencing token {found} where {current} holds")]
    StaleToken {
        /// What the record says.
        found: u64,
        /// What holds.
        current: u64,
    },
    /// The agent says two different things about one order.
    #[error("the agent now says {says}, the ledger has its word for {has}")]
    Contradiction {
        /// What it says now.
        says: &'static str,
        /// What it said before.
        has: &'static str,
    },
    /// The deadline is not there yet.
    #[error("the deadline has not passed")]
    NotYet,
}

/// Applies an event. `lease` is the length of the order's lease.
///
/// # Errors
/// [`OrderError`]; the order stays as it is.
pub fn apply(
    order: &Order,
    event: OrderEvent,
    lease: Duration,
    now: Timestamp,
) -> Result<Transition<Order>, OrderError> {
    #[cfg(feature = "planted")]
    if matches!(
        order.state,
        OrderState::Expired | OrderState::Unresolved | OrderState::Cancelled
    ) && writ_protocol::planted::is(writ_protocol::planted::Bug::LateWordLost)
    {
        return Ok(Transition::between(order, *order));
    }
    let next = match event {
        OrderEvent::Accepted { fencing_token } => {
            check_token(order, fencing_token)?;
            match order.state {
                // A held one was given to its agent by a ledger that was restored to before that.
                OrderState::Pending
                | OrderState::Expired
                | OrderState::Cancelled
                | OrderState::Held
                | OrderState::NotStarted => heard(order, lease, now),
                OrderState::Refused => return Err(contradiction(OrderState::Accepted, order.state)),
                // A repeat, or news from before the end.
                OrderState::Accepted
                | OrderState::Succeeded
                | OrderState::Failed
                | OrderState::Aborted
                | OrderState::Stopped
                | OrderState::Indeterminate
                | OrderState::Unresolved => *order,
            }
        }
        OrderEvent::Refused { fencing_token } => {
            check_token(order, fencing_token)?;
            ended(order, OrderState::Refused)?
        }
        OrderEvent::Done {
            fencing_token,
            outcome,
        } => {
            check_token(order, fencing_token)?;
            ended(order, OrderState::ended(outcome))?
        }
        OrderEvent::Heard { fencing_token } => {
            check_token(order, fencing_token)?;
            match order.state {
                OrderState::Accepted | OrderState::Unresolved => heard(order, lease, now),
                OrderState::Pending
                | OrderState::Succeeded
                | OrderState::Failed
                | OrderState::Aborted
                | OrderState::Stopped
                | OrderState::Indeterminate
                | OrderState::Refused
                | OrderState::Expired
                | OrderState::Cancelled
                | OrderState::Held
                | OrderState::NotStarted => *order,
            }
        }
        OrderEvent::CancelRequested => cancelled(order),
        OrderEvent::DeadlinePassed => deadline(order, now)?,
        OrderEvent::Released { expires_at } => turned(order, OrderState::Pending, Some(expires_at)),
        OrderEvent::Withdrawn => turned(order, OrderState::NotStarted, None),
    };
    Ok(Transition::between(order, next))
}

fn cancelled(order: &Order) -> Order {
    if order.state.is_terminal() {
        return *order;
    }
    // No agent knows of a held one, so nobody has to be waited for.
    Order {
        cancel_requested: true,
        ..turned(order, OrderState::Cancelled, None)
    }
}

/// What becomes of an order by the turn that it waits for; nothing where it waits for none.
fn turned(order: &Order, state: OrderState, until: Option<Timestamp>) -> Order {
    if order.state != OrderState::Held {
        return *order;
    }
    Order {
        state,
        expires_at: until.unwrap_or(order.expires_at),
        deadline_at: until,
        ..*order
    }
}

fn heard(order: &Order, lease: Duration, now: Timestamp) -> Order {
    Order {
        state: OrderState::Accepted,
        deadline_at: Some(lease::give_up_at(now, lease)),
        ..*order
    }
}

/// The agent's word replaces the ledger's guess; two different words of the agent contradict each other.
fn ended(order: &Order, state: OrderState) -> Result<Order, OrderError> {
    let accepted_before = matches!(order.state, OrderState::Accepted | OrderState::Unresolved);
    if order.state == state {
        return Ok(*order);
    }
    if order.state.is_proven() {
        return Err(contradiction(state, order.state));
    }
    // It took the order once and cannot say any more what became of it: its journal was damaged, and it will not start it.
    let state = if state == OrderState::Refused && accepted_before {
        OrderState::Indeterminate
    } else {
        state
    };
    Ok(Order {
        state,
        deadline_at: None,
        ..*order
    })
}

fn deadline(order: &Order, now: Timestamp) -> Result<Order, OrderError> {
    #[cfg(feature = "planted")]
    if writ_protocol::planted::is(writ_protocol::planted::Bug::DeadlineIgnored) {
        return Err(OrderError::NotYet);
    }
    if order.deadline_at.is_some_and(|deadline| deadline > now) {
        return Err(OrderError::NotYet);
    }
    let state = match order.state {
        OrderState::Pending if order.cancel_requested => OrderState::Cancelled,
        OrderState::Pending => OrderState::Expired,
        OrderState::Accepted => OrderState::Unresolved,
        OrderState::Succeeded
        | OrderState::Failed
        | OrderState::Aborted
        | OrderState::Stopped
        | OrderState::Indeterminate
        | OrderState::Refused
        | OrderState::Expired
        | OrderState::Cancelled
        | OrderState::Unresolved
        | OrderState::Held
        | OrderState::NotStarted => return Ok(*order),
    };
    Ok(Order {
        state,
        deadline_at: None,
        ..*order
    })
}

const fn check_token(order: &Order, found: u64) -> Result<(), OrderError> {
    if found == order.fencing_token {
        return Ok(());
    }
    Err(OrderError::StaleToken {
        found,
        current: order.fencing_token,
    })
}

const fn contradiction(says: OrderState, has: OrderState) -> OrderError {
    OrderError::Contradiction {
        says: says.name(),
        has: has.name(),
    }
}

#[cfg(test)]
mod tests;
