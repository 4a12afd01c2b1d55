//! A halt that is lifted while the power fails: at whichever write, it holds still or its end is on record.

use std::time::Duration;

use writ_chassis::lifecycle::Lifecycle;
use writ_protocol::exec::StepMode;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::manifest::OrderKind;
use writ_protocol::record::Record;

use super::{die, eventually};
use crate::journal::disk::sim::Plan;
use crate::link::Incoming;
use crate::tests::scene::{World, halt, lift, manifest, order, step};

/// More than a lift writes; that the last of them is not reached is asserted.
const WRITES: u64 = 24;

fn observed(world: &World, is_lifted: bool) -> bool {
    let is_it = |r: &Record| matches!(r, Record::HaltObserved(seen) if seen.lifted == is_lifted);
    world.bus.records().iter().any(is_it)
}

/// Sends a halt, then its lift, and cuts the power at the `crash_at`th write after it; whether it came to that.
async fn lift_and_crash(world: &World, crash_at: u64) -> bool {
    let lifecycle = Lifecycle::new(Duration::from_secs(1));
    let handle = lifecycle.handle();
    let (agent, bus) = world.agent(&handle).await;
    let task = handle.spawn("agent", Box::pin(agent.run()));
    let say = |bytes: Vec<u8>| {
        bus.send(Incoming::Control {
            bytes: bytes.into(),
            addressed: false,
        })
    };
    say(halt(HaltAction::Soft, Scope::All, 3)).await.expect("hears");
    eventually(|| observed(world, false).then_some(())).await;
    world.disk.set_plan(Plan {
        crash_at: Some(crash_at),
        ..Plan::default()
    });
    say(lift()).await.expect("hears");
    let fell = eventually(|| {
        let is_down = !handle.running().contains(&"agent");
        (is_down || observed(world, true)).then_some(is_down)
    })
    .await;
    task.abort();
    eventually(|| (!handle.running().contains(&"agent")).then_some(())).await;
    world.disk.crash();
    world.disk.set_plan(Plan::default());
    fell
}

#[tokio::test]
async fn a_halt_never_ends_without_a_word_wherever_the_power_fails() {
    let mut cut = 0;
    for crash_at in 1..=WRITES {
        let world = World::new(vec![step("a", StepMode::Idempotent, vec![])]);
        cut += u64::from(lift_and_crash(&world, crash_at).await);
        world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
        let said = |is_it: fn(&Record) -> bool| world.bus.records().iter().any(is_it);
        let refused = || said(|r| matches!(r, Record::OrderRefused(_)));
        let accepted = || said(|r| matches!(r, Record::OrderAccepted(_)));
        die(&world, || (refused() || accepted()).then_some(())).await;
        // Records come in order: what was said before an acceptance is there when it is.
        assert!(
            refused() || observed(&world, true),
            "cut at write {crash_at}: nothing halts any more, and nobody said so"
        );
    }
    assert!(
        (2..WRITES).contains(&cut),
        "{cut} of the crashes fell into the lift"
    );
}
