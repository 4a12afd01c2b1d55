//! Every time decided once, whatever clocks and controllers do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Zones with every kind of change: an hour, half an hour, over midnight, twice a year and around Ramadan, two hours, none.
const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/Havana",
    "Asia/Beirut",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Asia/Kathmandu",
];
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn between(rule: &Rule, from: &str, to: &str) -> Vec<String> {
    times(&rule.cron, &rule.zone, at(from))
        .take_while(|found| *found <= at(to))
        .map(|found| rule.zone.show(found))
        .collect()
}

#[test]
fn named_hours_come_once_and_counted_hours_as_hours_do() {
    let spring = |cron| {
        between(
            &rule(cron, "Europe/Berlin"),
            "2026-03-28T23:00:00Z",
            "2026-03-29T02:30:00Z",
        )
    };
    assert_eq!(spring("30 2 * * *"), ["2026-03-29T03:00:00+02:00"]);
    assert_eq!(spring("0,30 2 * * *"), ["2026-03-29T03:00:00+02:00"]);
    assert_eq!(
        spring("15 1-3 * * *"),
        [
            "2026-03-29T01:15:00+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-29T03:15:00+02:00"
        ]
    );
    assert_eq!(spring("30 * * * *").len(), 4, "00:30, 01:30, 03:30, 04:30");
    let autumn = |cron| {
        between(
            &rule(cron, "Europe/Berlin"),
            "2026-10-24T23:00:00Z",
            "2026-10-25T02:30:00Z",
        )
    };
    assert_eq!(autumn("30 2 * * *"), ["2026-10-25T02:30:00+02:00"]);
    assert_eq!(
        autumn("0,30 2 * * *"),
        ["2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00"]
    );
    assert_eq!(
        autumn("30 * * * *").last().map(String::as_str),
        Some("2026-10-25T03:30:00+01:00")
    );
    assert_eq!(autumn("30 * * * *").len(), 4, "01:30, 02:30 twice, 03:30");
    // Clocks go back over midnight: the day after begins before this one ends.
    let midnight = between(
        &rule("*/30 * * * *", "America/St_Johns"),
        "2010-11-07T01:30:00Z",
        "2010-11-07T03:30:00Z",
    );
    assert_eq!(
        midnight,
        [
            "2010-11-06T23:30:00-02:30",
            "2010-11-07T00:00:00-02:30",
            "2010-11-06T23:30:00-03:30",
            "2010-11-07T00:00:00-03:30"
        ]
    );
}

#[test]
fn leap_days_come_and_a_day_that_a_zone_left_out_is_made_up_for() {
    let leap = rule("0 3 29 2 *", "Europe/Berlin");
    let next = next(&leap, &standing("2096-03-01T00:00:00Z")).expect("comes");
    assert_eq!(next.at, at("2104-02-29T02:00:00Z"), "2100 is no leap year");
    let last = between(
        &rule("0 0 L 2 *", "UTC"),
        "2027-01-01T00:00:00Z",
        "2029-01-01T00:00:00Z",
    );
    assert_eq!(last, ["2027-02-28T00:00:00+00:00", "2028-02-29T00:00:00+00:00"]);
    let apia = between(
        &rule("30 2 * * *", "Pacific/Apia"),
        "2011-12-29T00:00:00Z",
        "2011-12-30T14:00:00Z",
    );
    assert_eq!(
        apia,
        [
            "2011-12-29T02:30:00-10:00",
            "2011-12-31T00:00:00+14:00",
            "2011-12-31T02:30:00+14:00"
        ]
    );
    assert!(Zone::named("Europe/Atlantis").is_err());
}

/// What a calendar on the wall says, minute by minute: the two sentences at the top of `calendar`, in another way.
fn oracle(rule: &Rule, from: Timestamp, to: Timestamp) -> BTreeSet<Timestamp> {
    const MINUTE: Duration = Duration::from_secs(60);
    let wall = |at: Timestamp| rule.zone.show(at)[..16].to_owned();
    let matches = |text: &str| {
        let date: jiff::civil::DateTime = text.parse().expect("a time on the wall");
        let weekday = date.date().weekday().to_sunday_zero_offset();
        let day = rule.cron.has_day(
            u32::from(date.month().unsigned_abs()),
            u32::from(date.day().unsigned_abs()),
            u32::from(weekday.unsigned_abs()),
            u32::from(date.date().days_in_month().unsigned_abs()),
        );
        day && rule
            .cron
            .minutes_of_day()
            .any(|of| of == (date.hour(), date.minute()))
    };
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut now = from.minus(DAY);
    let mut before: jiff::civil::DateTime = wall(now.minus(MINUTE)).parse().expect("a time on the wall");
    while now <= to {
        let here = wall(now);
        let this: jiff::civil::DateTime = here.parse().expect("a time on the wall");
        if rule.cron.names_hours() {
            // Every time on the wall that went by since the last minute, those that were left out among them.
            let mut gone = before + jiff::Span::new().minutes(1);
            while gone < this {
                if matches(&gone.strftime("%Y-%m-%dT%H:%M").to_string()) {
                    found.insert(now);
                }
                gone += jiff::Span::new().minutes(1);
            }
        }
        if matches(&here) && (!rule.cron.names_hours() || seen.insert(here)) {
            found.insert(now);
        }
        before = this;
        now = now.plus(MINUTE);
    }
    found.into_iter().filter(|at| *at > from && *at <= to).collect()
}

fn crons() -> impl Strategy<Value = String> {
    let minute = prop_oneof![
        Just("0"),
        Just("30"),
        Just("0,45"),
        Just("*/20"),
        Just("7-9"),
        Just("*")
    ];
    let hour = prop_oneof![
        Just("*"),
        Just("*/2"),
        Just("0"),
        Just("1"),
        Just("2"),
        Just("0-3"),
        Just("1,2,23"),
        Just("2-4/2")
    ];
    let day = prop_oneof![Just("*"), Just("29,L"), Just("*/2"), Just("1-15")];
    let weekday = prop_oneof![Just("*"), Just("sun"), Just("0-5")];
    (minute, hour, day, weekday).prop_map(|(m, h, d, w)| format!("{m} {h} {d} * {w}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Around every change of clocks of some years, in every kind of zone.
    #[test]
    fn times_are_those_of_a_clock_on_the_wall(cron in crons(), zone in 0..ZONES.len(), year in 2020_i64..2031, late in any::<bool>(), days in 0_u64..120) {
        let rule = rule(&cron, ZONES[zone]);
        let begin = at(&format!("{year}-{}-01T00:00:00Z", if late { "09" } else { "02" })).plus(DAY * u32::try_from(days).expect("few"));
        // The change nearest to the day that was drawn is within the window.
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(ZONES[zone]).expect("a zone");
        let change = zone.following(jiff::Timestamp::from_microsecond(begin.as_micros()).expect("in range")).next();
        let middle = change.map_or(begin, |change| Timestamp::from_micros(change.timestamp().as_microsecond()));
        let (from, to) = (middle.minus(HOUR * 30), middle.plus(HOUR * 30));
        let found: Vec<Timestamp> = times(&rule.cron, &rule.zone, from).take_while(|at| *at <= to).collect();
        let wanted: Vec<Timestamp> = oracle(&rule, from, to).into_iter().collect();
        prop_assert_eq!(found, wanted);
    }

    /// A day with a change of clocks; clocks of controllers that jump to and fro, are apart from each other, and controllers that end at any
    /// moment: with everything caught up with, what was started is what the calendar names.
    #[test]
    fn a_day_of_lost_controllers_starts_every_time_once(
        cron in crons(), zone in 0..ZONES.len(), spring in any::<bool>(), jitter in 0_u64..120,
        rounds in proptest::collection::vec((0_i64..40, -90_i64..90, 0_u8..4), 60..200),
    ) {
        let begin = if spring { "2026-03-28T12:00:00Z" } else { "2026-10-24T12:00:00Z" };
        let mut rule = Rule { jitter: Duration::from_secs(jitter), catch_up: CatchUp::All(BACKLOG_MAX), ..rule(&cron, ZONES[zone]) };
        rule.overlap = Overlap::Queue;
        let (mut ledger, mut clock) = (standing(begin), at(begin));
        let (mut decided, end) = (BTreeMap::<Timestamp, u32>::new(), at(begin).plus(DAY));
        for (minutes, skew, fate) in rounds.into_iter().chain([(0, 0, 0)]) {
            let step = Duration::from_secs(u64::try_from(minutes * 60).expect("forwards"));
            clock = if fate == 0 && skew == 0 && minutes == 0 { end } else { clock.plus(step).min(end) };
            // One controller's clock is ahead, the other's behind; both look at the same ledger.
            for sign in [1, -1] {
                let its = Timestamp::from_micros(clock.as_micros() + sign * skew * 1_000_000).min(end);
                loop {
                    let decision = due(&rule, &ledger, its);
                    if decision.decided == ledger.decided { break; }
                    // It ends before its commit: nothing of it has happened.
                    if fate == 1 { break; }
                    for skip in &decision.skips {
                        prop_assert_eq!(skip.reason, SkipReason::Superseded);
                        let skipped = times(&rule.cron, &rule.zone, skip.from.minus(Duration::from_micros(1)));
                        for one in skipped.take(usize::try_from(skip.times).expect("few")) { *decided.entry(one).or_default() += 1; }
                    }
                    if let Some((tick, _)) = decision.action { *decided.entry(tick.at).or_default() += 1; }
                    ledger.decided = decision.decided;
                    // It ends after its commit: the next one goes on from there.
                    if fate == 2 { break; }
                }
            }
        }
        // Those that jitter puts off beyond the end are still to come.
        let wanted: Vec<Timestamp> = times(&rule.cron, &rule.zone, at(begin)).take_while(|one| *one <= ledger.decided).collect();
        let left = next(&rule, &ledger).is_none_or(|next| next.due > end);
        prop_assert!(left, "nothing that is due is left");
        prop_assert_eq!(decided.keys().copied().collect::<Vec<_>>(), wanted);
        prop_assert!(decided.values().all(|count| *count == 1), "each once");
    }

    #[test]
    fn jitter_is_the_same_for_everybody_within_its_bound(seed in any::<u128>(), minutes in 0_u64..100_000, jitter in 0_u64..4_000) {
        let rule = Rule { jitter: Duration::from_secs(jitter), ..rule("* * * * *", "UTC") };
        let standing = Standing { seed, ..standing("2026-01-01T00:00:00Z") };
        let one = tick(&rule, &standing, at("2026-01-01T00:00:00Z").plus(Duration::from_secs(60 * minutes)));
        prop_assert!(one.due >= one.at && one.due <= one.at.plus(rule.jitter));
        prop_assert_eq!(one, tick(&rule, &standing, one.at));
    }
}
