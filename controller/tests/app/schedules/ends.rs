//! Controllers that end at any moment, on the days on which clocks change: every time is decided once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use writ_controller::app::view::ScheduleView;
use writ_controller::app::{App, Page, ScheduleKind};
use writ_domain::schedule::{Cron, Zone, times};
use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;

use super::{history, new, planned, rule};
use crate::desk::{Desk, operator};

/// Every time of a schedule until `to`, and what became of it: the ledger's rows laid beside the calendar.
async fn accounted(app: &App, name: &str, (cron, zone): (&str, &str), (from, to): (Timestamp, Timestamp)) {
    let (cron, zone) = (Cron::parse(cron).unwrap(), Zone::named(zone).unwrap());
    let wanted: Vec<Timestamp> = times(&cron, &zone, from).take_while(|at| *at <= to).collect();
    let mut found = Vec::new();
    for fire in history(app, name).await {
        let (first, last) = (
            Timestamp::parse(&fire.at).unwrap(),
            Timestamp::parse(&fire.through).unwrap(),
        );
        let of: Vec<Timestamp> = wanted
            .iter()
            .copied()
            .filter(|at| (first..=last).contains(at))
            .collect();
        assert_eq!(of.len() as u64, fire.times, "{name}: {fire:?}");
        found.extend(of);
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
async fn a_day(desk: &Desk, plan: Digest, day: &str, seed: &mut u64) {
    const SCHEDULES: [(&str, &str, &str); 4] = [
        ("often", "*/20 * * * *", "America/New_York"),
        ("nightly", "0,30 2 * * *", "Europe/Berlin"),
        ("early", "15 1-3 * * *", "Europe/Berlin"),
        ("hourly", "45 * * * *", "Australia/Lord_Howe"),
    ];
    let begin = Timestamp::parse(day).unwrap();
    desk.pass(begin.since(desk.now()).as_secs());
    let from = desk.now();
    for (name, cron, zone) in SCHEDULES {
        let more = format!(
            ",\"zone\":{zone:?},\"overlap\":\"cancel\",\"jitterSeconds\":90,\"catchUp\":\"all\",\"catchUpMax\":16"
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
    // A row can still be held by a connection that was given up; whoever looks last finds it free.
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
    for (name, cron, zone) in SCHEDULES {
        let view = desk.app.get_schedule(name).await.unwrap();
        let decided = Timestamp::parse(&view.decided_until).unwrap();
        accounted(&desk.app, name, (cron, zone), (from, decided)).await;
    }
}

#[tokio::test]
async fn controllers_that_end_at_any_moment_double_and_miss_nothing_on_both_changes_of_clocks() {
    let desk = Desk::new().await;
    let (_host, plan) = planned(&desk).await;
    let (mut seed, mut of_fires) = (20_261_122, BTreeMap::<String, u64>::new());
    for day in ["2026-10-24T12:00:00Z", "2027-03-27T12:00:00Z"] {
        Box::pin(a_day(&desk, plan, day, &mut seed)).await;
        for view in desk.app.list_schedules(&Page::default()).await.unwrap().items {
            for fire in history(&desk.app, &view.name).await {
                assert!(["started", "skipped"].contains(&fire.state.as_str()), "{fire:?}");
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
    assert!(of_fires.len() > 50, "{}", of_fires.len());
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
