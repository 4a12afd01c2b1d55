//! Who is told of what and when, in one table, and what quiet hours do on the nights on which clocks change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use writ_protocol::time::Timestamp;

use super::admit::{Admission, DropReason, Limits, Rate, Seen, WAITING_MAX, admit};
use super::delivery::Retry;
use super::quiet::{Quiet, Then, keeps_back};
use super::rule::{Group, GroupBy, Pattern, Policy, Receiver, Rule};
use super::{Happening, severity_of};
use crate::drift::{Class, Severity};
use crate::schedule::{Cron, Zone};

fn instant(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("an instant")
}

fn quiet(opens: &str, closes: &str, zone: &str, then: Then) -> Quiet {
    Quiet {
        opens: Cron::parse(opens).expect("an expression"),
        closes: Cron::parse(closes).expect("an expression"),
        zone: Zone::named(zone).expect("a zone"),
        then,
    }
}

fn receiver(sees_security: bool, then: Then) -> Receiver {
    Receiver {
        sees_security,
        limits: Limits {
            rate: Rate {
                most: 2,
                per: Duration::from_secs(600),
            },
            quiet: vec![quiet("0 22 * * *", "0 7 * * *", "UTC", then)],
            retry: Retry {
                tries: 3,
                first: Duration::from_secs(5),
                longest: Duration::from_secs(60),
            },
        },
    }
}

fn rule(name: &str, events: &[&str], receivers: &[&str]) -> Rule {
    Rule {
        name: name.to_owned(),
        events: events
            .iter()
            .map(|text| Pattern::of(text).expect("a pattern"))
            .collect(),
        at_least: Severity::Info,
        classes: BTreeSet::new(),
        projects: BTreeSet::new(),
        environments: BTreeSet::new(),
        labels: BTreeMap::new(),
        receivers: receivers.iter().map(|name| (*name).to_owned()).collect(),
        group: None,
        once_in: Duration::from_secs(3_600),
    }
}

fn happening(kind: &str, severity: Severity, environment: &str) -> Happening {
    Happening {
        kind: kind.to_owned(),
        severity,
        class: kind.starts_with("drift.").then_some(Class::Configuration),
        is_expected: false,
        subject: "drift_1".to_owned(),
        about: Some("file:/etc/motd".to_owned()),
        host: Some("lab-1".to_owned()),
        project: Some("site".to_owned()),
        labels: BTreeMap::from([("env".to_owned(), environment.to_owned())]),
        summary: String::new(),
        traceparent: None,
        at: instant("2026-11-22T12:00:00Z"),
    }
}

/// Production goes to people, by what is bad; everything of drift goes to the log, at night too late for warnings.
fn policy() -> Policy {
    let people = Rule {
        at_least: Severity::Warn,
        environments: BTreeSet::from(["prod".to_owned()]),
        ..rule("people", &["drift.*", "run.failed"], &["ops"])
    };
    Policy {
        receivers: BTreeMap::from([
            ("ops".to_owned(), receiver(false, Then::Hold)),
            ("log".to_owned(), receiver(true, Then::Drop)),
        ]),
        rules: vec![people, rule("log", &["drift.*"], &["log", "ops-gone"])],
    }
}

const NOON: &str = "2026-11-22T12:00:00Z";
const NIGHT: &str = "2026-11-22T23:00:00Z";
const MORNING: &str = "2026-11-23T07:00:00Z";

/// What becomes of it: sent at an instant, or dropped.
type Wanted = Result<&'static str, DropReason>;
/// Number, kind, severity, environment, now, when the oldest in the receivers' window was due, and what becomes of it for whom.
type Case = (
    u8,
    &'static str,
    Severity,
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static [(&'static str, Wanted)],
);

const NOON_LESS: &str = "2026-11-22T11:55:00Z";
const NOON_SOON: &str = "2026-11-22T12:05:00Z";
const NIGHT_LESS: &str = "2026-11-22T22:55:00Z";
const NIGHT_SOON: &str = "2026-11-22T23:05:00Z";
const QUIET: Wanted = Err(DropReason::Quiet);
const RATE: Wanted = Err(DropReason::Rate);
const OPENED: &str = "drift.opened";

#[rustfmt::skip]
const CASES: [Case; 12] = [
    (1, OPENED, Severity::Warn, "prod", NOON, None, &[("ops", Ok(NOON)), ("log", Ok(NOON))]),
    (2, OPENED, Severity::Info, "prod", NOON, None, &[("log", Ok(NOON))]),
    (3, OPENED, Severity::Critical, "test", NOON, None, &[("log", Ok(NOON))]),
    (4, "run.failed", Severity::Warn, "prod", NOON, None, &[("ops", Ok(NOON))]),
    (5, "run.succeeded", Severity::Critical, "prod", NOON, None, &[]),
    (6, OPENED, Severity::Warn, "prod", NIGHT, None, &[("ops", Ok(MORNING)), ("log", QUIET)]),
    (7, OPENED, Severity::Critical, "prod", NIGHT, None, &[("ops", Ok(NIGHT)), ("log", Ok(NIGHT))]),
    (8, OPENED, Severity::Info, "test", NIGHT, None, &[("log", QUIET)]),
    (9, OPENED, Severity::Warn, "prod", NOON, Some(NOON_LESS), &[("ops", RATE), ("log", RATE)]),
    (10, OPENED, Severity::Critical, "prod", NOON, Some(NOON_LESS), &[("ops", Ok(NOON_SOON)), ("log", Ok(NOON_SOON))]),
    (11, OPENED, Severity::Critical, "prod", NIGHT, Some(NIGHT_LESS), &[("ops", Ok(NIGHT_SOON)), ("log", Ok(NIGHT_SOON))]),
    (12, OPENED, Severity::Warn, "prod", NIGHT, Some(NOON), &[("ops", Ok(MORNING)), ("log", QUIET)]),
];

#[test]
fn twelve_cases_of_quiet_hours_limits_and_routes() {
    let policy = policy();
    for (case, kind, severity, environment, now, oldest, wanted) in CASES {
        let happening = happening(kind, severity, environment);
        let seen = Seen {
            oldest_in_rate: oldest.map(instant),
            ..Seen::default()
        };
        let at = (instant(now), Duration::ZERO);
        let got: Vec<(&str, Admission)> = policy
            .route(&happening)
            .into_iter()
            .map(|(name, receiver, _)| (name, admit(&receiver.limits, &happening, seen, at)))
            .collect();
        let wanted: Vec<(&str, Admission)> = wanted
            .iter()
            .map(|(name, wanted)| {
                (
                    *name,
                    wanted.map_or_else(Admission::Dropped, |at| Admission::Due(instant(at))),
                )
            })
            .collect();
        assert_eq!(got, wanted, "case {case}");
    }
}

#[test]
fn the_same_and_too_many_are_dropped_whatever_they_are() {
    let limits = receiver(false, Then::Hold).limits;
    let worst = happening("drift.opened", Severity::Critical, "prod");
    let same = Seen {
        is_same: true,
        ..Seen::default()
    };
    let full = Seen {
        waiting: WAITING_MAX,
        ..Seen::default()
    };
    let at = (instant(NOON), Duration::ZERO);
    assert_eq!(
        admit(&limits, &worst, same, at),
        Admission::Dropped(DropReason::Same)
    );
    assert_eq!(
        admit(&limits, &worst, full, at),
        Admission::Dropped(DropReason::Full)
    );
    let milder = Happening {
        severity: Severity::Warn,
        ..worst.clone()
    };
    assert_ne!(
        worst.dedup_key(),
        milder.dedup_key(),
        "what got worse is not the same"
    );
}

#[test]
fn findings_of_security_are_for_receivers_whose_readers_may_see_them() {
    let mut secret = happening("drift.opened", Severity::Critical, "prod");
    secret.class = Some(Class::Security);
    let policy = policy();
    let told: Vec<&str> = policy.route(&secret).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(told, ["log"]);
}

#[test]
fn what_was_said_beforehand_is_told_where_a_rule_names_it() {
    let mut expected = happening("drift.opened", Severity::Critical, "prod");
    expected.is_expected = true;
    let mut all = rule("all", &["*"], &["ops"]);
    assert!(!all.is_for(&expected));
    all.classes = BTreeSet::from([Class::Expected]);
    assert!(all.is_for(&expected));
}

#[test]
fn a_receiver_is_told_once_under_the_first_rule_that_is_for_the_event() {
    let mut policy = policy();
    policy.rules.push(rule("all", &["*"], &["ops", "log"]));
    let found = policy.route(&happening("drift.opened", Severity::Warn, "prod"));
    let told: Vec<_> = found
        .iter()
        .map(|(name, _, rule)| (*name, rule.name.as_str()))
        .collect();
    assert_eq!(told, [("ops", "people"), ("log", "log")]);
}

#[test]
fn every_matcher_of_a_rule_must_hold() {
    type Narrow = fn(&mut Rule);
    let one = happening("drift.opened", Severity::Warn, "prod");
    let narrower: [(Narrow, Narrow); 5] = [
        (
            |r| r.classes = BTreeSet::from([Class::Configuration]),
            |r| r.classes = BTreeSet::from([Class::Capacity]),
        ),
        (
            |r| r.projects = BTreeSet::from(["site".into()]),
            |r| r.projects = BTreeSet::from(["other".into()]),
        ),
        (
            |r| r.environments = BTreeSet::from(["prod".into()]),
            |r| r.environments = BTreeSet::from(["test".into()]),
        ),
        (
            |r| r.labels = BTreeMap::from([("env".into(), "prod".into())]),
            |r| r.labels = BTreeMap::from([("role".into(), "web".into())]),
        ),
        (
            |r| r.at_least = Severity::Warn,
            |r| r.at_least = Severity::Critical,
        ),
    ];
    let mut all = rule("all", &["drift.opened"], &["ops"]);
    for (holds, does_not) in narrower {
        holds(&mut all);
        assert!(all.is_for(&one));
        let mut narrow = all.clone();
        does_not(&mut narrow);
        assert!(!narrow.is_for(&one), "{narrow:?}");
    }
    for (pattern, is_of) in [
        ("*", true),
        ("drift.*", true),
        ("drift.opened", true),
        ("drift.open", false),
        ("run.*", false),
    ] {
        assert_eq!(rule("r", &[pattern], &[]).is_for(&one), is_of, "{pattern}");
    }
    for wrong in [
        "",
        "drift",
        "drift.",
        ".opened",
        "*.opened",
        "drift.op*",
        "Drift.opened",
        "drift.a.b",
    ] {
        assert_eq!(Pattern::of(wrong), None, "{wrong}");
    }
}

#[test]
fn groups_hold_what_has_the_named_properties_in_common_and_never_the_critical_with_the_rest() {
    let one = happening("drift.opened", Severity::Warn, "prod");
    let mut other = happening("drift.changed", Severity::Info, "prod");
    other.host = Some("lab-2".to_owned());
    let by = |by: &[GroupBy]| Rule {
        group: Some(Group {
            by: by.iter().copied().collect(),
            wait: Duration::from_secs(2),
        }),
        ..rule("r", &["*"], &[])
    };
    let shared = by(&[GroupBy::Project, GroupBy::Environment, GroupBy::Class]);
    assert_eq!(shared.group_key(&one), shared.group_key(&other));
    for differs in [GroupBy::Kind, GroupBy::Host] {
        let rule = by(&[GroupBy::Project, differs]);
        assert_ne!(rule.group_key(&one), rule.group_key(&other), "{differs:?}");
    }
    other.severity = Severity::Critical;
    assert_ne!(shared.group_key(&one), shared.group_key(&other));
    assert_eq!(rule("r", &["*"], &[]).group_key(&one), None);
}

#[test]
fn quiet_hours_follow_the_wall_clock_through_its_changes_and_into_each_other() {
    let berlin = [quiet("0 22 * * *", "0 7 * * *", "Europe/Berlin", Then::Hold)];
    let end = |all: &[Quiet], at: &str| keeps_back(all, instant(at)).map(|(end, _)| end.to_string());
    let until = |text: &str| Some(instant(text).to_string());
    // 22:00 to 07:00 are ten hours on the night on which clocks go back, eight when they go forward.
    assert_eq!(
        end(&berlin, "2026-10-24T20:00:00Z"),
        until("2026-10-25T06:00:00Z")
    );
    assert_eq!(
        end(&berlin, "2026-10-25T05:59:59Z"),
        until("2026-10-25T06:00:00Z")
    );
    assert_eq!(
        end(&berlin, "2026-10-25T06:00:00Z"),
        None,
        "the last instant is not quiet"
    );
    assert_eq!(
        end(&berlin, "2026-03-28T21:00:00Z"),
        until("2026-03-29T05:00:00Z")
    );
    assert_eq!(end(&berlin, "2026-03-28T20:59:59Z"), None);
    // Friday night, the whole weekend, and the night after it are one.
    let weekend = [
        quiet("0 22 * * *", "0 7 * * *", "UTC", Then::Hold),
        quiet("0 0 * * sat,sun", "0 0 * * *", "UTC", Then::Drop),
    ];
    assert_eq!(
        end(&weekend, "2026-11-20T23:00:00Z"),
        until("2026-11-23T07:00:00Z")
    );
    assert_eq!(
        keeps_back(&weekend, instant("2026-11-21T12:00:00Z")).map(|(_, then)| then),
        Some(Then::Drop)
    );
}

#[test]
fn what_is_bad_is_so_by_its_kind() {
    for (kind, severity) in [
        ("incident.open", Severity::Critical),
        ("run.failed", Severity::Warn),
        ("run.succeeded", Severity::Info),
        ("agent.alarm", Severity::Warn),
        ("what.nobody.knows", Severity::Info),
    ] {
        assert_eq!(severity_of(kind), severity, "{kind}");
    }
}
