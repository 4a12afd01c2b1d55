//! The life of a finding: one resource of one project on one host that is, or was, not as its plan wants it. What comes back is the same finding.
//!
//! Only a look that saw the resource as it should be clears a finding; one that could not see makes it `unknown`. One that comes and goes is
//! folded: it is told of once, until it has been quiet for [`FLAP_SPAN`] or gets worse.

use std::time::Duration;

use writ_protocol::time::Timestamp;

use crate::Transition;

/// So many times that it came back, within [`FLAP_SPAN`], make a finding one that flaps.
pub const FLAPS: usize = 3;
/// Within which they must lie, and for how long a finding that flaps must not come back until it does no longer.
pub const FLAP_SPAN: Duration = Duration::from_secs(3_600);

/// Where a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It differs, and nobody has said that they know.
    Open,
    /// Somebody knows.
    Acknowledged,
    /// Somebody said beforehand, and signed, that it may differ so ([`super::noise`]).
    Expected,
    /// Nobody can see.
    Unknown,
    /// It was seen as it should be.
    Cleared,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Acknowledged,
        Self::Expected,
        Self::Unknown,
        Self::Cleared,
    ];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Expected => "expected",
            Self::Unknown => "unknown",
            Self::Cleared => "cleared",
        }
    }

    /// Whether nobody need look at it: it is as it should be, or as somebody said that it may be.
    pub const fn is_quiet(self) -> bool {
        matches!(self, Self::Expected | Self::Cleared)
    }

    /// The state of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What the rulebook knows of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it stands.
    pub state: State,
    /// Whether somebody knows of just this difference; kept while nobody can see.
    pub is_known: bool,
    /// How often it came.
    pub occurrences: u32,
    /// When it came back, the last [`FLAPS`] times, the oldest first.
    pub reopened: Vec<Timestamp>,
    /// When it was first seen, or could first not be seen.
    pub first_seen: Timestamp,
    /// When it was last seen to differ, or could last not be seen.
    pub last_seen: Timestamp,
    /// When it was last seen as it should be; none where it never was.
    pub last_clean: Option<Timestamp>,
}

/// What a look, or somebody, says of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It differs.
    Differs {
        /// As it did before, to the letter.
        same: bool,
        /// More severely than before.
        worse: bool,
        /// As somebody said that it may.
        expected: bool,
    },
    /// It could not be looked at.
    Unseen,
    /// It is as it should be.
    Clean,
    /// Somebody knows.
    Acknowledge,
    /// Somebody said that it may differ as it does.
    Expect,
    /// What somebody said about it does not count any more.
    Lapse,
}

/// How a resource was found when there was no finding of it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It differs.
    Differs,
    /// It differs as somebody said that it may.
    Expected,
    /// Nobody could see.
    Unseen,
}

/// What is to be told of a step, and kept in the finding's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Told {
    /// It is new.
    Opened,
    /// It differs in another way.
    Changed,
    /// It is seen again as it was before nobody could see.
    Seen,
    /// It came back.
    Reopened,
    /// It came back once too often: until it is quiet nothing more is told.
    Flapping,
    /// Nobody can see.
    Unknown,
    /// It is as it should be.
    Cleared,
    /// Somebody knows.
    Acknowledged,
    /// It differs as somebody said that it may.
    Expected,
    /// It differs still, and what somebody said about it does not count any more.
    Lapsed,
}

impl Told {
    /// Everything that is told.
    pub const ALL: [Self; 10] = [
        Self::Opened,
        Self::Changed,
        Self::Seen,
        Self::Reopened,
        Self::Flapping,
        Self::Unknown,
        Self::Cleared,
        Self::Acknowledged,
        Self::Expected,
        Self::Lapsed,
    ];

    /// Its name in the history.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Changed => "changed",
            Self::Seen => "seen",
            Self::Reopened => "reopened",
            Self::Flapping => "flapping",
            Self::Unknown => "unknown",
            Self::Cleared => "cleared",
            Self::Acknowledged => "acknowledged",
            Self::Expected => "expected",
            Self::Lapsed => "lapsed",
        }
    }
}

/// A step that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a finding that is {} cannot be acknowledged; only one that is open can", .state.name())]
pub struct NotOpen {
    /// Where it stands.
    pub state: State,
}

impl Finding {
    /// One that a look at `at` came upon.
    pub const fn begin(sight: Sight, at: Timestamp, last_clean: Option<Timestamp>) -> (Self, Told) {
        let (state, told) = match sight {
            Sight::Differs => (State::Open, Told::Opened),
            Sight::Expected => (State::Expected, Told::Expected),
            Sight::Unseen => (State::Unknown, Told::Unknown),
        };
        let one = Self {
            state,
            is_known: false,
            occurrences: 1,
            reopened: Vec::new(),
            first_seen: at,
            last_seen: at,
            last_clean,
        };
        (one, told)
    }

    /// Whether it comes and goes.
    pub fn is_flapping(&self, now: Timestamp) -> bool {
        let ends = self.reopened.first().zip(self.reopened.last());
        ends.is_some_and(|(first, last)| {
            self.reopened.len() >= FLAPS && last.since(*first) <= FLAP_SPAN && now.since(*last) <= FLAP_SPAN
        })
    }

    /// The same after a look at `at` that saw everything and found every answer as it was.
    #[must_use]
    pub fn found_again(mut self, at: Timestamp) -> Self {
        match self.state {
            State::Open | State::Acknowledged | State::Expected | State::Unknown => {
                self.last_seen = self.last_seen.max(at);
            }
            State::Cleared => self.last_clean = self.last_clean.max(Some(at)),
        }
        self
    }

    fn come_back(&mut self, at: Timestamp) {
        self.occurrences = self.occurrences.saturating_add(1);
        self.is_known = false;
        self.reopened.push(at);
        let over = self.reopened.len().saturating_sub(FLAPS);
        self.reopened.drain(..over);
    }
}

/// What follows from an event, and what is to be told of it.
///
/// # Errors
/// [`NotOpen`].
pub fn apply(
    before: &Finding,
    event: Event,
    at: Timestamp,
) -> Result<(Transition<Finding>, Option<Told>), NotOpen> {
    let mut next = before.clone();
    let was_flapping = before.is_flapping(at);
    let told = match event {
        Event::Differs {
            same,
            worse,
            expected,
        } => {
            next.last_seen = at.max(before.last_seen);
            let told = differs(&mut next, (same, expected), at);
            // What gets worse is told whatever went before.
            told.filter(|_| worse && !expected || !was_flapping)
        }
        Event::Unseen => {
            next.last_seen = at.max(before.last_seen);
            if before.state == State::Cleared {
                next.come_back(at);
            }
            next.state = State::Unknown;
            (before.state != State::Unknown && !was_flapping).then_some(Told::Unknown)
        }
        Event::Clean => {
            next.last_clean = before.last_clean.max(Some(at));
            (next.state, next.is_known) = (State::Cleared, false);
            (before.state != State::Cleared && !was_flapping).then_some(Told::Cleared)
        }
        Event::Acknowledge if before.state == State::Open => {
            (next.state, next.is_known) = (State::Acknowledged, true);
            Some(Told::Acknowledged)
        }
        Event::Acknowledge => return Err(NotOpen { state: before.state }),
        Event::Expect if matches!(before.state, State::Open | State::Acknowledged) => {
            (next.state, next.is_known) = (State::Expected, false);
            Some(Told::Expected)
        }
        Event::Lapse if before.state == State::Expected => {
            next.state = State::Open;
            Some(Told::Lapsed)
        }
        // Of what is clear, or cannot be seen, there is nothing to say beforehand: the next look that sees it decides.
        Event::Expect | Event::Lapse => None,
    };
    Ok((Transition::between(before, next), told))
}

fn differs(next: &mut Finding, (same, expected): (bool, bool), at: Timestamp) -> Option<Told> {
    let was = next.state;
    let came_back = was == State::Cleared;
    if came_back {
        next.come_back(at);
    }
    if expected {
        (next.state, next.is_known) = (State::Expected, false);
        return (was != State::Expected || !same).then_some(Told::Expected);
    }
    if came_back {
        next.state = State::Open;
        let flaps = next.is_flapping(at);
        return Some(if flaps { Told::Flapping } else { Told::Reopened });
    }
    // Somebody knew of what was seen then; this is something else.
    next.is_known &= same;
    next.state = if next.is_known {
        State::Acknowledged
    } else {
        State::Open
    };
    match (same, was) {
        (false, _) => Some(Told::Changed),
        (true, State::Unknown) => Some(Told::Seen),
        (true, State::Expected) => Some(Told::Lapsed),
        (true, State::Open | State::Acknowledged | State::Cleared) => None,
    }
}

#[cfg(test)]
mod tests;
