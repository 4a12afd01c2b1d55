//! Schedules at the desk: what is started when, what is skipped and why, and that no controller's end doubles or misses a time.

mod ends;

use std::time::Duration;

use writ_controller::app::view::{FireView, FreezeRule, ScheduleRule, ScheduleView};
use writ_controller::app::{App, Error, NewSchedule, Page, ScheduleKind};
use writ_domain::budget::Mode;
use writ_protocol::digest::Digest;
use writ_protocol::id::RunId;
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;

use super::budgets::{PROJECT, set};
use super::desk::{Desk, admin, code, operator, viewer};
use super::host::Host;

/// A rule in the form that operators send.
pub(crate) fn rule(cron: &str, more: &str) -> ScheduleRule {
    serde_json::from_str(&format!("{{\"cron\":{cron:?}{more}}}")).unwrap()
}

fn new(name: &str, kind: ScheduleKind, plan: Digest, rule: ScheduleRule) -> NewSchedule {
    NewSchedule {
        name: name.to_owned(),
        kind,
        plan: Some(plan),
        rule,
    }
}

/// A host, and a plan that was made for it.
pub(crate) async fn planned(desk: &Desk) -> (Host, Digest) {
    let mut host = Host::enrol(desk, 1).await;
    let run = desk.check().await;
    let manifest = host.accepts(desk).await;
    host.ends(desk, &manifest, OrderOutcome::Succeeded).await;
    desk.settles().await;
    let plan = desk.app.plan_of(run).await.unwrap().digest;
    (host, plan.parse().unwrap())
}

pub(crate) async fn sets(desk: &Desk, cron: &str, more: &str, plan: Digest) -> ScheduleView {
    let wanted = new("nightly", ScheduleKind::Apply, plan, rule(cron, more));
    desk.app.create_schedule(&operator(), wanted).await.unwrap()
}

/// What became of the times so far, the oldest first.
pub(crate) async fn history(app: &App, name: &str) -> Vec<FireView> {
    let (mut all, mut page) = (Vec::new(), Page::default());
    loop {
        let found = app.schedule_history(name, &page).await.unwrap();
        all.extend(found.items);
        page.cursor = found.next;
        if page.cursor.is_none() {
            all.reverse();
            return all;
        }
    }
}

pub(crate) async fn states(desk: &Desk) -> Vec<(String, Option<String>)> {
    let fires = history(&desk.app, "nightly").await.into_iter();
    fires.map(|fire| (fire.state, fire.reason)).collect()
}

pub(crate) fn one(state: &str, reason: Option<&str>) -> (String, Option<String>) {
    (state.to_owned(), reason.map(str::to_owned))
}

/// Lets `minutes` pass, one by one, as a controller that looks all the time would see them.
pub(crate) async fn ticks(desk: &Desk, minutes: u64) {
    for _ in 0..minutes {
        desk.pass(60);
        let done = desk.app.run_schedules().await.unwrap();
        assert_eq!(done.broken, []);
    }
}

#[tokio::test]
async fn a_time_that_comes_orders_the_plan_once_whoever_looks() {
    let desk = Desk::new().await;
    let (_host, plan) = planned(&desk).await;
    let set = sets(&desk, "*/5 * * * *", "", plan).await;
    assert_eq!((set.starts.as_str(), set.queued, set.paused), ("apply", 0, false));
    let next = set.next.unwrap();
    assert_eq!(
        (next.at.as_str(), next.local.as_str()),
        ("2026-09-21T14:15:00Z", "2026-09-21T14:15:00+00:00")
    );
    ticks(&desk, 1).await;
    assert_eq!(states(&desk).await, [], "14:14");
    desk.pass(60);
    let other = desk.another(|_| ());
    let (one, two) = tokio::join!(desk.app.run_schedules(), other.run_schedules());
    let late: Vec<Duration> = [one.unwrap(), two.unwrap()]
        .into_iter()
        .flat_map(|done| done.started)
        .collect();
    assert_eq!(late, [Duration::from_secs(20)], "14:15:20");
    let fires = history(&desk.app, "nightly").await;
    let [fire] = &fires[..] else { panic!("{fires:?}") };
    assert_eq!(
        (fire.state.as_str(), fire.at.as_str(), fire.times),
        ("started", "2026-09-21T14:15:00Z", 1)
    );
    let run: RunId = fire.run_id.as_ref().unwrap().parse().unwrap();
    let run = desk.app.get_run(run, &Page::default()).await.unwrap();
    assert_eq!(
        (run.kind.as_str(), run.ordered_by.as_str()),
        ("apply", "schedule:nightly")
    );
    assert_eq!(
        run.reason.as_deref(),
        Some("schedule nightly at 2026-09-21T14:15:00Z")
    );
    assert_eq!(run.orders.len(), 1);
    let ahead = desk.app.schedule_ahead("nightly", 2).await.unwrap();
    let ahead: Vec<&str> = ahead.iter().map(|tick| tick.at.as_str()).collect();
    assert_eq!(ahead, ["2026-09-21T14:20:00Z", "2026-09-21T14:25:00Z"]);
}

#[tokio::test]
async fn a_scheduled_check_changes_nothing_and_makes_a_plan_of_its_own() {
    let desk = Desk::new().await;
    let (mut host, plan) = planned(&desk).await;
    let wanted = new("drift", ScheduleKind::Check, plan, rule("@hourly", ""));
    desk.app.create_schedule(&operator(), wanted).await.unwrap();
    ticks(&desk, 50).await;
    let fires = history(&desk.app, "drift").await;
    let run: RunId = fires[0].run_id.as_ref().unwrap().parse().unwrap();
    let view = desk.app.get_run(run, &Page::default()).await.unwrap();
    assert_eq!(view.kind, "check");
    let manifest = host.accepts(&desk).await;
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    assert_eq!(desk.state_of(run).await, "succeeded");
    desk.app.plan_of(run).await.unwrap();
}

#[tokio::test]
async fn nothing_is_scheduled_that_nobody_may_order_or_that_never_comes() {
    let desk = Desk::new().await;
    let (_host, plan) = planned(&desk).await;
    let asks = async |change: &dyn Fn(&mut NewSchedule)| {
        let mut wanted = new("nightly", ScheduleKind::Apply, plan, rule("0 2 * * *", ""));
        change(&mut wanted);
        code(desk.app.create_schedule(&operator(), wanted).await)
    };
    assert_eq!(
        asks(&|new| new.plan = Some(Digest::of(b"nobody's"))).await,
        Code::NotFound
    );
    assert_eq!(asks(&|new| new.plan = None).await, Code::Malformed);
    for name in [
        "",
        "Nightly",
        "a b",
        "-a",
        "schedule_00000000000000000000000000000007",
        &"a".repeat(65),
    ] {
        assert_eq!(
            asks(&|new| name.clone_into(&mut new.name)).await,
            Code::Malformed,
            "{name:?}"
        );
    }
    let wanted = new("nightly", ScheduleKind::Apply, plan, rule("0 2 * * *", ""));
    assert_eq!(
        code(desk.app.create_schedule(&viewer(), wanted.clone()).await),
        Code::Forbidden
    );
    desk.app
        .create_schedule(&operator(), wanted.clone())
        .await
        .unwrap();
    assert_eq!(
        code(desk.app.create_schedule(&operator(), wanted).await),
        Code::Conflict
    );
    assert_eq!(code(desk.app.get_schedule("weekly").await), Code::NotFound);
    assert_eq!(
        code(desk.app.pause_schedule(&viewer(), "nightly", (true, "")).await),
        Code::Forbidden
    );
    assert_eq!(
        code(desk.app.remove_schedule(&viewer(), "nightly", "").await),
        Code::Forbidden
    );
}

#[tokio::test]
async fn a_rule_that_is_none_is_refused() {
    let desk = Desk::new().await;
    let (_host, plan) = planned(&desk).await;
    for (cron, more) in [
        ("0 2 * *", ""),
        ("0 0 30 2 *", ""),
        ("0 2 * * *", ",\"zone\":\"Mars/Olympus\""),
        ("0 2 * * *", ",\"jitterSeconds\":86401"),
        ("0 2 * * *", ",\"catchUp\":\"all\""),
        ("0 2 * * *", ",\"catchUp\":\"all\",\"catchUpMax\":17"),
        ("0 2 * * *", ",\"catchUp\":\"latest\",\"catchUpMax\":1"),
        ("0 2 * * *", ",\"overlap\":\"replace\""),
        (
            "0 2 * * *",
            ",\"windows\":[{\"opens\":\"0 22 * * *\",\"minutes\":0}]",
        ),
        (
            "0 2 * * *",
            ",\"windows\":[{\"opens\":\"0 25 * * *\",\"minutes\":1}]",
        ),
        (
            "0 2 * * *",
            ",\"freezes\":[{\"from\":\"2026-12-02T00:00:00Z\",\"until\":\"2026-12-01T00:00:00Z\"}]",
        ),
    ] {
        let wanted = new("nightly", ScheduleKind::Apply, plan, rule(cron, more));
        let refused = code(desk.app.create_schedule(&operator(), wanted).await);
        assert_eq!(refused, Code::Malformed, "{cron} {more}");
    }
}

#[tokio::test]
async fn paused_frozen_and_missed_times_are_skipped_with_their_reason() {
    let desk = Desk::new().await;
    let (_host, plan) = planned(&desk).await;
    let freeze = FreezeRule {
        from: "2026-09-21T14:25:00Z".to_owned(),
        until: "2026-09-21T14:30:00Z".to_owned(),
    };
    let more = format!(
        ",\"catchUp\":\"none\",\"freezes\":[{}]",
        serde_json::to_string(&freeze).unwrap()
    );
    sets(&desk, "*/5 * * * *", &more, plan).await;
    desk.app
        .pause_schedule(&operator(), "nightly", (true, "release week"))
        .await
        .unwrap();
    ticks(&desk, 8).await;
    let view = desk
        .app
        .pause_schedule(&operator(), "nightly", (false, ""))
        .await
        .unwrap();
    assert!(!view.paused);
    ticks(&desk, 9).await;
    // Nobody looks for a quarter of an hour.
    desk.pass(15 * 60);
    ticks(&desk, 1).await;
    let skipped = |why| one("skipped", Some(why));
    assert_eq!(
        states(&desk).await,
        [
            skipped("paused"),
            skipped("paused"),
            skipped("frozen"),
            one("started", None),
            skipped("missed")
        ]
    );
    let last = history(&desk.app, "nightly").await.pop().unwrap();
    assert_eq!((last.times, last.through.as_str()), (3, "2026-09-21T14:45:00Z"));
    let audited = desk.audited().await;
    for verb in ["schedule.create", "schedule.pause", "schedule.resume"] {
        assert!(
            audited.contains(&(verb.to_owned(), "nightly".to_owned())),
            "{verb}"
        );
    }
}

#[tokio::test]
async fn what_waits_is_started_when_the_one_before_has_ended() {
    let desk = Desk::new().await;
    let (mut host, plan) = planned(&desk).await;
    sets(&desk, "*/5 * * * *", ",\"overlap\":\"queue\"", plan).await;
    ticks(&desk, 12).await;
    let waits = one("queued", None);
    assert_eq!(
        states(&desk).await,
        [one("started", None), waits.clone(), waits.clone()]
    );
    assert_eq!(desk.app.get_schedule("nightly").await.unwrap().queued, 2);
    let manifest = host.accepts(&desk).await;
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    desk.settles().await;
    let done = desk.app.run_schedules().await.unwrap();
    assert_eq!(done.started.len(), 1, "one at a time");
    assert_eq!(
        states(&desk).await,
        [one("started", None), one("started", None), waits]
    );
    desk.app
        .remove_schedule(&operator(), "nightly", "")
        .await
        .unwrap();
    assert_eq!(code(desk.app.get_schedule("nightly").await), Code::NotFound);
    let runs = desk.app.list_runs(&Page::default(), None).await.unwrap().items;
    assert_eq!(
        runs.iter().filter(|run| run.kind == "apply").count(),
        2,
        "what runs goes on"
    );
    ticks(&desk, 6).await;
    assert_eq!(
        desk.app
            .list_runs(&Page::default(), None)
            .await
            .unwrap()
            .items
            .len(),
        runs.len()
    );
    sets(&desk, "@daily", "", plan).await;
}

#[tokio::test]
async fn an_overlap_skips_or_cancels_as_it_was_set() {
    let desk = Desk::new().await;
    let (host, plan) = planned(&desk).await;
    sets(&desk, "*/5 * * * *", "", plan).await;
    ticks(&desk, 7).await;
    assert_eq!(
        states(&desk).await,
        [one("started", None), one("skipped", Some("overlap"))]
    );
    desk.app
        .remove_schedule(&operator(), "nightly", "")
        .await
        .unwrap();
    sets(&desk, "*/5 * * * *", ",\"overlap\":\"cancel\"", plan).await;
    ticks(&desk, 10).await;
    let fires = history(&desk.app, "nightly").await;
    let runs: Vec<RunId> = fires
        .iter()
        .map(|fire| fire.run_id.as_ref().unwrap().parse().unwrap())
        .collect();
    assert_eq!(runs.len(), 2);
    assert_eq!(desk.order_of(runs[0]).await.state, "pending");
    let manifest = host.manifest(&desk).await;
    assert_eq!(
        manifest.predicate.cancelled.len(),
        1,
        "the agent is told to stop the first"
    );
}

#[tokio::test]
async fn what_cannot_be_started_is_written_down_and_the_next_time_comes() {
    let desk = Desk::new().await;
    let (host, plan) = planned(&desk).await;
    sets(&desk, "*/5 * * * *", "", plan).await;
    let id = host.identity.agent_id.to_string();
    desk.app.quarantine_agent(&admin(), &id, "odd").await.unwrap();
    ticks(&desk, 2).await;
    desk.app.release_agent(&admin(), &id, "fine").await.unwrap();
    set(&desk, PROJECT, Mode::Enforce, 1).await.unwrap();
    ticks(&desk, 5).await;
    set(&desk, PROJECT, Mode::Enforce, 10_000_000).await.unwrap();
    ticks(&desk, 5).await;
    let failed = |why: Code| one("failed", Some(&why.to_string()));
    assert_eq!(
        states(&desk).await,
        [
            failed(Code::Conflict),
            failed(Code::BudgetExhausted),
            one("started", None)
        ]
    );
    let fires = history(&desk.app, "nightly").await;
    assert!(
        fires[0].detail.as_ref().unwrap().contains("quarantined"),
        "{fires:?}"
    );
    assert_eq!(desk.app.get_budget(PROJECT).await.unwrap().refused, 1);
    let runs = desk.app.list_runs(&Page::default(), None).await.unwrap().items;
    assert_eq!(
        runs.iter().filter(|run| run.kind == "apply").count(),
        1,
        "nothing is left of what failed"
    );
}

#[tokio::test]
async fn a_ledger_that_fails_in_the_midst_leaves_the_time_for_the_next_look() -> Result<(), Error> {
    let desk = Desk::new().await;
    let (_host, plan) = planned(&desk).await;
    sets(&desk, "*/5 * * * *", "", plan).await;
    desk.pass(120);
    // Everything of the start is written before this fails.
    writ_store::testing::break_writes(&desk.store, "schedule")
        .await
        .unwrap();
    let done = desk.app.run_schedules().await?;
    assert_eq!(
        (done.started.len(), done.broken.len()),
        (0, 1),
        "set aside, and nobody is held up by it"
    );
    assert_eq!(states(&desk).await, []);
    writ_store::testing::mend_writes(&desk.store).await.unwrap();
    assert_eq!(desk.app.run_schedules().await?.started.len(), 1);
    let runs = desk.app.list_runs(&Page::default(), None).await?.items;
    assert_eq!(runs.iter().filter(|run| run.kind == "apply").count(), 1);
    Ok(())
}
