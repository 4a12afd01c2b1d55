//! A grant's life: open while its order may spend it, then spent, returned or, where no word came, disputed.
//!
//! Money goes back only by the agent's own word. What nobody spoke for may have been spent, and is held until the agent's journal says otherwise.

use super::account::MICROS_MAX;
use crate::Transition;
use crate::order::OrderState;

/// Where a grant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantState {
    /// Its order may spend it.
    Open,
    /// Its order ended; what it did not spend went back.
    Spent,
    /// Its order never began; all of it went back.
    Returned,
    /// No word came of its order; all of it is held.
    Disputed,
}

impl GrantState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Open, Self::Spent, Self::Returned, Self::Disputed];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Spent => "spent",
            Self::Returned => "returned",
            Self::Disputed => "disputed",
        }
    }

    /// The state of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A grant in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What was promised, micro-units.
    pub amount_micros: u64,
    /// Where it stands.
    pub state: GrantState,
    /// What was spent of it.
    pub spent_micros: u64,
    /// What was spent beyond it.
    pub overrun_micros: u64,
}

/// What a grant adds to each sum of its accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// To what is reserved.
    pub reserved_micros: u64,
    /// To what is spent.
    pub spent_micros: u64,
    /// To what is disputed.
    pub disputed_micros: u64,
    /// To what was spent beyond grants.
    pub overrun_micros: u64,
}

/// What happens to a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantEvent {
    /// The agent says what its order cost, all of it metered.
    Metered {
        /// What.
        cost_micros: u64,
    },
    /// The agent says that its order ended, and nobody knows all that it cost: the whole grant counts.
    Unmetered {
        /// What is known of it.
        cost_micros: u64,
    },
    /// The agent says that it never took the order.
    Unused,
    /// No word came in time.
    Silent,
}

/// Why an event does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The grant was settled otherwise before.
    #[error("the grant was settled otherwise before")]
    Contradiction,
}

impl Grant {
    /// A grant that an order is about to carry.
    pub const fn open(amount_micros: u64) -> Self {
        Self {
            amount_micros,
            state: GrantState::Open,
            spent_micros: 0,
            overrun_micros: 0,
        }
    }

    /// What it adds to its accounts.
    pub fn share(&self) -> Share {
        let none = Share::default();
        match self.state {
            GrantState::Open => Share {
                reserved_micros: self.amount_micros,
                ..none
            },
            GrantState::Disputed => Share {
                disputed_micros: self.amount_micros,
                ..none
            },
            GrantState::Spent => Share {
                spent_micros: self.spent_micros,
                overrun_micros: self.overrun_micros,
                ..none
            },
            GrantState::Returned => none,
        }
    }

    const fn spent(self, cost_micros: u64) -> Self {
        let within = if cost_micros < self.amount_micros {
            cost_micros
        } else {
            self.amount_micros
        };
        // What an agent claims has no bound; the ledger's counters have.
        let beyond = cost_micros - within;
        Self {
            state: GrantState::Spent,
            spent_micros: within,
            overrun_micros: if beyond < MICROS_MAX { beyond } else { MICROS_MAX },
            ..self
        }
    }
}

/// Applies an event.
///
/// # Errors
/// [`GrantError`]; the grant stays as it is.
pub fn apply(grant: &Grant, event: GrantEvent) -> Result<Transition<Grant>, GrantError> {
    let next = match event {
        GrantEvent::Metered { cost_micros } => grant.spent(cost_micros),
        GrantEvent::Unmetered { cost_micros } => grant.spent(cost_micros.max(grant.amount_micros)),
        GrantEvent::Unused => Grant {
            state: GrantState::Returned,
            ..*grant
        },
        GrantEvent::Silent => Grant {
            state: GrantState::Disputed,
            ..*grant
        },
    };
    match grant.state {
        GrantState::Open | GrantState::Disputed => Ok(Transition::between(grant, next)),
        // The agent has spoken: that it was not heard of again takes nothing back.
        GrantState::Spent | GrantState::Returned if event == GrantEvent::Silent || next == *grant => {
            Ok(Transition::between(grant, *grant))
        }
        GrantState::Spent | GrantState::Returned => Err(GrantError::Contradiction),
    }
}

/// What an order's state means for its grant; nothing while it may still spend. `cost_micros` is the agent's word, and `is_metered` whether
/// everything that was begun left one.
pub fn event_of(state: OrderState, cost_micros: Option<u64>, is_metered: bool) -> Option<GrantEvent> {
    match state {
        OrderState::Held | OrderState::Pending | OrderState::Accepted => None,
        OrderState::Succeeded | OrderState::Failed | OrderState::Aborted | OrderState::Stopped => {
            Some(match cost_micros {
                Some(cost_micros) if is_metered => GrantEvent::Metered { cost_micros },
                known => GrantEvent::Unmetered {
                    cost_micros: known.unwrap_or(0),
                },
            })
        }
        OrderState::NotStarted => Some(GrantEvent::Unused),
        OrderState::Refused if is_metered => Some(GrantEvent::Unused),
        // A refusing agent does not start it, and where that leaves doubt it cannot say that it did not before.
        OrderState::Indeterminate | OrderState::Refused => Some(GrantEvent::Unmetered {
            cost_micros: cost_micros.unwrap_or(0),
        }),
        // Guesses of the ledger: an agent out of reach may have taken the order all the same.
        OrderState::Expired | OrderState::Cancelled | OrderState::Unresolved => Some(GrantEvent::Silent),
    }
}
