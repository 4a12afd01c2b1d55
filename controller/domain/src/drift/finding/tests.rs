//! Every event in every state, and what is told when something comes and goes.

use super::*;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_millis(minutes * 60_000)
}

fn standing(state: State, is_known: bool) -> Finding {
    let (one, _) = Finding::begin(Sight::Differs, at(0), None);
    Finding {
        state,
        is_known,
        ..one
    }
}

const fn seen(same: bool, worse: bool, expected: bool) -> Event {
    Event::Differs {
        same,
        worse,
        expected,
    }
}

const SAME: Event = seen(true, false, false);
const OTHER: Event = seen(false, false, false);
const EVENTS: [Event; 9] = [
    SAME,
    OTHER,
    seen(true, false, true),
    seen(false, false, true),
    Event::Unseen,
    Event::Clean,
    Event::Acknowledge,
    Event::Expect,
    Event::Lapse,
];

type Cell = Option<(State, bool, Option<Told>)>;

/// What follows: a state that nobody knows of, and what is told.
#[expect(clippy::unnecessary_wraps, reason = "it is a cell of the table")]
const fn to(state: State, told: Told) -> Cell {
    Some((state, false, Some(told)))
}

/// What follows where nothing is told.
#[expect(clippy::unnecessary_wraps, reason = "it is a cell of the table")]
const fn stays(state: State, is_known: bool) -> Cell {
    Some((state, is_known, None))
}

const EXPECTED: Cell = to(State::Expected, Told::Expected);
const CLEARED: Cell = to(State::Cleared, Told::Cleared);
const BLIND: Cell = to(State::Unknown, Told::Unknown);
const CHANGED: Cell = to(State::Open, Told::Changed);
const REOPENED: Cell = to(State::Open, Told::Reopened);

/// A state, whether somebody knows, and what follows from each of [`EVENTS`].
const TABLE: [(State, bool, [Cell; 9]); 6] = [
    (
        State::Open,
        false,
        [
            stays(State::Open, false),
            CHANGED,
            EXPECTED,
            EXPECTED,
            BLIND,
            CLEARED,
            Some((State::Acknowledged, true, Some(Told::Acknowledged))),
            EXPECTED,
            stays(State::Open, false),
        ],
    ),
    (
        State::Acknowledged,
        true,
        [
            stays(State::Acknowledged, true),
            CHANGED,
            EXPECTED,
            EXPECTED,
            Some((State::Unknown, true, Some(Told::Unknown))),
            CLEARED,
            None,
            EXPECTED,
            stays(State::Acknowledged, true),
        ],
    ),
    (
        State::Expected,
        false,
        [
            to(State::Open, Told::Lapsed),
            CHANGED,
            stays(State::Expected, false),
            EXPECTED,
            BLIND,
            CLEARED,
            None,
            stays(State::Expected, false),
            to(State::Open, Told::Lapsed),
        ],
    ),
    (
        State::Unknown,
        false,
        [
            to(State::Open, Told::Seen),
            CHANGED,
            EXPECTED,
            EXPECTED,
            stays(State::Unknown, false),
            CLEARED,
            None,
            stays(State::Unknown, false),
            stays(State::Unknown, false),
        ],
    ),
    (
        State::Unknown,
        true,
        [
            Some((State::Acknowledged, true, Some(Told::Seen))),
            CHANGED,
            EXPECTED,
            EXPECTED,
            stays(State::Unknown, true),
            CLEARED,
            None,
            stays(State::Unknown, true),
            stays(State::Unknown, true),
        ],
    ),
    (
        State::Cleared,
        false,
        [
            REOPENED,
            REOPENED,
            EXPECTED,
            EXPECTED,
            BLIND,
            stays(State::Cleared, false),
            None,
            stays(State::Cleared, false),
            stays(State::Cleared, false),
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
            let is_word = matches!(event, Event::Acknowledge | Event::Expect | Event::Lapse);
            let came_back = state == State::Cleared && event != Event::Clean && !is_word;
            assert_eq!(
                step.next.occurrences,
                1 + u32::from(came_back),
                "{state:?} {event:?}"
            );
            assert_eq!(step.next.first_seen, at(0));
            let is_clean = event == Event::Clean;
            assert_eq!(step.next.last_clean, is_clean.then_some(at(1)));
            assert_eq!(
                step.next.last_seen,
                if is_clean || is_word { at(0) } else { at(1) }
            );
        }
    }
}

#[test]
fn what_begins_unseen_is_unknown_and_never_clean() {
    let (blind, told) = Finding::begin(Sight::Unseen, at(3), Some(at(1)));
    assert_eq!(
        (blind.state, told, blind.last_clean),
        (State::Unknown, Told::Unknown, Some(at(1)))
    );
    let (expected, told_of) = Finding::begin(Sight::Expected, at(3), None);
    assert_eq!((expected.state, told_of), (State::Expected, Told::Expected));
    let (open, told) = Finding::begin(Sight::Differs, at(3), None);
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
    let (one, _) = Finding::begin(Sight::Differs, at(9), Some(at(8)));
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
    let (mut one, _) = Finding::begin(Sight::Differs, at(0), None);
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
    let (mut slow, _) = Finding::begin(Sight::Differs, at(0), None);
    assert_eq!(flap(&mut slow, 40, 40, 6).len(), 12);
}

#[test]
fn what_gets_worse_is_told_although_it_flaps() {
    let (mut one, _) = Finding::begin(Sight::Differs, at(0), None);
    flap(&mut one, 10, 10, 4);
    assert!(one.is_flapping(at(50)));
    for state in State::ALL {
        let before = Finding { state, ..one.clone() };
        assert_eq!(apply(&before, OTHER, at(50)).unwrap().1, None, "{state:?}");
        let worse = seen(false, true, false);
        assert!(apply(&before, worse, at(50)).unwrap().1.is_some(), "{state:?}");
        let foretold = seen(false, true, true);
        assert_eq!(apply(&before, foretold, at(50)).unwrap().1, None, "{state:?}");
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
