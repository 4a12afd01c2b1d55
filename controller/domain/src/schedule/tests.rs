//! What becomes of a time that has come: policy by policy, state by state.

mod clocks;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("an instant")
}

fn rule(cron: &str, zone: &str) -> Rule {
    Rule {
        cron: Cron::parse(cron).expect(cron),
        zone: Zone::named(zone).expect(zone),
        jitter: Duration::ZERO,
        catch_up: CatchUp::Latest,
        overlap: Overlap::Skip,
        windows: Vec::new(),
        freezes: Vec::new(),
    }
}

fn standing(decided: &str) -> Standing {
    Standing {
        seed: 7,
        decided: at(decided),
        is_paused: false,
        is_active: false,
        queued: 0,
    }
}

/// Everything that is decided at `now`, as the ledger would go on from one decision to the next with nothing ending meanwhile.
fn all(rule: &Rule, mut standing: Standing, now: &str) -> (Vec<Skip>, Vec<(String, Action)>) {
    let (mut skips, mut actions) = (Vec::new(), Vec::new());
    loop {
        let decision = due(rule, &standing, at(now));
        skips.extend(decision.skips);
        if let Some((tick, action)) = decision.action {
            actions.push((tick.at.to_string(), action));
            standing.is_active = true;
            standing.queued += u32::from(action == Action::Queue);
        }
        if decision.decided == standing.decided {
            return (skips, actions);
        }
        standing.decided = decision.decided;
    }
}

fn reasons(skips: &[Skip]) -> Vec<(SkipReason, u64)> {
    skips.iter().map(|skip| (skip.reason, skip.times)).collect()
}

#[test]
fn each_policy_of_catching_up_starts_what_it_says() {
    use SkipReason::{Missed, Superseded};
    let began = standing("2026-11-22T00:00:00Z");
    let hourly = |catch_up| Rule {
        catch_up,
        overlap: Overlap::Queue,
        ..rule("0 * * * *", "UTC")
    };
    let starts = |catch_up, now| {
        let (skips, actions) = all(&hourly(catch_up), began, now);
        (reasons(&skips), actions.len())
    };
    for policy in [CatchUp::None, CatchUp::Latest, CatchUp::All(3)] {
        assert_eq!(
            starts(policy, "2026-11-22T00:59:59Z"),
            (vec![], 0),
            "{policy:?}: not yet"
        );
        assert_eq!(
            starts(policy, "2026-11-22T01:01:00Z"),
            (vec![], 1),
            "{policy:?}: a minute is not missed"
        );
    }
    assert_eq!(
        starts(CatchUp::None, "2026-11-22T05:01:01Z"),
        (vec![(Missed, 5)], 0)
    );
    assert_eq!(
        starts(CatchUp::None, "2026-11-22T05:00:30Z"),
        (vec![(Missed, 4)], 1)
    );
    assert_eq!(
        starts(CatchUp::Latest, "2026-11-22T05:30:00Z"),
        (vec![(Superseded, 4)], 1)
    );
    assert_eq!(
        starts(CatchUp::All(3), "2026-11-22T05:30:00Z"),
        (vec![(Superseded, 2)], 3)
    );
    assert_eq!(
        starts(CatchUp::All(99), "2026-11-23T05:30:00Z"),
        (vec![(Superseded, 13)], 16)
    );
}

#[test]
fn months_of_minutes_are_caught_up_with_in_steps_and_the_last_is_started() {
    let minutely = Rule {
        catch_up: CatchUp::All(2),
        overlap: Overlap::Queue,
        ..rule("* * * * *", "UTC")
    };
    let (skips, actions) = all(
        &minutely,
        standing("2026-01-01T00:00:00Z"),
        "2026-05-01T00:00:00Z",
    );
    let minutes = 120 * 24 * 60;
    assert_eq!(skips.iter().map(|skip| skip.times).sum::<u64>(), minutes - 2);
    let started: Vec<&str> = actions.iter().map(|(at, _)| at.as_str()).collect();
    assert_eq!(started, ["2026-04-30T23:59:00Z", "2026-05-01T00:00:00Z"]);
}

#[test]
fn each_policy_of_overlap_against_each_state() {
    use SkipReason::{Overlap as Busy, QueueFull};
    let began = standing("2026-11-22T00:00:00Z");
    let (idle, busy) = (
        began,
        Standing {
            is_active: true,
            ..began
        },
    );
    let (waits, full) = (
        Standing { queued: 1, ..began },
        Standing {
            queued: BACKLOG_MAX,
            is_active: true,
            ..began
        },
    );
    let one = |overlap, state: Standing| {
        let decision = due(
            &Rule {
                overlap,
                ..rule("0 * * * *", "UTC")
            },
            &state,
            at("2026-11-22T01:00:00Z"),
        );
        assert_eq!(
            decision.decided,
            at("2026-11-22T01:00:00Z"),
            "decided in any case"
        );
        (
            decision.action.map(|(_, action)| action),
            reasons(&decision.skips).first().map(|(reason, _)| *reason),
        )
    };
    for (overlap, state, wanted) in [
        (Overlap::Skip, idle, (Some(Action::Start), None)),
        (Overlap::Skip, busy, (None, Some(Busy))),
        (Overlap::Queue, idle, (Some(Action::Start), None)),
        (Overlap::Queue, busy, (Some(Action::Queue), None)),
        (Overlap::Queue, waits, (Some(Action::Queue), None)),
        (Overlap::Queue, full, (None, Some(QueueFull))),
        (Overlap::Cancel, idle, (Some(Action::Start), None)),
        (Overlap::Cancel, busy, (Some(Action::CancelAndStart), None)),
    ] {
        assert_eq!(one(overlap, state), wanted, "{overlap:?} {state:?}");
        let paused = Standing {
            is_paused: true,
            ..state
        };
        assert_eq!(
            one(overlap, paused),
            (None, Some(SkipReason::Paused)),
            "{overlap:?} paused"
        );
    }
}

#[test]
fn of_times_that_would_cancel_each_other_the_last_is_started() {
    let busy = Standing {
        is_active: true,
        ..standing("2026-11-22T00:00:00Z")
    };
    let cancel = Rule {
        overlap: Overlap::Cancel,
        catch_up: CatchUp::All(5),
        ..rule("0 * * * *", "UTC")
    };
    let (skips, actions) = all(&cancel, busy, "2026-11-22T03:00:00Z");
    assert_eq!(
        reasons(&skips),
        [(SkipReason::Superseded, 2)],
        "what would be cancelled at once is not started"
    );
    assert_eq!(
        actions,
        [("2026-11-22T03:00:00Z".to_owned(), Action::CancelAndStart)]
    );
}

#[test]
fn what_waits_is_released_when_nothing_stands_in_the_way() {
    let mut rule = rule("0 * * * *", "UTC");
    rule.freezes = vec![Freeze {
        from: at("2026-11-22T04:00:00Z"),
        until: at("2026-11-22T05:00:00Z"),
    }];
    let waits = Standing {
        queued: 1,
        ..standing("2026-11-22T00:00:00Z")
    };
    let now = at("2026-11-22T03:00:00Z");
    assert!(may_release(&rule, &waits, now));
    assert!(!may_release(&rule, &Standing { queued: 0, ..waits }, now));
    assert!(!may_release(
        &rule,
        &Standing {
            is_active: true,
            ..waits
        },
        now
    ));
    assert!(!may_release(
        &rule,
        &Standing {
            is_paused: true,
            ..waits
        },
        now
    ));
    assert!(!may_release(&rule, &waits, at("2026-11-22T04:00:00Z")));
    assert!(may_release(&rule, &waits, at("2026-11-22T05:00:00Z")));
}

#[test]
fn windows_and_freezes_hold_at_their_edges_and_through_an_outage() {
    let mut rule = Rule {
        catch_up: CatchUp::All(16),
        overlap: Overlap::Queue,
        ..rule("0 * * * *", "Europe/Berlin")
    };
    rule.windows = vec![Window {
        opens: Cron::parse("0 22 * * *").expect("parses"),
        length: HOUR * 4,
    }];
    rule.freezes = vec![Freeze {
        from: at("2026-11-22T23:00:00Z"),
        until: at("2026-11-23T00:00:00Z"),
    }];
    let began = standing("2026-11-22T20:30:00Z");
    let one = |standing: &Standing, now: &str| due(&rule, standing, at(now));
    // 22:00 to before 02:00 in Berlin is 21:00 to before 01:00 here.
    assert_eq!(
        one(&began, "2026-11-22T21:00:00Z")
            .action
            .map(|(_, action)| action),
        Some(Action::Start)
    );
    let late = Standing {
        decided: at("2026-11-23T00:30:00Z"),
        ..began
    };
    assert_eq!(
        one(&late, "2026-11-23T01:00:00Z")
            .skips
            .first()
            .map(|skip| skip.reason),
        Some(SkipReason::OutsideWindow)
    );
    let frozen = Standing {
        decided: at("2026-11-22T22:30:00Z"),
        ..began
    };
    assert_eq!(
        one(&frozen, "2026-11-22T23:00:00Z")
            .skips
            .first()
            .map(|skip| skip.reason),
        Some(SkipReason::Frozen)
    );
    // Caught up with in the next window: what was due outside of one, or in the freeze, is not started then either.
    let (skips, actions) = all(&rule, began, "2026-11-23T21:30:00Z");
    let started: Vec<&str> = actions.iter().map(|(at, _)| at.as_str()).collect();
    assert_eq!(started, ["2026-11-23T21:00:00Z"], "{skips:?}");
    let (_, at_night) = all(&rule, began, "2026-11-23T00:30:00Z");
    let started: Vec<&str> = at_night.iter().map(|(at, _)| at.as_str()).collect();
    assert_eq!(
        started,
        [
            "2026-11-22T21:00:00Z",
            "2026-11-22T22:00:00Z",
            "2026-11-23T00:00:00Z"
        ]
    );
}

#[test]
fn a_clock_that_goes_back_finds_nothing_left_to_decide() {
    let rule = rule("*/5 * * * *", "UTC");
    let mut ledger = standing("2026-11-22T00:00:00Z");
    let decision = due(&rule, &ledger, at("2026-11-22T01:00:00Z"));
    ledger.decided = decision.decided;
    for now in [
        "2026-11-22T00:30:00Z",
        "2020-01-01T00:00:00Z",
        "2026-11-22T01:04:59Z",
    ] {
        let again = due(&rule, &ledger, at(now));
        assert_eq!((again.decided, again.action), (ledger.decided, None), "{now}");
        assert!(again.skips.is_empty());
        assert_eq!(again.next.map(|next| next.at), Some(at("2026-11-22T01:05:00Z")));
    }
}
