//! Cancelling: asked for at once, done when the agent says so or when nobody can answer any more.

use writ_protocol::reason::Code;
use writ_protocol::record::OrderOutcome;

use super::desk::{Desk, code, operator, viewer};
use super::host::Host;

#[tokio::test]
async fn a_cancelled_order_stands_in_the_next_manifest_until_it_ends() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let run = desk.check().await;
    let before = host.accepts(&desk).await;
    assert_eq!(
        code(desk.app.cancel_run(&viewer(), run, "no").await),
        Code::Forbidden
    );
    let view = desk.app.cancel_run(&operator(), run, "stop it").await.unwrap();
    assert!(view.orders[0].cancel_requested);
    assert_eq!(
        view.orders[0].state, "accepted",
        "only the agent knows that it stopped"
    );
    let after = host.manifest(&desk).await;
    assert!(after.predicate.at > before.predicate.at);
    let order = before.predicate.orders[0].order_id;
    assert_eq!(after.predicate.cancelled, [order]);
    desk.app.cancel_run(&operator(), run, "again").await.unwrap();
    host.ends(&desk, &before, OrderOutcome::Aborted).await;
    assert_eq!(desk.state_of(run).await, "aborted");
    let last = host.manifest(&desk).await;
    assert!(last.predicate.orders.is_empty() && last.predicate.cancelled.is_empty());
    assert_eq!(
        code(desk.app.cancel_run(&operator(), run, "late").await),
        Code::Conflict
    );
    let cancelled = desk
        .audited()
        .await
        .into_iter()
        .filter(|(verb, _)| verb == "run.cancel");
    assert_eq!(cancelled.count(), 2);
}

#[tokio::test]
async fn an_order_that_nobody_took_is_cancelled_when_it_expires_and_a_late_word_still_counts() {
    let desk = Desk::new().await;
    let mut host = Host::enrol(&desk, 1).await;
    let run = desk.check().await;
    let manifest = host.manifest(&desk).await;
    desk.app.cancel_run(&operator(), run, "stop it").await.unwrap();
    desk.pass(3_601);
    desk.app.sweep(None).await.unwrap();
    assert_eq!(desk.state_of(run).await, "cancelled");
    let order = desk.order_of(run).await;
    assert_eq!(
        (order.state.as_str(), order.code.as_deref()),
        ("cancelled", Some(&*Code::Cancelled.to_string()))
    );
    // It had been carried out before the cancellation, and the records come now.
    let ordered = manifest.predicate.orders[0].clone();
    host.journal.write(&super::journal::accepted(&ordered, &manifest));
    host.end(&ordered, &manifest, OrderOutcome::Succeeded);
    desk.takes(&[host.journal.all()]).await;
    let order = desk.order_of(run).await;
    assert_eq!(
        (order.state.as_str(), order.code, order.late),
        ("succeeded", None, true)
    );
    assert_eq!(desk.state_of(run).await, "succeeded");
}
