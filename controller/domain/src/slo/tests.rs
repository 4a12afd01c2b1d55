//! Budgets and burns worked out by hand, and every rule with each of its windows.

use super::*;

const fn counts(bad: u64, total: u64) -> Counts {
    Counts {
        good: total - bad,
        total,
    }
}

fn is(found: Option<f64>, wanted: f64) -> bool {
    found.is_some_and(|found| (found - wanted).abs() < 1e-9)
}

#[test]
fn a_budget_is_what_may_be_bad() {
    // Worked out by hand: a thousandth may be bad of drift, a hundredth of the others.
    for (slo, bad, total, burn, left) in [
        (Slo::Drift, 0, 1_000, 0.0, 1.0),
        (Slo::Drift, 1, 1_000, 1.0, 0.0),
        (Slo::Drift, 1, 4_000, 0.25, 0.75),
        (Slo::Dispatch, 144, 1_000, 14.4, -13.4),
        (Slo::Status, 5, 100, 5.0, -4.0),
        (Slo::Status, 10, 10, 100.0, -99.0),
    ] {
        let of = counts(bad, total);
        assert!(is(of.burn(slo), burn), "{slo:?} {of:?}: {:?}", of.burn(slo));
        assert!(is(of.budget_left(slo), left), "{slo:?} {of:?}");
    }
    assert!(is(counts(5, 100).share(), 0.95));
    assert_eq!(counts(1, EVENTS_MIN - 1).burn(Slo::Drift), None, "too few to say");
    assert_eq!(Counts::default().share(), None);
}

#[test]
fn what_took_as_long_as_it_may_is_good() {
    let took = [1, 10, 11].map(Duration::from_secs);
    let threshold = Slo::Dispatch.threshold(MINUTE);
    assert_eq!(Counts::of(&took, threshold), Counts { good: 2, total: 3 });
    assert_eq!(Slo::Status.threshold(MINUTE), Duration::from_secs(180));
}

/// Bad events of a thousand in each window, and so in all longer ones that nothing else is said of.
fn with(bad: &[(Duration, u64)]) -> impl Fn(Duration) -> Counts {
    move |window| {
        let of = bad.iter().rfind(|(until, _)| *until <= window);
        counts(of.map_or(0, |(_, bad)| *bad), 1_000)
    }
}

#[test]
fn both_windows_of_a_rule_must_burn() {
    let five = Duration::from_secs(300);
    let slo = Slo::Dispatch;
    for (bad, state) in [
        (vec![], State::Ok),
        // An hour at 15 times: the short window says whether it still goes on.
        (vec![(five, 150), (2 * HOUR, 0)], State::Critical),
        (vec![(five, 0), (HOUR, 150), (2 * HOUR, 0)], State::Ok),
        (vec![(five, 150), (HOUR, 0)], State::Ok),
        (vec![(five, 143), (2 * HOUR, 0)], State::Ok),
        // Six times for six hours, three times for a day, evenly for three days.
        (vec![(five, 60), (12 * HOUR, 0)], State::Critical),
        (vec![(five, 30), (2 * DAY, 0)], State::Warning),
        (vec![(five, 10), (10 * DAY, 0)], State::Warning),
        (vec![(five, 9)], State::Ok),
        // It burns no more, but is used up.
        (vec![(WINDOW, 10)], State::Warning),
    ] {
        assert_eq!(judge(slo, with(&bad)), state, "{bad:?}");
    }
    assert_eq!(judge(slo, |_| Counts::default()), State::InsufficientData);
}

#[test]
fn windows_are_named_as_rules_write_them() {
    let names: Vec<String> = windows().into_iter().map(short).collect();
    assert_eq!(names, ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"]);
    for slo in Slo::ALL {
        assert_eq!(Slo::of(slo.name()), Some(slo));
    }
    assert_eq!(Slo::of("uptime"), None);
}
