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
    /// Nobody can see.
    Unknown,
    /// It was seen as it should be.
    Cleared,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Open, Self::Acknowledged, Self::Unknown, Self::Cleared];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Unknown => "unknown",
            Self::Cleared => "cleared",
        }
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
    },
    /// It could not be looked at.
    Unseen,
    /// It is as it should be.
    Clean,
    /// Somebody knows.
    Acknowledge,
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
}

impl Told {
    /// Everything that is told.
    pub const ALL: [Self; 8] = [
        Self::Opened,
        Self::Changed,
        Self::Seen,
        Self::Reopened,
        Self::Flapping,
        Self::Unknown,
        Self::Cleared,
        Self::Acknowledged,
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
    /// One that a look at `at` came upon; `is_seen` where it saw what differs.
    pub const fn begin(is_seen: bool, at: Timestamp, last_clean: Option<Timestamp>) -> (Self, Told) {
        let (state, told) = if is_seen {
            (State::Open, Told::Opened)
        } else {
            (State::Unknown, Told::Unknown)
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
            State::Open | State::Acknowledged | State::Unknown => self.last_seen = self.last_seen.max(at),
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
        Event::Differs { same, worse } => {
            next.last_seen = at.max(before.last_seen);
            let told = differs(&mut next, same, at);
            // What gets worse is told whatever went before.
            told.filter(|_| worse || !was_flapping)
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
    };
    Ok((Transition::between(before, next), told))
}

fn differs(next: &mut Finding, same: bool, at: Timestamp) -> Option<Told> {
    let was = next.state;
    if was == State::Cleared {
        next.come_back(at);
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
        (true, State::Open | State::Acknowledged | State::Cleared) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    fn standing(state: State, is_known: bool) -> Finding {
        let (one, _) = Finding::begin(true, at(0), None);
        Finding {
            state,
            is_known,
            ..one
        }
    }

    const SAME: Event = Event::Differs {
        same: true,
        worse: false,
    };
    const OTHER: Event = Event::Differs {
        same: false,
        worse: false,
    };
    const EVENTS: [Event; 5] = [SAME, OTHER, Event::Unseen, Event::Clean, Event::Acknowledge];

    type Cell = Option<(State, bool, Option<Told>)>;

    /// A state, whether somebody knows, and what follows from each of [`EVENTS`].
    const TABLE: [(State, bool, [Cell; 5]); 5] = [
        (
            State::Open,
            false,
            [
                Some((State::Open, false, None)),
                Some((State::Open, false, Some(Told::Changed))),
                Some((State::Unknown, false, Some(Told::Unknown))),
                Some((State::Cleared, false, Some(Told::Cleared))),
                Some((State::Acknowledged, true, Some(Told::Acknowledged))),
            ],
        ),
        (
            State::Acknowledged,
            true,
            [
                Some((State::Acknowledged, true, None)),
                Some((State::Open, false, Some(Told::Changed))),
                Some((State::Unknown, true, Some(Told::Unknown))),
                Some((State::Cleared, false, Some(Told::Cleared))),
                None,
            ],
        ),
        (
            State::Unknown,
            false,
            [
                Some((State::Open, false, Some(Told::Seen))),
                Some((State::Open, false, Some(Told::Changed))),
                Some((State::Unknown, false, None)),
                Some((State::Cleared, false, Some(Told::Cleared))),
                None,
            ],
        ),
        (
            State::Unknown,
            true,
            [
                Some((State::Acknowledged, true, Some(Told::Seen))),
                Some((State::Open, false, Some(Told::Changed))),
                Some((State::Unknown, true, None)),
                Some((State::Cleared, false, Some(Told::Cleared))),
                None,
            ],
        ),
        (
            State::Cleared,
            false,
            [
                Some((State::Open, false, Some(Told::Reopened))),
                Some((State::Open, false, Some(Told::Reopened))),
                Some((State::Unknown, false, Some(Told::Unknown))),
                Some((State::Cleared, false, None)),
                None,
            ],
        ),
    ];

    #[test]
    fn every_event_in_every_state() {
        for (state, known, row) in TABLE {
            for (event, wanted) in EVENTS.into_iter().zip(row) {
                let before = standing(state, known);
                let got = apply(&before, event, at(1));
                let shown = got
                    .as_ref()
                    .ok()
                    .map(|(step, told)| (step.next.state, step.next.is_known, *told));
                assert_eq!(shown, wanted, "{state:?} {known} {event:?}");
                let Ok((step, _)) = got else { continue };
                assert_eq!(step.changed, step.next != before);
                let came_back = state == State::Cleared && event != Event::Clean;
                assert_eq!(
                    step.next.occurrences,
                    1 + u32::from(came_back),
                    "{state:?} {event:?}"
                );
                assert_eq!(step.next.first_seen, at(0));
                let is_clean = event == Event::Clean;
                assert_eq!(step.next.last_clean, is_clean.then_some(at(1)));
                let is_word = event == Event::Acknowledge;
                assert_eq!(
                    step.next.last_seen,
                    if is_clean || is_word { at(0) } else { at(1) }
                );
            }
        }
    }

    #[test]
    fn what_begins_unseen_is_unknown_and_never_clean() {
        let (blind, told) = Finding::begin(false, at(3), Some(at(1)));
        assert_eq!(
            (blind.state, told, blind.last_clean),
            (State::Unknown, Told::Unknown, Some(at(1)))
        );
        let (open, told) = Finding::begin(true, at(3), None);
        assert_eq!(
            (open.state, told, open.occurrences),
            (State::Open, Told::Opened, 1)
        );
    }

    #[test]
    fn a_look_that_found_the_same_moves_one_time_on() {
        for state in State::ALL {
            let one = standing(state, false).found_again(at(4)).found_again(at(3));
            let clean = state == State::Cleared;
            assert_eq!((one.state, one.occurrences), (state, 1));
            assert_eq!(one.last_seen, if clean { at(0) } else { at(4) }, "{state:?}");
            assert_eq!(one.last_clean, clean.then_some(at(4)), "{state:?}");
        }
    }

    #[test]
    fn times_never_go_back() {
        let (one, _) = Finding::begin(true, at(9), Some(at(8)));
        let (step, _) = apply(&one, SAME, at(2)).unwrap();
        assert_eq!(step.next.last_seen, at(9));
        let (step, _) = apply(&one, Event::Clean, at(2)).unwrap();
        assert_eq!(step.next.last_clean, Some(at(8)));
    }

    /// Comes and goes every `every` minutes; what was told, with the minute.
    fn flap(one: &mut Finding, from: i64, every: i64, times: i64) -> Vec<(i64, Told)> {
        let mut all = Vec::new();
        for n in 0..times {
            for (event, minute) in [
                (Event::Clean, from + n * every),
                (OTHER, from + n * every + every / 2),
            ] {
                let (step, told) = apply(one, event, at(minute)).unwrap();
                *one = step.next;
                all.extend(told.map(|told| (minute, told)));
            }
        }
        all
    }

    #[test]
    fn what_comes_and_goes_is_told_once_and_again_after_it_was_quiet() {
        let (mut one, _) = Finding::begin(true, at(0), None);
        let told = flap(&mut one, 10, 10, 8);
        let wanted = [
            (10, Told::Cleared),
            (15, Told::Reopened),
            (20, Told::Cleared),
            (25, Told::Reopened),
            (30, Told::Cleared),
            (35, Told::Flapping),
        ];
        assert_eq!(told, wanted);
        assert_eq!((one.occurrences, one.reopened.len()), (9, FLAPS));
        let last = 85;
        assert!(one.is_flapping(at(last + 60)) && !one.is_flapping(at(last + 61)));
        // Quiet for longer than the span: the next is told as any other.
        assert_eq!(
            apply(&one, Event::Clean, at(last + 61)).unwrap().1,
            Some(Told::Cleared)
        );
        // Slowly is not flapping.
        let (mut slow, _) = Finding::begin(true, at(0), None);
        assert_eq!(flap(&mut slow, 40, 40, 6).len(), 12);
    }

    #[test]
    fn what_gets_worse_is_told_although_it_flaps() {
        let (mut one, _) = Finding::begin(true, at(0), None);
        flap(&mut one, 10, 10, 4);
        assert!(one.is_flapping(at(50)));
        for state in State::ALL {
            let before = Finding { state, ..one.clone() };
            let worse = Event::Differs {
                same: false,
                worse: true,
            };
            assert_eq!(apply(&before, OTHER, at(50)).unwrap().1, None, "{state:?}");
            assert!(apply(&before, worse, at(50)).unwrap().1.is_some(), "{state:?}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for state in State::ALL {
            assert_eq!(State::of(state.name()), Some(state));
        }
        assert_eq!(State::of("odd"), None);
        let names: std::collections::BTreeSet<_> = Told::ALL.iter().map(|told| told.name()).collect();
        assert_eq!(names.len(), Told::ALL.len());
        let refused = apply(&standing(State::Cleared, false), Event::Acknowledge, at(1)).unwrap_err();
        assert!(refused.to_string().contains("cleared"));
    }
}
