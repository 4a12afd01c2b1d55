//! Settling runs: a transaction after those that moved their orders, which no controller's death leaves out and which comes last for whoever watches.

use writ_controller::app::{Place, Settled};
use writ_protocol::id::RunId;
use writ_protocol::record::OrderOutcome;
use writ_store::testing::until_held_up;

use super::desk::Desk;
use super::host::Host;

/// Two hosts that have accepted a run's orders.
async fn two_at_work() -> (Desk, [Host; 2], RunId) {
    let desk = Desk::new().await;
    let mut hosts = [Host::enrol(&desk, 1).await, Host::enrol(&desk, 2).await];
    let run = desk.check().await;
    for host in &mut hosts {
        host.accepts(&desk).await;
    }
    assert_eq!(desk.state_of(run).await, "running");
    (desk, hosts, run)
}

/// Ends a host's order without anybody settling its run.
async fn ends(desk: &Desk, host: &mut Host) {
    let manifest = host.manifest(desk).await;
    let first = host.journal.last_seq() + 1;
    host.end(&manifest.predicate.orders[0], &manifest, OrderOutcome::Succeeded);
    let batch = host.journal.batch(first, host.journal.last_seq());
    desk.app.ingest(&[batch], None).await.unwrap();
}

async fn shown(desk: &Desk, run: RunId) -> String {
    desk.app.get_run(run, &Default::default()).await.unwrap().state
}

#[tokio::test]
async fn what_a_controller_left_unsettled_another_settles_once() {
    let (desk, [mut one, mut two], run) = two_at_work().await;
    ends(&desk, &mut one).await;
    ends(&desk, &mut two).await;
    // The controller that took their words is gone before it settled anything.
    assert_eq!(shown(&desk, run).await, "running");
    let other = desk.another(|_| ());
    let settled = other.settle_runs().await.unwrap();
    assert_eq!(
        settled,
        Settled {
            runs: 1,
            ..Settled::default()
        }
    );
    assert_eq!(shown(&desk, run).await, "succeeded");
    assert_eq!(other.settle_runs().await.unwrap(), Settled::default());
}

#[tokio::test]
async fn orders_of_one_run_are_written_while_its_row_is_locked() {
    let (desk, [mut one, mut two], run) = two_at_work().await;
    let mut holder = desk.store.begin("holder").await.unwrap();
    assert_eq!(writ_store::run::lock(&mut holder, &[run]).await.unwrap().len(), 1);
    ends(&desk, &mut one).await;
    ends(&desk, &mut two).await;
    holder.commit().await.unwrap();
    assert_eq!(desk.state_of(run).await, "succeeded");
}

#[tokio::test]
async fn the_end_of_a_run_is_told_after_the_last_word_of_its_hosts() {
    let (desk, [mut one, mut two], run) = two_at_work().await;
    ends(&desk, &mut one).await;
    // Settling has counted, and waits for the run's row, when the last host's word is committed.
    let mut holder = desk.store.begin("holder").await.unwrap();
    writ_store::run::lock(&mut holder, &[run]).await.unwrap();
    let settler = desk.another(|_| ());
    let settling = tokio::spawn(async move { settler.settle_runs().await });
    until_held_up(&desk.store, &settling).await.unwrap();
    ends(&desk, &mut two).await;
    holder.commit().await.unwrap();
    let early = settling.await.unwrap().unwrap();
    assert_eq!(
        early,
        Settled {
            again: true,
            ..Settled::default()
        },
        "the end is not told yet"
    );
    assert_eq!(desk.settles().await, 1);
    let topic = format!("run:{run}");
    let told = desk
        .app
        .feed_after(Place::default(), &[topic], 500)
        .await
        .unwrap();
    let last = told.last().unwrap();
    assert_eq!(
        (last.kind.as_str(), &last.body["state"]),
        ("run.state", &"succeeded".into())
    );
    let ends = told
        .iter()
        .filter(|e| e.body["state"] == "succeeded" && e.kind == "order.state");
    assert_eq!(ends.count(), 2);
}
