//! An agent's standing with the controllers.

use crate::Transition;

/// Where an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentState {
    /// It may be ordered.
    Active,
    /// Something does not fit; it is ordered nothing until a person releases it.
    Quarantined,
    /// It is gone for good; its credentials are revoked.
    Removed,
}

impl AgentState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Active, Self::Quarantined, Self::Removed];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Quarantined => "quarantined",
            Self::Removed => "removed",
        }
    }

    /// The state of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What happens to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// A clone, a fork or a person puts it aside.
    Quarantine,
    /// A person lets it work again.
    Release,
    /// A person removes it.
    Remove,
}

/// A removed agent does not come back; its host enrols again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is removed; enrol its host again")]
pub struct AgentGone;

/// Applies an event.
///
/// # Errors
/// [`AgentGone`] for a removed agent, except that removing it again changes nothing.
pub fn apply(state: AgentState, event: AgentEvent) -> Result<Transition<AgentState>, AgentGone> {
    let next = match (state, event) {
        (AgentState::Active | AgentState::Quarantined, AgentEvent::Quarantine) => AgentState::Quarantined,
        (AgentState::Active | AgentState::Quarantined, AgentEvent::Release) => AgentState::Active,
        (AgentState::Active | AgentState::Quarantined | AgentState::Removed, AgentEvent::Remove) => {
            AgentState::Removed
        }
        (AgentState::Removed, AgentEvent::Quarantine | AgentEvent::Release) => return Err(AgentGone),
    };
    Ok(Transition::between(&state, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new state or event does not compile until it has a place here, and then misses its rows below.
    const fn place(state: AgentState, event: AgentEvent) -> usize {
        let row = match state {
            AgentState::Active => 0,
            AgentState::Quarantined => 1,
            AgentState::Removed => 2,
        };
        let column = match event {
            AgentEvent::Quarantine => 0,
            AgentEvent::Release => 1,
            AgentEvent::Remove => 2,
        };
        row * 3 + column
    }

    #[test]
    fn every_state_answers_every_event() {
        use AgentEvent::{Quarantine, Release, Remove};
        use AgentState::{Active, Quarantined, Removed};
        let table = [
            (Active, Quarantine, Ok((Quarantined, true))),
            (Active, Release, Ok((Active, false))),
            (Active, Remove, Ok((Removed, true))),
            (Quarantined, Quarantine, Ok((Quarantined, false))),
            (Quarantined, Release, Ok((Active, true))),
            (Quarantined, Remove, Ok((Removed, true))),
            (Removed, Quarantine, Err(AgentGone)),
            (Removed, Release, Err(AgentGone)),
            (Removed, Remove, Ok((Removed, false))),
        ];
        assert_eq!(table.len(), AgentState::ALL.len() * 3);
        for (at, (state, event, wanted)) in table.into_iter().enumerate() {
            assert_eq!(place(state, event), at);
            assert_eq!(AgentState::of(state.name()), Some(state));
            assert_eq!(
                apply(state, event).map(|t| (t.next, t.changed)),
                wanted,
                "{state:?} × {event:?}"
            );
        }
    }
}
