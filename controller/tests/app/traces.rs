//! Traces at the desk: what a call makes goes on in the trace of the call, and what nobody called for begins its own.

use writ_controller::app::{Caller, Page, Published};
use writ_protocol::subject::Shard;
use writ_protocol::trace::TraceContext;
use writ_store::audit::{self, Place};

use super::desk::{CONFIG, Desk, operator, sources};
use super::host::Host;
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
    host.ends(&desk, &manifest, writ_protocol::record::OrderOutcome::Succeeded)
        .await;
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
