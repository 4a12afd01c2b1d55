//! Remediations: how one goes from findings to a host that was seen as it should be, and what an environment's policy lets happen without a person.
//!
//! A remediation is a run of its own towards the last plan that was applied, of nothing but what differs. It is checked first, so that people and rules
//! see what it would change. It counts as done when a look after it found all its findings clear, never by an exit code.

mod policy;
#[cfg(test)]
mod tests;

pub use policy::{
    AGAIN_MAX, AGAIN_SPAN, Effect, Held, Load, Mode, Past, Policy, RATE_SPAN, may_begin, may_carry_out,
};

use std::time::Duration;

use writ_protocol::time::Timestamp;

use crate::Transition;

/// How long the check may take before nobody waits for it any more: an order's life and a little.
pub const CHECK_WITHIN: Duration = Duration::from_secs(2 * 3_600);
/// How long somebody may take to say yes: what was checked longer ago is checked anew.
pub const APPROVE_WITHIN: Duration = Duration::from_secs(24 * 3_600);
/// How long the look that shows it may take: several intervals of an agent.
pub const VERIFY_WITHIN: Duration = Duration::from_secs(900);

/// Where a remediation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its host is asked what would change.
    Checking,
    /// What would change is known, and somebody must say yes.
    Proposed,
    /// It is carried out.
    Remediating,
    /// It was carried out, and a look must show it.
    Verifying,
    /// A look after it found all its findings clear.
    Resolved,
    /// It did not come to that.
    Failed,
    /// Somebody said no, nobody said yes in time, or it is not needed any more.
    Declined,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Checking,
        Self::Proposed,
        Self::Remediating,
        Self::Verifying,
        Self::Resolved,
        Self::Failed,
        Self::Declined,
    ];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Proposed => "proposed",
            Self::Remediating => "remediating",
            Self::Verifying => "verifying",
            Self::Resolved => "resolved",
            Self::Failed => "failed",
            Self::Declined => "declined",
        }
    }

    /// The state of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing follows any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Resolved | Self::Failed | Self::Declined)
    }
}

/// What the check of its host found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Something is to be changed.
    Changes,
    /// Nothing is: it is already as it should be.
    Nothing,
    /// It could not be checked.
    Failed,
}

/// What happens to a remediation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The check ended.
    Checked(Checked),
    /// Somebody, or the policy, says yes.
    Approve,
    /// Somebody says no.
    Decline,
    /// The run ended.
    Ended {
        /// Whether it succeeded on its host.
        succeeded: bool,
    },
    /// Looks found all its findings clear, or expected.
    Clear,
    /// The time of the state is over.
    TimeUp,
}

/// What the rulebook knows of a remediation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remediation {
    /// Where it stands.
    pub state: State,
    /// When the time of that state is over; none where nothing follows.
    pub deadline: Option<Timestamp>,
}

/// A step that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a remediation that is {} cannot be {what}", .state.name())]
pub struct NotThen {
    /// Where it stands.
    pub state: State,
    /// What was asked.
    pub what: &'static str,
}

impl Remediation {
    /// One whose host is being asked since an instant.
    pub fn begin(now: Timestamp) -> Self {
        Self {
            state: State::Checking,
            deadline: Some(now.plus(CHECK_WITHIN)),
        }
    }
}

/// What follows from an event. Late and repeated ones change nothing.
///
/// # Errors
/// [`NotThen`], of what somebody asks for.
pub fn apply(before: &Remediation, event: Event, now: Timestamp) -> Result<Transition<Remediation>, NotThen> {
    let state = before.state;
    let next = match (state, event) {
        (State::Checking, Event::Checked(Checked::Changes)) => State::Proposed,
        (State::Proposed, Event::Approve) => State::Remediating,
        // Even where nothing was to be changed a look has yet to say the same.
        (State::Checking, Event::Checked(Checked::Nothing))
        | (State::Remediating, Event::Ended { succeeded: true }) => State::Verifying,
        (State::Verifying, Event::Clear) => State::Resolved,
        (State::Checking, Event::Checked(Checked::Failed))
        | (State::Checking | State::Verifying, Event::TimeUp)
        | (State::Remediating, Event::Ended { succeeded: false }) => State::Failed,
        // Somebody said no; or it was put right otherwise, or nobody answered.
        (State::Checking | State::Proposed, Event::Decline)
        | (State::Proposed, Event::Clear | Event::TimeUp) => State::Declined,
        (_, Event::Approve) => {
            return Err(NotThen {
                state,
                what: "approved",
            });
        }
        (_, Event::Decline) => {
            return Err(NotThen {
                state,
                what: "declined",
            });
        }
        // A run ends by its own deadlines; what has ended stays as it is; what is clear before it was carried out says nothing yet.
        (_, Event::Checked(_) | Event::Ended { .. } | Event::Clear | Event::TimeUp) => state,
    };
    let deadline = match next {
        _ if next == state => before.deadline,
        State::Proposed => Some(now.plus(APPROVE_WITHIN)),
        State::Verifying => Some(now.plus(VERIFY_WITHIN)),
        State::Checking | State::Remediating | State::Resolved | State::Failed | State::Declined => None,
    };
    Ok(Transition::between(
        before,
        Remediation {
            state: next,
            deadline,
        },
    ))
}
