//! The life of one notification: it waits, is sent, is accepted, or is dead after so many tries, until somebody asks for it again.
//!
//! A try that nobody came back from has taken its lease's time and counts: whether the receiver had it is not known, and it is sent again under the same id,
//! by which receivers know it.

use std::time::Duration;

use writ_protocol::time::Timestamp;

use crate::Transition;

/// How long whoever sends one has for it; longer than a try takes.
pub const LEASE: Duration = Duration::from_secs(30);
/// By how much longer each pause is than the one before.
const GROWTH: u32 = 4;

/// How a notification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It waits until it is due.
    Waiting,
    /// Somebody sends it.
    Sending,
    /// The receiver took it.
    Delivered,
    /// The receiver did not take it, and it is not tried any more.
    Dead,
    /// It was never to be sent; why is written beside it.
    Dropped,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Sending,
        Self::Delivered,
        Self::Dead,
        Self::Dropped,
    ];

    /// Its name in the ledger, the API and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        }
    }

    /// The state of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// How often one is tried, and after which pauses: each is four times the one before, up to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries in all, the first among them.
    pub tries: u32,
    /// The pause after the first.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

/// What the rulebook knows of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How it stands.
    pub state: State,
    /// Tries so far, those before somebody asked for it again among them. The number of a try is never given twice.
    pub attempts: u32,
    /// Those before somebody asked for it again.
    pub attempts_before: u32,
    /// When it is, or was, due.
    pub due: Timestamp,
    /// Until when whoever sends it has time; none where nobody does.
    pub lease_until: Option<Timestamp>,
}

/// What happens to a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody begins to send it.
    Claim,
    /// The receiver took it at some try.
    Accepted,
    /// The receiver did not take the try of this number.
    Failed {
        /// The try's number.
        attempt: u32,
        /// It never will.
        is_final: bool,
        /// When the receiver wants to be asked again.
        retry_after: Option<Duration>,
        /// By how much of a quarter the pause is longer, so that many do not come back at once: all of it at the greatest value.
        jitter: u16,
    },
    /// Whoever sends it had time enough.
    LeaseEnded {
        /// As of [`Event::Failed`].
        jitter: u16,
    },
    /// Somebody asks for it again.
    Replay,
}

/// A step that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a notification that is {} is not sent again; only one that is dead is", .state.name())]
pub struct NotDead {
    /// How it stands.
    pub state: State,
}

impl Delivery {
    /// One that is sent when it is due.
    pub const fn begin(due: Timestamp) -> Self {
        Self {
            state: State::Waiting,
            attempts: 0,
            attempts_before: 0,
            due,
            lease_until: None,
        }
    }

    /// Tries since somebody asked for it.
    pub const fn tries(&self) -> u32 {
        self.attempts.saturating_sub(self.attempts_before)
    }

    fn fail(&mut self, now: Timestamp, retry: &Retry, (asked, jitter): (Option<Duration>, u16)) {
        self.lease_until = None;
        if self.tries() >= retry.tries {
            self.state = State::Dead;
            return;
        }
        let pause = pause(retry, self.tries(), jitter);
        // What a receiver asks for is heard as far as the longest pause goes.
        let asked = asked.unwrap_or_default().min(retry.longest);
        (self.state, self.due) = (State::Waiting, now.plus(pause.max(asked)));
    }
}

/// The pause after the try of this number, counted from 1.
pub fn pause(retry: &Retry, tried: u32, jitter: u16) -> Duration {
    let growth = GROWTH.checked_pow(tried.saturating_sub(1)).unwrap_or(u32::MAX);
    let pause = retry.first.saturating_mul(growth).min(retry.longest);
    pause.saturating_add((pause / 4).saturating_mul(u32::from(jitter)) / u32::from(u16::MAX))
}

/// What follows from an event. Late and repeated words change nothing: a try that is over is not heard, but that the receiver took it always is.
///
/// # Errors
/// [`NotDead`].
pub fn apply(
    before: &Delivery,
    event: Event,
    now: Timestamp,
    retry: &Retry,
) -> Result<Transition<Delivery>, NotDead> {
    let mut next = *before;
    match (before.state, event) {
        (State::Waiting, Event::Claim) if before.due <= now => {
            next.state = State::Sending;
            next.attempts = before.attempts.saturating_add(1);
            next.lease_until = Some(now.plus(LEASE));
        }
        (State::Waiting | State::Sending | State::Dead, Event::Accepted) => {
            (next.state, next.lease_until) = (State::Delivered, None);
        }
        (
            State::Sending,
            Event::Failed {
                attempt,
                is_final,
                retry_after,
                jitter,
            },
        ) if attempt == before.attempts => {
            next.fail(now, retry, (retry_after, jitter));
            if is_final {
                (next.state, next.due) = (State::Dead, before.due);
            }
        }
        (State::Sending, Event::LeaseEnded { jitter })
            if before.lease_until.is_none_or(|until| until <= now) =>
        {
            next.fail(now, retry, (None, jitter));
        }
        (State::Dead, Event::Replay) => {
            (next.state, next.due) = (State::Waiting, now);
            next.attempts_before = before.attempts;
        }
        (state, Event::Replay) => return Err(NotDead { state }),
        (_, Event::Claim | Event::Accepted | Event::Failed { .. } | Event::LeaseEnded { .. }) => {}
    }
    Ok(Transition::between(before, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        tries: 3,
        first: Duration::from_secs(5),
        longest: Duration::from_secs(60),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn standing(state: State) -> Delivery {
        Delivery {
            state,
            attempts: 1,
            attempts_before: 0,
            due: at(10),
            lease_until: (state == State::Sending).then(|| at(40)),
        }
    }

    const fn failed(attempt: u32, is_final: bool) -> Event {
        Event::Failed {
            attempt,
            is_final,
            retry_after: None,
            jitter: 0,
        }
    }

    /// What follows at 50, when what is due is due and leases are over, from: claim, accepted, failed, failed for good, failed at another try, lease
    /// over, replay.
    #[rustfmt::skip]
    const TABLE: [(State, [Option<State>; 7]); 5] = {
        use State::{Dead, Delivered, Dropped, Sending, Waiting};
        [
            (Waiting, [Some(Sending), Some(Delivered), Some(Waiting), Some(Waiting), Some(Waiting), Some(Waiting), None]),
            (Sending, [Some(Sending), Some(Delivered), Some(Waiting), Some(Dead), Some(Sending), Some(Waiting), None]),
            (Delivered, [Some(Delivered), Some(Delivered), Some(Delivered), Some(Delivered), Some(Delivered), Some(Delivered), None]),
            (Dead, [Some(Dead), Some(Delivered), Some(Dead), Some(Dead), Some(Dead), Some(Dead), Some(Waiting)]),
            (Dropped, [Some(Dropped), Some(Dropped), Some(Dropped), Some(Dropped), Some(Dropped), Some(Dropped), None]),
        ]
    };

    #[test]
    fn every_event_in_every_state() {
        let over = Event::LeaseEnded { jitter: 0 };
        let (late, again) = (failed(7, false), Event::Replay);
        let events = [
            Event::Claim,
            Event::Accepted,
            failed(1, false),
            failed(1, true),
            late,
            over,
            again,
        ];
        for (state, row) in TABLE {
            for (event, wanted) in events.into_iter().zip(row) {
                let before = standing(state);
                let got = apply(&before, event, at(50), &RETRY);
                let next = got.as_ref().ok().map(|step| step.next.state);
                assert_eq!(next, wanted, "{state:?} {event:?}");
                let Ok(step) = got else { continue };
                assert_eq!(step.changed, step.next != before);
                assert_eq!(step.next.lease_until.is_some(), step.next.state == State::Sending);
                let begins = state == State::Waiting && event == Event::Claim;
                assert_eq!(step.next.attempts, 1 + u32::from(begins));
            }
        }
    }

    #[test]
    fn what_is_not_due_is_not_claimed_and_a_lease_that_holds_does_not_end() {
        let (waits, sent) = (standing(State::Waiting), standing(State::Sending));
        assert!(
            !apply(&waits, Event::Claim, at(9), &RETRY)
                .expect("applies")
                .changed
        );
        assert!(
            !apply(&sent, Event::LeaseEnded { jitter: 0 }, at(39), &RETRY)
                .expect("applies")
                .changed
        );
    }

    #[test]
    fn it_is_tried_so_often_and_again_when_somebody_asks() {
        let mut one = Delivery::begin(at(0));
        let mut now = at(0);
        let mut pauses = Vec::new();
        let mut die = |one: &mut Delivery| {
            while one.state == State::Waiting {
                now = now.plus(one.due.since(now));
                *one = apply(one, Event::Claim, now, &RETRY).expect("claimed").next;
                *one = apply(one, failed(one.attempts, false), now, &RETRY)
                    .expect("failed")
                    .next;
                pauses.push(one.due.since(now).as_secs());
            }
        };
        die(&mut one);
        assert_eq!((one.state, one.attempts), (State::Dead, 3));
        one = apply(&one, Event::Replay, at(500), &RETRY)
            .expect("replayed")
            .next;
        assert_eq!((one.state, one.due, one.tries()), (State::Waiting, at(500), 0));
        die(&mut one);
        assert_eq!((one.state, one.attempts), (State::Dead, 6));
        assert_eq!(pauses, [5, 20, 0, 5, 20, 0]);
    }

    #[test]
    fn pauses_grow_up_to_the_longest_with_a_quarter_at_most_and_as_the_receiver_asks() {
        let pauses = |jitter| [1, 2, 3, 4, 40].map(|tried| pause(&RETRY, tried, jitter).as_millis());
        assert_eq!(pauses(0), [5_000, 20_000, 60_000, 60_000, 60_000]);
        assert_eq!(pauses(u16::MAX), [6_250, 25_000, 75_000, 75_000, 75_000]);
        for (asked, due) in [(1, 55), (30, 80), (9_999, 110)] {
            let event = Event::Failed {
                attempt: 1,
                is_final: false,
                retry_after: Some(Duration::from_secs(asked)),
                jitter: 0,
            };
            let step = apply(&standing(State::Sending), event, at(50), &RETRY).expect("applies");
            assert_eq!(step.next.due, at(due), "asked for {asked}");
        }
    }
}
