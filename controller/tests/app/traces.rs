//! Traces at the desk: what a call makes goes on in the trace of the call, and what nobody called for begins its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use writ_controller::app::{Caller, Outcome, Page, Published};
use writ_controller::metrics::ControllerMetrics;
use writ_controller::traces::{Span, Traces};
use writ_protocol::digest::Digest;
use writ_protocol::record::{OrderOutcome, Record, StepOutcome};
use writ_protocol::subject::Shard;
use writ_protocol::trace::TraceContext;
use writ_store::audit::{self, Place};

use super::desk::{CONFIG, Desk, operator, sources};
use super::host::Host;
use super::journal::{accepted, done, step};
use super::schedules::{planned, sets, ticks};

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced(text: &str) -> Caller {
    Caller {
        trace: Some(text.parse().unwrap()),
        ..operator()
    }
}

/// What the relay would publish for a host.
async fn relayed(desk: &Desk, host: &Host) -> Published {
    let shard = Shard::of(&host.keys.user);
    let mut all = desk.app.dirty_manifests(&[shard], 100).await.unwrap();
    all.pop().expect("a manifest that is behind")
}

/// The places that the feed names of a run.
async fn told(desk: &Desk, run: &str) -> Vec<(String, Option<TraceContext>)> {
    let mut tx = desk.store.begin("told").await.unwrap();
    let entries = audit::after(&mut tx, Place::default(), &["runs".to_owned()], 100)
        .await
        .unwrap();
    let named = entries.into_iter().filter(|entry| entry.body["id"] == run);
    named
        .map(|entry| {
            let place = entry.body["traceparent"].as_str();
            (entry.kind, place.and_then(|text| text.parse().ok()))
        })
        .collect()
}

#[tokio::test]
async fn a_run_goes_on_in_the_trace_of_its_call_down_to_its_wake_and_its_end() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let given: TraceContext = GIVEN.parse().unwrap();
    let run = desk
        .app
        .submit_check(&traced(GIVEN), &sources(CONFIG))
        .await
        .unwrap();
    assert_eq!(run.traceparent.as_deref(), Some(GIVEN));

    let wake = relayed(&desk, &host).await.trace.unwrap();
    assert_eq!(wake, given.at(wake.span()), "the same trace");
    assert_ne!(wake.span(), given.span(), "a place of its own");
    let again = relayed(&desk, &host).await.trace;
    assert_eq!(again, Some(wake), "a repeat is the same");

    let manifest = host.accepts(&desk).await;
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    desk.settles().await;
    let shown = desk
        .app
        .get_run(run.id.parse().unwrap(), &Page::default())
        .await
        .unwrap();
    assert_eq!(
        (shown.state.as_str(), shown.traceparent),
        ("succeeded", Some(GIVEN.to_owned()))
    );
    let feed = told(&desk, &run.id).await;
    assert!(feed.len() >= 2, "{feed:?}");
    assert!(feed.iter().all(|(_, place)| *place == Some(given)), "{feed:?}");
    desk.pass(5);
    assert_eq!(relayed(&desk, &host).await.trace, None, "nothing is ordered");
}

#[tokio::test]
async fn a_wake_names_the_newest_order_and_each_run_its_own_trace() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let other = GIVEN.replacen("4b", "5c", 1);
    for text in [GIVEN, &other] {
        let caller = traced(text);
        desk.app.submit_check(&caller, &sources(CONFIG)).await.unwrap();
        desk.pass(1);
        let wake = relayed(&desk, &host).await.trace.unwrap();
        assert_eq!(wake.trace(), caller.trace.unwrap().trace());
    }
}

#[tokio::test]
async fn what_a_schedule_starts_begins_a_trace_each_time() {
    let desk = Desk::new().await;
    let (_host, plan) = planned(&desk).await;
    sets(&desk, "* * * * *", ",\"overlap\":\"cancel\"", plan).await;
    ticks(&desk, 2).await;
    let all = desk.app.list_runs(&Page::default(), None).await.unwrap().items;
    let scheduled = all.iter().filter(|run| run.ordered_by.starts_with("schedule:"));
    let traces: Vec<u128> = scheduled
        .filter_map(|run| run.traceparent.as_deref()?.parse::<TraceContext>().ok())
        .map(|place| place.trace())
        .collect();
    assert_eq!(traces.len(), 2, "{all:?}");
    assert_ne!(traces[0], traces[1]);
}

/// A desk that hands its spans over, and what comes of it.
async fn telling() -> (Desk, mpsc::Receiver<Span>) {
    let mut desk = Desk::new().await;
    let metrics = ControllerMetrics::new().unwrap();
    let (traces, spans) = Traces::queue(metrics.traces);
    desk.app = Arc::new(desk.another(|settings| settings.traces = traces));
    (desk, spans)
}

/// How many came of each name, and of all of them the parents.
fn came(spans: &mut mpsc::Receiver<Span>) -> (BTreeMap<String, u32>, Vec<Span>) {
    let (mut counts, mut all) = (BTreeMap::new(), Vec::new());
    while let Ok(span) = spans.try_recv() {
        *counts.entry(span.name.clone()).or_default() += 1;
        all.push(span);
    }
    (counts, all)
}

fn counts<const N: usize>(wanted: [(&str, u32); N]) -> BTreeMap<String, u32> {
    wanted.map(|(name, count)| (name.to_owned(), count)).into()
}

#[tokio::test]
async fn what_agents_signed_is_told_once_however_often_it_comes() {
    let (desk, mut spans) = telling().await;
    let mut host = Host::enrol(&desk, 1).await;
    desk.app
        .submit_check(&traced(GIVEN), &sources(CONFIG))
        .await
        .unwrap();
    let wake = relayed(&desk, &host).await;
    desk.pass(1);
    desk.app.note_published(std::slice::from_ref(&wake));
    let manifest = host.manifest(&desk).await;
    let order = manifest.predicate.orders[0].clone();
    let first = host.journal.last_seq() + 1;
    host.journal.write(&accepted(&order, &manifest));
    let mut failed = step(&order, StepOutcome::Failed, "no");
    failed.ended_at = failed.started_at.plus(std::time::Duration::from_millis(7));
    host.journal.write(&Record::StepResult(Box::new(failed.clone())));
    let end = done(&order, OrderOutcome::Failed, 5, Digest::of(b"s"));
    host.journal.write(&end);
    let batch = host.journal.batch(first, host.journal.last_seq());
    assert_eq!(
        desk.takes(std::slice::from_ref(&batch)).await,
        [Outcome::Accepted]
    );
    assert_eq!(desk.takes(&[batch]).await, [Outcome::Known]);
    desk.settles().await;
    desk.settles().await;

    let (found, all) = came(&mut spans);
    let each = [
        "order.publish",
        "order.receive",
        "step",
        "order",
        "record.ingest",
        "run",
        "run.settle",
    ];
    assert_eq!(found, counts(each.map(|name| (name, 1))));
    let given: TraceContext = GIVEN.parse().unwrap();
    assert!(all.iter().all(|span| span.place == given.at(span.place.span())));
    let one = |name: &str| all.iter().find(|span| span.name == name).unwrap();
    assert_eq!(one("run").parent, Some(given.span()));
    assert_eq!(one("order").parent, Some(one("run").place.span()));
    assert_eq!(
        one("order.receive").caused_by,
        wake.trace.map(|place| place.span())
    );
    let told = one("step");
    assert_eq!((told.from, told.until), (failed.started_at, failed.ended_at));
    assert_eq!(told.parent, Some(one("order").place.span()));
    for name in ["step", "order", "run"] {
        assert!(one(name).failure.is_some(), "{name} failed");
    }
    assert!(one("order.receive").failure.is_none());
}

#[tokio::test]
async fn an_order_that_is_given_up_is_told_and_its_late_end_is_the_same_span() {
    let (desk, mut spans) = telling().await;
    let mut host = Host::enrol(&desk, 1).await;
    desk.app
        .submit_check(&traced(GIVEN), &sources(CONFIG))
        .await
        .unwrap();
    let manifest = host.accepts(&desk).await;
    came(&mut spans);
    desk.pass(361);
    desk.sweeps().await;
    let (found, given_up) = came(&mut spans);
    assert_eq!(found, counts([("order", 1), ("run", 1), ("run.settle", 1)]));
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    desk.settles().await;
    let (_, late) = came(&mut spans);
    for name in ["order", "run"] {
        let id = |all: &[Span]| all.iter().find(|span| span.name == name).unwrap().place;
        assert_eq!(id(&given_up), id(&late), "{name}");
    }
}

#[tokio::test]
async fn a_trace_that_its_caller_does_not_record_is_carried_and_not_told() {
    let (desk, mut spans) = telling().await;
    let mut host = Host::enrol(&desk, 1).await;
    let caller = traced(&GIVEN.replace("-01", "-00"));
    desk.app.submit_check(&caller, &sources(CONFIG)).await.unwrap();
    let wake = relayed(&desk, &host).await;
    assert_eq!(
        wake.trace.map(|place| place.trace()),
        caller.trace.map(|place| place.trace())
    );
    desk.app.note_published(&[wake]);
    let manifest = host.accepts(&desk).await;
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    desk.settles().await;
    assert_eq!(came(&mut spans).0, BTreeMap::new());
}
