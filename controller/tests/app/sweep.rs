//! The sweeper: whatever waits has a deadline, and time alone brings it to an end.

use std::time::Duration;

use writ_controller::app::{Caller, NewToken, OperatorRole, Place, RequestKey, SweepReport};
use writ_domain::order::OrderState;
use writ_domain::run::RunState;
use writ_protocol::digest::Digest;
use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;

use super::desk::{Desk, admin, operator};
use super::host::Host;
use super::journal::accepted;

#[tokio::test]
async fn an_order_that_nobody_answers_expires_and_not_a_moment_before() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let run = desk.check().await;
    let before = host.manifest(&desk).await.predicate.at;
    desk.pass(3_599);
    assert_eq!(desk.app.sweep(None).await.unwrap(), SweepReport::default());
    assert_eq!(desk.state_of(run).await, "queued");
    desk.pass(1);
    assert_eq!(desk.sweeps().await.orders, 1);
    let order = desk.order_of(run).await;
    assert_eq!(
        (order.state.as_str(), order.code.as_deref()),
        ("expired", Some(&*Code::Expired.to_string()))
    );
    assert_eq!(order.ended_at, Some(desk.now().to_string()));
    let view = desk.app.get_run(run, &Default::default()).await.unwrap();
    assert_eq!(
        (view.state.as_str(), view.ended_at),
        ("unresolved", Some(desk.now().to_string()))
    );
    let after = host.manifest(&desk).await.into_inner().predicate;
    assert!(after.orders.is_empty() && after.at > before, "its agent is told");
    assert!(desk.app.outstanding_bundles().await.unwrap().is_empty());
    assert_eq!(
        desk.app.sweep(None).await.unwrap(),
        SweepReport::default(),
        "once"
    );
}

#[tokio::test]
async fn an_order_whose_agent_falls_silent_is_unresolved_two_leases_after_its_last_word() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let run = desk.check().await;
    desk.pass(1_000);
    let manifest = host.accepts(&desk).await;
    desk.pass(359);
    desk.app.sweep(None).await.unwrap();
    assert_eq!(desk.order_of(run).await.state, "accepted");
    desk.pass(1);
    desk.app.sweep(None).await.unwrap();
    let order = desk.order_of(run).await;
    assert_eq!(
        (order.state.as_str(), order.code.as_deref()),
        ("unresolved", Some(&*Code::Unresolved.to_string()))
    );
    assert_eq!(desk.state_of(run).await, "unresolved");
    // The journal says what happened, whenever it comes.
    desk.pass(100_000);
    host.ends(&desk, &manifest, OrderOutcome::Succeeded).await;
    let order = desk.order_of(run).await;
    assert_eq!(
        (order.state.as_str(), order.late, order.code),
        ("succeeded", true, None)
    );
    assert_eq!(desk.state_of(run).await, "succeeded");
}

/// An acceptance that comes after the expiry brings the order back, without the end and the reason that were guessed.
#[tokio::test]
async fn a_word_that_comes_after_the_guess_takes_the_guess_back() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let run = desk.check().await;
    let manifest = host.manifest(&desk).await;
    let order = manifest.predicate.orders[0].clone();
    desk.pass(3_601);
    desk.app.sweep(None).await.unwrap();
    host.journal.write(&accepted(&order, &manifest));
    desk.takes(&[host.journal.all()]).await;
    let view = desk.order_of(run).await;
    assert_eq!(
        (view.state.as_str(), view.ended_at, view.code, view.detail),
        ("accepted", None, None, None)
    );
    let view = desk.app.get_run(run, &Default::default()).await.unwrap();
    assert_eq!((view.state.as_str(), view.ended_at), ("running", None));
    desk.pass(361);
    desk.app.sweep(None).await.unwrap();
    assert_eq!(
        desk.order_of(run).await.state,
        "unresolved",
        "it has a deadline again"
    );
    host.ends(&desk, &manifest, OrderOutcome::Stopped).await;
    let view = desk.order_of(run).await;
    assert_eq!((view.state.as_str(), view.late), ("stopped", true));
    assert_eq!(desk.state_of(run).await, "stopped");
}

/// From every state that waits, time alone leads to an end: here for every state of the rulebook that is not an end.
#[tokio::test]
async fn every_waiting_state_ends_when_time_passes() {
    let waiting: Vec<_> = OrderState::ALL.into_iter().filter(|s| !s.is_terminal()).collect();
    assert_eq!(
        waiting,
        // What is held waits for the ends of others, all of which come by what is below; the tests of rollouts have its way out.
        [OrderState::Pending, OrderState::Accepted, OrderState::Held],
        "a new waiting state needs its way out below"
    );
    let waiting: Vec<_> = RunState::ALL.into_iter().filter(|s| !s.is_terminal()).collect();
    assert_eq!(waiting, [RunState::Queued, RunState::Running]);
    let desk = Desk::new().await;
    let mut hosts = [Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await];
    let mut runs = Vec::new();
    // Nobody answers; one does; both do; one ends and one falls silent; cancelled before and after an answer.
    for case in 0..6 {
        let run = desk.check().await;
        runs.push(run);
        for (n, host) in hosts.iter_mut().enumerate() {
            let takes = match case {
                0 | 4 => false,
                1 => n == 0,
                _ => true,
            };
            let manifest = host.manifest(&desk).await;
            let order = manifest
                .predicate
                .orders
                .iter()
                .find(|o| o.run_id == run)
                .unwrap()
                .clone();
            let first = host.journal.last_seq() + 1;
            if takes {
                host.journal.write(&accepted(&order, &manifest));
            }
            if case == 3 && n == 0 {
                host.end(&order, &manifest, OrderOutcome::Succeeded);
            }
            if host.journal.last_seq() >= first {
                desk.takes(&[host.journal.batch(first, host.journal.last_seq())])
                    .await;
            }
        }
        if case > 3 {
            desk.app.cancel_run(&operator(), run, "stop").await.unwrap();
        }
    }
    let mut passes = 0;
    while desk.sweeps().await != SweepReport::default() || passes < 200 {
        desk.pass(120);
        passes += 1;
        assert!(passes < 1_000, "the sweeper always finds something");
    }
    let mut ended = Vec::new();
    for run in runs {
        ended.push(desk.state_of(run).await);
    }
    assert_eq!(
        ended,
        [
            "unresolved",
            "unresolved",
            "unresolved",
            "unresolved",
            "cancelled",
            "unresolved"
        ]
    );
}

#[tokio::test]
async fn a_manifest_is_signed_again_before_it_ends() {
    let desk = Desk::new().await;
    let host = Host::enrol(&desk, 1).await;
    let before = host.manifest(&desk).await.into_inner().predicate;
    desk.pass(12 * 3_600);
    assert_eq!(desk.app.upkeep(None).await.unwrap().manifests, 0);
    desk.pass(1);
    assert_eq!(desk.app.upkeep(None).await.unwrap().manifests, 1);
    let after = host.manifest(&desk).await.into_inner().predicate;
    assert!(after.at > before.at && after.expires_at > before.expires_at);
    assert_eq!(desk.app.upkeep(None).await.unwrap().manifests, 0);
}

#[tokio::test]
async fn answers_and_changes_are_forgotten_after_a_day() {
    let desk = Desk::new().await;
    let caller = Caller {
        request: Some(RequestKey::new("k", Digest::of(b"request")).unwrap()),
        ..admin()
    };
    let new = NewToken {
        name: "ci".to_owned(),
        role: OperatorRole::Viewer,
        ttl: None,
    };
    desk.app.create_token(&caller, new).await.unwrap();
    Host::enrol(&desk, 1).await;
    let told = desk.app.feed_after(Place::default(), &[], 10).await.unwrap();
    assert_eq!(told.len(), 1);
    let newest = desk.app.feed_newest().await.unwrap();
    assert_eq!(newest.to_string(), told[0].id);
    assert!(desk.app.feed_holds(newest).await.unwrap());
    desk.pass(24 * 3_600);
    assert_eq!(desk.app.upkeep(None).await.unwrap().forgotten, 0);
    assert!(desk.app.answered(&caller).await.unwrap().is_some());
    desk.pass(1);
    assert_eq!(desk.app.upkeep(None).await.unwrap().forgotten, 2);
    assert!(!desk.app.feed_holds(newest).await.unwrap());
    assert!(desk.app.feed_holds(Place::default()).await.unwrap());
    assert_eq!(desk.app.answered(&caller).await.unwrap(), None);
}

#[tokio::test]
async fn two_sweepers_at_once_tell_of_each_order_once() {
    let desk = Desk::new().await;
    for n in 1..=3 {
        Host::enrol(&desk, n).await;
    }
    let run = desk.check().await;
    let other = desk.another(|_| ());
    desk.pass(3_601);
    let newest = desk.app.feed_newest().await.unwrap();
    let (a, b) = tokio::join!(desk.app.sweep(None), other.sweep(None));
    assert_eq!(a.unwrap().orders + b.unwrap().orders, 3);
    assert_eq!(desk.state_of(run).await, "unresolved");
    let told = desk
        .app
        .feed_after(newest, &[format!("run:{run}")], 100)
        .await
        .unwrap();
    assert_eq!(told.iter().filter(|t| t.kind == "order.state").count(), 3);
    assert_eq!(desk.app.settings().lease, Duration::from_secs(180));
}
