//! When the ledger is asked: between orders now and then, and under a lease before it runs out.

use std::sync::Arc;
use std::time::Duration;

use writ_chassis::clock::ManualClock;
use writ_chassis::lifecycle::Lifecycle;
use writ_protocol::exec::StepMode;
use writ_protocol::manifest::OrderKind;
use writ_protocol::record::Record;

use super::eventually;
use crate::link::Incoming;
use crate::tests::scene::{World, manifest, now, order, order_id, step};

#[tokio::test]
async fn a_lease_is_asked_for_at_half_its_time_and_the_next_hello_is_the_clocks_again() {
    let clock = Arc::new(ManualClock::new(now().wall));
    let mut world = World::new(vec![step("a", StepMode::Idempotent, vec![])]);
    world.clock = Arc::<ManualClock>::clone(&clock);
    world.host.hangs.lock().expect("lock").push_back("a".to_owned());
    world.bus.ledger().leases_renewed = true;
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
    let lifecycle = Lifecycle::new(Duration::from_secs(10));
    let handle = lifecycle.handle();
    let (agent, bus) = world.agent(&handle).await;
    handle.spawn("agent", Box::pin(agent.run()));
    let hellos = |count| (world.bus.ledger().hellos == count).then_some(());
    eventually(|| hellos(1)).await;
    eventually(|| (world.host.count("a") == 1).then_some(())).await;

    // Leases are of a minute; by the clock alone the next hello would come after 48 seconds at the earliest.
    for asked in 2..=3 {
        clock.advance(Duration::from_secs(31));
        bus.send(Incoming::Wake(bytes::Bytes::new(), None))
            .await
            .expect("hears");
        eventually(|| hellos(asked)).await;
    }

    let ended = |n: u128| {
        let is_it = |r: &Record| matches!(r, Record::OrderDone(done) if done.order_id == order_id(n));
        world.bus.records().iter().any(is_it).then_some(())
    };
    world.host.hangs.lock().expect("lock").clear();
    *world.host.stopped.0.lock().expect("lock") = true;
    world.host.stopped.1.notify_all();
    let trickle = || clock.advance(Duration::from_millis(1));
    eventually(|| {
        trickle();
        ended(1)
    })
    .await;
    clock.advance(Duration::from_secs(40));
    world.bus.publish(manifest(2, vec![order(2, OrderKind::Apply)]));
    bus.send(Incoming::Wake(bytes::Bytes::new(), None))
        .await
        .expect("hears");
    eventually(|| {
        trickle();
        ended(2)
    })
    .await;
    assert_eq!(
        hellos(3),
        Some(()),
        "nothing is held, so nothing is asked before its time"
    );
    handle.stop();
    lifecycle.run().await.expect("ends well");
}
