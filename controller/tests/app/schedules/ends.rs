//! Controllers that end at any moment, on the days on which clocks change: every time is decided once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use writ_controller::app::view::ScheduleView;
use writ_controller::app::{App, Page, ScheduleKind};
use writ_domain::schedule::SkipReason;
use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;

use super::{history, new, planned, rule};
use crate::desk::{Desk, operator};

/// Of the first day; each day has the next.
const SEED: u64 = 20_261_122;
/// Most that a time is put off by in these stories, seconds.
const JITTER: u64 = 90;

/// What is rung for a day: name, expression, zone.
const SCHEDULES: [(&str, &str, &str); 5] = [
    ("often", "*/20 * * * *", "America/New_York"),
    ("nightly", "0,30 2 * * *", "Europe/Berlin"),
    ("early", "15 1-3 * * *", "Europe/Berlin"),
    ("east", "30 1-2 * * *", "America/New_York"),
    ("hourly", "45 * * * *", "Australia/Lord_Howe"),
];

/// Noon of a day (UTC) from which on 24 hours are rung, and what `nightly`, `early` and `east` are to come to in them: written down by hand from the
/// clocks on the wall of Berlin and New York, so that the calendar of the product is not asked about itself.
const DAYS: [(&str, [&[&str]; 3]); 4] = [
    // Berlin goes back at 03:00 (01:00Z): 02:00 and 02:30 come the first time alone.
    (
        "2026-10-24T12:00:00Z",
        [
            &["25T00:00", "25T00:30"],
            &["24T23:15", "25T00:15", "25T02:15"],
            &["25T05:30", "25T06:30"],
        ],
    ),
    // New York goes back at 02:00 (06:00Z): 01:30 comes the first time alone.
    (
        "2026-10-31T12:00:00Z",
        [
            &["01T01:00", "01T01:30"],
            &["01T00:15", "01T01:15", "01T02:15"],
            &["01T05:30", "01T07:30"],
        ],
    ),
    // New York goes ahead at 02:00 (07:00Z): 02:30 comes at 03:00.
    (
        "2027-03-13T12:00:00Z",
        [
            &["14T01:00", "14T01:30"],
            &["14T00:15", "14T01:15", "14T02:15"],
            &["14T06:30", "14T07:00"],
        ],
    ),
    // Berlin goes ahead at 02:00 (01:00Z): 02:00 and 02:30 come together at 03:00, and so does 02:15.
    (
        "2027-03-27T12:00:00Z",
        [
            &["28T01:00"],
            &["28T00:15", "28T01:00", "28T01:15"],
            &["28T05:30", "28T06:30"],
        ],
    ),
];

/// The times at which a schedule is to be rung between two instants, without a look at the product's calendar.
fn wanted(name: &str, by_hand: [&[&str]; 3], (from, to): (Timestamp, Timestamp)) -> Vec<String> {
    let short = |at: Timestamp| at.to_string()[8..16].to_owned();
    // Counted in hours, and both zones are whole hours or a half from UTC on these days: so many minutes after each hour of UTC.
    let every = |minutes: &[u64]| {
        let hour = Timestamp::from_millis(from.as_secs() / 3_600 * 3_600_000);
        let all = (0..26u64).flat_map(|hours| minutes.iter().map(move |minute| hours * 60 + minute));
        all.map(|minutes| hour.plus(Duration::from_secs(minutes * 60)))
            .filter(|at| *at > from && *at <= to)
            .map(short)
            .collect()
    };
    let place = ["nightly", "early", "east"].iter().position(|one| *one == name);
    match (place, name) {
        (Some(place), _) => by_hand[place].iter().map(|at| (*at).to_owned()).collect(),
        (None, "often") => every(&[0, 20, 40]),
        (None, _) => every(&[45]),
    }
}

/// Every time of a schedule in a day, and what became of it: the ledger's rows laid beside what was written down by hand.
async fn accounted(app: &App, name: &str, wanted: &[String]) {
    let mut found = Vec::new();
    for fire in history(app, name).await {
        let (first, last) = (&fire.at[8..16], &fire.through[8..16]);
        // By place and not by text: a month may end in between.
        let place = |at: &str| wanted.iter().position(|one| one == at);
        let of = match (place(first), place(last)) {
            (Some(first), Some(last)) => &wanted[first..=last],
            _ => panic!("{name}: nobody wanted {fire:?}"),
        };
        assert_eq!(of.len() as u64, fire.times, "{name}: {fire:?}");
        match fire.state.as_str() {
            "started" => assert!(fire.run_id.is_some() && fire.times == 1, "{name}: {fire:?}"),
            "skipped" => assert!(
                fire.reason.as_deref().and_then(SkipReason::of).is_some(),
                "{name}: skipped without a reason: {fire:?}"
            ),
            other => panic!("{name}: {other}: {fire:?}"),
        }
        found.extend_from_slice(of);
    }
    assert_eq!(found, wanted, "{name}: each once");
}

/// A number that nobody foresees and that is the same each time.
fn dice(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// A controller that looks, and is given up after a moment three times in four.
async fn looks(app: &App, roll: u64) {
    let patience = match roll % 4 {
        0 => Duration::from_secs(600),
        _ => Duration::from_micros(500 + roll % 25_000),
    };
    if let Ok(done) = tokio::time::timeout(patience, app.run_schedules()).await {
        // What another is in the midst of may fail; the next look does it again.
        drop(done);
    }
}

/// Three controllers on one ledger for a day, each given up at any moment, in the midst of its transactions.
async fn a_day(desk: &Desk, plan: Digest, (day, by_hand): (&str, [&[&str]; 3]), seed: &mut u64) {
    let begin = Timestamp::parse(day).unwrap();
    desk.pass(begin.since(desk.now()).as_secs());
    let from = desk.now();
    for (name, cron, zone) in SCHEDULES {
        let more = format!(
            ",\"zone\":{zone:?},\"overlap\":\"cancel\",\"jitterSeconds\":{JITTER},\"catchUp\":\"all\",\"catchUpMax\":16"
        );
        let wanted = new(name, ScheduleKind::Check, plan, rule(cron, &more));
        desk.app.create_schedule(&operator(), wanted).await.unwrap();
    }
    let others = [desk.another(|_| ()), desk.another(|_| ())];
    let end = from.plus(Duration::from_secs(24 * 3_600));
    while desk.now() < end {
        desk.pass((1 + dice(seed) % 1_500).min(end.since(desk.now()).as_secs()));
        tokio::join!(
            looks(&desk.app, dice(seed)),
            looks(&others[0], dice(seed)),
            looks(&others[1], dice(seed)),
        );
    }
    // What was due in the day's last moments and put off, comes now; and a row can still be held by a connection that was given up.
    desk.pass(JITTER);
    let caught_up = async {
        loop {
            desk.app.run_schedules().await.unwrap();
            let all = desk.app.list_schedules(&Page::default()).await.unwrap().items;
            let due = |view: &ScheduleView| Timestamp::parse(&view.next.as_ref().unwrap().due_at).unwrap();
            if all.iter().all(|view| due(view) > desk.now()) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), caught_up)
        .await
        .unwrap();
    for (name, ..) in SCHEDULES {
        accounted(&desk.app, name, &wanted(name, by_hand, (from, end))).await;
    }
}

#[tokio::test]
async fn controllers_that_end_at_any_moment_double_and_miss_nothing_on_both_changes_of_clocks() {
    let desk = Desk::new().await;
    let (_host, plan) = planned(&desk).await;
    let mut of_fires = BTreeMap::<String, u64>::new();
    for (number, day) in (0u64..).zip(DAYS) {
        // Shown where the test fails: which moments the controllers were given up at.
        let mut seed = SEED + number;
        println!("24 hours from {} with seed {seed}", day.0);
        Box::pin(a_day(&desk, plan, day, &mut seed)).await;
        for view in desk.app.list_schedules(&Page::default()).await.unwrap().items {
            for fire in history(&desk.app, &view.name).await {
                if let Some(run) = fire.run_id {
                    *of_fires.entry(run).or_default() += 1;
                }
            }
            desk.app
                .remove_schedule(&operator(), &view.name, "")
                .await
                .unwrap();
        }
    }
    assert!(of_fires.len() > 150, "{}", of_fires.len());
    assert!(of_fires.values().all(|count| *count == 1));
    // What a controller had begun when it was given up left nothing: every run is that of one time.
    let (mut runs, mut page) = (BTreeSet::new(), Page::default());
    loop {
        let found = desk.app.list_runs(&page, None).await.unwrap();
        runs.extend(
            found
                .items
                .into_iter()
                .filter(|run| run.ordered_by.starts_with("schedule:"))
                .map(|run| run.id),
        );
        page.cursor = found.next;
        if page.cursor.is_none() {
            break;
        }
    }
    assert_eq!(runs, of_fires.into_keys().collect());
}
