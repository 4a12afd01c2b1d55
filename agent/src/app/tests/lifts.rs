//! A halt that is lifted while the power fails: at whichever write, it holds still or its end is on record. And one that is never lifted.

use std::time::Duration;

use writ_chassis::lifecycle::Lifecycle;
use writ_protocol::exec::StepMode;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::manifest::OrderKind;
use writ_protocol::reason::Code;
use writ_protocol::record::Record;

use super::{die, eventually};
use crate::journal::disk::Disk as _;
use crate::journal::disk::sim::Plan;
use crate::journal::docket::HALTS;
use crate::link::Incoming;
use crate::tests::scene::{World, base64, halt, lift, manifest, order, step};

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

/// Hears a halt, and dies when that is on record.
async fn halt_and_die(world: &World) {
    let lifecycle = Lifecycle::new(Duration::from_secs(1));
    let handle = lifecycle.handle();
    let (agent, bus) = world.agent(&handle).await;
    let task = handle.spawn("agent", Box::pin(agent.run()));
    bus.send(Incoming::Control {
        bytes: halt(HaltAction::Soft, Scope::All, 3).into(),
        addressed: false,
    })
    .await
    .expect("hears");
    eventually(|| observed(world, false).then_some(())).await;
    task.abort();
    eventually(|| (!handle.running().contains(&"agent")).then_some(())).await;
    world.disk.crash();
}

/// The order is refused for the halt, or accepted; whether it was refused.
async fn is_refused(world: &World, generation: u64, lifts: Vec<String>) -> bool {
    let mut next = manifest(generation, vec![order(u128::from(generation), OrderKind::Apply)]);
    (next.control_epoch, next.lifts) = (generation + 50, lifts);
    let wanted = next.orders[0].order_id;
    world.bus.publish(next);
    let verdict = || {
        world.bus.records().into_iter().find_map(|record| match record {
            Record::OrderRefused(refused) if refused.order_id == wanted => Some(refused.code == Code::Halted),
            Record::OrderAccepted(taken) if taken.order_id == wanted => Some(false),
            _ => None,
        })
    };
    die(world, || verdict().map(|_| ())).await;
    verdict().expect("it was waited for")
}

#[tokio::test]
async fn manifests_without_a_halt_do_not_end_it_over_any_number_of_lives() {
    let world = World::new(vec![step("a", StepMode::Idempotent, vec![])]);
    halt_and_die(&world).await;
    assert!(is_refused(&world, 1, vec![]).await, "left out");
    let by_director = base64(&halt(HaltAction::Soft, Scope::All, 2));
    assert!(
        is_refused(&world, 2, vec![by_director]).await,
        "a lift that is none"
    );
    assert!(!observed(&world, true));
    assert!(!is_refused(&world, 3, vec![base64(&lift())]).await, "the lift");
    assert!(observed(&world, true));
}

#[tokio::test]
async fn a_halt_whose_file_is_damaged_goes_on_and_the_ledger_is_told() {
    for place in [0, 5, 40, 400] {
        let world = World::new(vec![step("a", StepMode::Idempotent, vec![])]);
        halt_and_die(&world).await;
        assert!(world.disk.flip(HALTS, place, 3), "there is something at {place}");
        assert!(is_refused(&world, 1, vec![]).await, "damaged at {place}");
        let is_told = |r: &Record| matches!(r, Record::Alarm(alarm) if alarm.code == Code::HaltUnreadable);
        assert!(world.bus.records().iter().any(is_told), "damaged at {place}");
        let length = world.disk.length(HALTS).expect("is there");
        assert!(length > 0, "damaged at {place}: what is left is kept");
        assert!(
            is_refused(&world, 2, vec![]).await,
            "damaged at {place}, the life after"
        );
    }
}
