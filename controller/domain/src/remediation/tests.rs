//! Every event in every state, and every bound of a policy.

use super::*;
use crate::drift::Class;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

const EVENTS: [Event; 9] = [
    Event::Checked(Checked::Changes),
    Event::Checked(Checked::Nothing),
    Event::Checked(Checked::Failed),
    Event::Approve,
    Event::Decline,
    Event::Ended { succeeded: true },
    Event::Ended { succeeded: false },
    Event::Clear,
    Event::TimeUp,
];

/// A state, and the one that follows from each of [`EVENTS`]; none where it is refused.
const TABLE: [(State, [Option<State>; 9]); 7] = {
    use State::{
        Checking as C, Declined as D, Failed as F, Proposed as P, Remediating as R, Resolved as Z,
        Verifying as V,
    };
    const NO: Option<State> = None;
    [
        (
            C,
            [
                Some(P),
                Some(V),
                Some(F),
                NO,
                Some(D),
                Some(C),
                Some(C),
                Some(C),
                Some(F),
            ],
        ),
        (
            P,
            [
                Some(P),
                Some(P),
                Some(P),
                Some(R),
                Some(D),
                Some(P),
                Some(P),
                Some(D),
                Some(D),
            ],
        ),
        (
            R,
            [
                Some(R),
                Some(R),
                Some(R),
                NO,
                NO,
                Some(V),
                Some(F),
                Some(R),
                Some(R),
            ],
        ),
        (
            V,
            [
                Some(V),
                Some(V),
                Some(V),
                NO,
                NO,
                Some(V),
                Some(V),
                Some(Z),
                Some(F),
            ],
        ),
        (
            Z,
            [
                Some(Z),
                Some(Z),
                Some(Z),
                NO,
                NO,
                Some(Z),
                Some(Z),
                Some(Z),
                Some(Z),
            ],
        ),
        (
            F,
            [
                Some(F),
                Some(F),
                Some(F),
                NO,
                NO,
                Some(F),
                Some(F),
                Some(F),
                Some(F),
            ],
        ),
        (
            D,
            [
                Some(D),
                Some(D),
                Some(D),
                NO,
                NO,
                Some(D),
                Some(D),
                Some(D),
                Some(D),
            ],
        ),
    ]
};

#[test]
fn every_event_in_every_state() {
    for (state, row) in TABLE {
        for (event, wanted) in EVENTS.into_iter().zip(row) {
            let before = Remediation {
                state,
                deadline: Some(at(7)),
            };
            let got = apply(&before, event, at(100));
            let shown = got.as_ref().ok().map(|step| step.next.state);
            assert_eq!(shown, wanted, "{state:?} {event:?}");
            let Ok(step) = got else { continue };
            assert_eq!(step.changed, step.next != before);
            if step.next.state == state {
                assert_eq!(step.next.deadline, Some(at(7)), "a wait is not made longer");
            }
        }
    }
}

#[test]
fn each_wait_has_an_end_and_only_a_look_resolves() {
    let begun = Remediation::begin(at(0));
    assert_eq!(begun.deadline, Some(at(0).plus(CHECK_WITHIN)));
    let step = |before: &Remediation, event| apply(before, event, at(10)).unwrap().next;
    let proposed = step(&begun, Event::Checked(Checked::Changes));
    assert_eq!(proposed.deadline, Some(at(10).plus(APPROVE_WITHIN)));
    let under_way = step(&proposed, Event::Approve);
    assert_eq!(under_way.deadline, None, "its run has its own");
    let done = step(&under_way, Event::Ended { succeeded: true });
    assert_eq!(
        (done.state, done.deadline),
        (State::Verifying, Some(at(10).plus(VERIFY_WITHIN)))
    );
    assert_eq!(step(&done, Event::Clear).deadline, None);
    let refused = apply(&done, Event::Approve, at(10)).unwrap_err();
    assert!(refused.to_string().contains("verifying") && refused.to_string().contains("approved"));
}

#[test]
fn names_are_read_back() {
    for state in State::ALL {
        assert_eq!(State::of(state.name()), Some(state));
    }
    for mode in Mode::ALL {
        assert_eq!(Mode::of(mode.name()), Some(mode));
    }
    assert_eq!((State::of("odd"), Mode::of("odd")), (None, None));
    assert_eq!(
        Mode::default(),
        Mode::Audit,
        "nothing is changed where nobody said anything"
    );
}

const POLICY: Policy = Policy {
    mode: Mode::Autocorrect,
    hosts_at_once: 2,
    per_hour: 5,
    failures_max: 3,
    is_stopped: false,
};
const FINDING: Past = Past {
    class: Class::Configuration,
    is_flapping: false,
    times: 0,
};

#[test]
fn a_policy_lets_nothing_begin_beyond_what_it_says() {
    let none = Load::default();
    for mode in [Mode::Propose, Mode::Autocorrect] {
        assert_eq!(may_begin(&Policy { mode, ..POLICY }, none, FINDING), Ok(()));
    }
    let load = |hosts, within_hour, failed| Load {
        hosts,
        within_hour,
        failed,
    };
    assert_eq!(may_begin(&POLICY, load(1, 4, 2), FINDING), Ok(()));
    let audit = Policy {
        mode: Mode::Audit,
        ..POLICY
    };
    let stopped = Policy {
        is_stopped: true,
        ..POLICY
    };
    let again = Past {
        times: AGAIN_MAX,
        ..FINDING
    };
    let flaps = Past {
        is_flapping: true,
        ..FINDING
    };
    let unseen = Past {
        class: Class::Unknown,
        ..FINDING
    };
    for (policy, load, finding, held) in [
        (audit, none, FINDING, Held::Audit),
        (stopped, none, FINDING, Held::Stopped),
        (POLICY, load(0, 0, 3), FINDING, Held::Stopped),
        (POLICY, none, unseen, Held::Unseen),
        (POLICY, none, again, Held::ComesBack),
        (POLICY, none, flaps, Held::ComesBack),
        (POLICY, load(2, 0, 0), FINDING, Held::Hosts),
        (POLICY, load(0, 5, 0), FINDING, Held::Rate),
    ] {
        assert_eq!(may_begin(&policy, load, finding), Err(held));
    }
}

#[test]
fn only_what_stays_within_its_findings_is_carried_out_without_a_person() {
    let none = Effect::default();
    let idle = Load::default();
    assert_eq!(may_carry_out(&POLICY, idle, none), Ok(()));
    let of = |mode| Policy { mode, ..POLICY };
    let stopped = Policy {
        is_stopped: true,
        ..POLICY
    };
    let effect = |beyond, commands, destroys| Effect {
        beyond,
        commands,
        destroys,
    };
    for (policy, effect, held) in [
        (of(Mode::Audit), none, Held::Audit),
        (of(Mode::Propose), none, Held::Proposes),
        (stopped, none, Held::Stopped),
        (POLICY, effect(true, false, false), Held::Beyond),
        (POLICY, effect(false, true, false), Held::Command),
        (POLICY, effect(false, false, true), Held::Destroys),
    ] {
        assert_eq!(may_carry_out(&policy, idle, effect), Err(held));
        assert!(!held.passes(), "{held}");
    }
    // Beside others, it keeps to the bounds as it would if it began.
    let hosts = Load {
        hosts: POLICY.hosts_at_once,
        ..idle
    };
    let rate = Load {
        within_hour: POLICY.per_hour,
        ..idle
    };
    for (load, held) in [(hosts, Held::Hosts), (rate, Held::Rate)] {
        assert_eq!(may_carry_out(&POLICY, load, none), Err(held));
        assert!(held.passes(), "{held}");
    }
    let failed = Load {
        failed: POLICY.failures_max,
        ..idle
    };
    assert_eq!(may_carry_out(&POLICY, failed, none), Err(Held::Stopped));
}
