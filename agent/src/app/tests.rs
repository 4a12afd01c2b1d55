//! The agent as a whole, on a disk in memory, against a ledger in memory and a host that only pretends.

mod ahead;
mod bundles;
mod clocks;
mod leases;
mod lifts;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use writ_chassis::lifecycle::Lifecycle;
use writ_protocol::evidence::Execution;
use writ_protocol::exec::StepMode;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::manifest::OrderKind;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderDone, OrderOutcome, Record, StepOutcome};
use writ_protocol::trust::Keyring;

use crate::link::Incoming;
use crate::tests::scene::{World, halt, key, manifest, order, order_id, signed, step};

/// Waits until `look` finds something; the bound is only for a test that would hang.
async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("happens in time")
}

fn done(world: &World) -> Option<OrderDone> {
    world.bus.records().into_iter().find_map(|record| match record {
        Record::OrderDone(done) => Some(done),
        _ => None,
    })
}

fn results(world: &World) -> Vec<(String, StepOutcome, u32)> {
    let records = world.bus.records().into_iter();
    records
        .filter_map(|record| match record {
            Record::StepResult(result) => Some((result.step, result.outcome, result.attempt)),
            _ => None,
        })
        .collect()
}

/// One life: from start until the order's end reached the ledger, then a quiet stop.
async fn live(world: &World) -> OrderDone {
    let lifecycle = Lifecycle::new(Duration::from_secs(10));
    let handle = lifecycle.handle();
    let (agent, _bus) = world.agent(&handle).await;
    handle.spawn("agent", Box::pin(agent.run()));
    let end = eventually(|| done(world)).await;
    handle.stop();
    lifecycle.run().await.expect("ends well");
    end
}

/// One life that is cut off: until `look` says so, then the process is gone and what was not durable with it.
async fn die<T>(world: &World, look: impl FnMut() -> Option<T>) {
    let lifecycle = Lifecycle::new(Duration::from_secs(1));
    let handle = lifecycle.handle();
    let (agent, bus) = world.agent(&handle).await;
    let task = handle.spawn("agent", Box::pin(agent.run()));
    eventually(look).await;
    task.abort();
    drop(bus);
    world
        .host
        .stopped
        .0
        .lock()
        .map(|mut told| *told = true)
        .expect("lock");
    world.host.stopped.1.notify_all();
    eventually(|| (!handle.running().contains(&"agent")).then_some(())).await;
    // A step that hangs has heard it, or it would hang on when the word is taken back.
    eventually(|| (world.host.hanging.load(Ordering::SeqCst) == 0).then_some(())).await;
    world.disk.crash();
    world
        .host
        .stopped
        .0
        .lock()
        .map(|mut told| *told = false)
        .expect("lock");
}

#[tokio::test]
async fn an_order_is_carried_out_and_proven() {
    let world = World::new(vec![
        step("a", StepMode::Checked, vec![]),
        step("b", StepMode::Checked, vec![0]),
    ]);
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
    let end = live(&world).await;
    assert_eq!(
        (end.outcome, end.changed, end.failed),
        (OrderOutcome::Succeeded, 2, 0)
    );
    let records = world.bus.records();
    let envelope = records.iter().find_map(|record| match record {
        Record::Signed(signed) => Some(signed.envelope.clone()),
        _ => None,
    });
    let statement =
        Keyring::open_agent::<Execution>(&envelope.expect("there"), &key(6).public()).expect("verifies");
    assert_eq!(*statement.payload_digest(), end.statement);
    assert_eq!(statement.predicate.steps.len(), 2);
    let place = |wanted: fn(&Record) -> bool| records.iter().position(wanted).expect("there");
    let accepted = place(|r| matches!(r, Record::OrderAccepted(_)));
    assert_eq!(statement.predicate.first_seq, accepted as u64 + 1);
    assert!(place(|r| matches!(r, Record::HighWater(_))) < accepted);
    assert!(place(|r| matches!(r, Record::StepIntent(_))) < place(|r| matches!(r, Record::StepResult(_))));
    assert!(
        records
            .iter()
            .any(|r| matches!(r, Record::BlobChunk(chunk) if chunk.bytes == b"working\n"))
    );
}

#[tokio::test]
async fn a_check_changes_nothing() {
    let world = World::new(vec![step("a", StepMode::Checked, vec![])]);
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Check)]));
    assert_eq!(live(&world).await.outcome, OrderOutcome::Succeeded);
    assert_eq!(results(&world), [("a".to_owned(), StepOutcome::WouldChange, 1)]);
    assert_eq!(world.host.count("a"), 0);
    assert!(
        !world
            .bus
            .records()
            .iter()
            .any(|r| matches!(r, Record::StepIntent(_)))
    );
}

#[tokio::test]
async fn an_order_that_is_done_is_not_done_again_in_another_life() {
    let world = World::new(vec![step("a", StepMode::Checked, vec![])]);
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
    live(&world).await;
    world.host.satisfied.lock().expect("lock").clear();
    world.bus.publish(manifest(2, vec![order(1, OrderKind::Apply)]));
    let hellos = world.bus.ledger().hellos;
    die(&world, || (world.bus.ledger().hellos > hellos).then_some(())).await;
    assert_eq!(world.host.count("a"), 1);
}

/// A crash while step `a` is under way; the next life starts with the lease renewed by the ledger.
async fn crash_and_recover(mode: StepMode, took_effect: bool) -> (World, OrderDone) {
    let world = World::new(vec![
        step("a", mode, vec![]),
        step("b", StepMode::Checked, vec![]),
    ]);
    world.host.hangs.lock().expect("lock").push_back("a".to_owned());
    world.bus.ledger().leases_renewed = true;
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
    die(&world, || (world.host.count("a") == 1).then_some(())).await;
    world.host.hangs.lock().expect("lock").clear();
    if took_effect {
        world.host.satisfied.lock().expect("lock").push("a".to_owned());
    }
    let world = World {
        boot_id: "another boot".to_owned(),
        ..world
    };
    let end = live(&world).await;
    (world, end)
}

#[tokio::test]
async fn after_a_crash_an_idempotent_step_runs_again() {
    let (world, end) = crash_and_recover(StepMode::Idempotent, false).await;
    assert_eq!((end.outcome, world.host.count("a")), (OrderOutcome::Succeeded, 2));
    assert_eq!(
        results(&world).first(),
        Some(&("a".to_owned(), StepOutcome::Changed, 2))
    );
}

#[tokio::test]
async fn after_a_crash_a_checked_step_runs_only_where_the_check_says_so() {
    let (world, end) = crash_and_recover(StepMode::Checked, true).await;
    assert_eq!((end.outcome, world.host.count("a")), (OrderOutcome::Succeeded, 1));
    let (world, end) = crash_and_recover(StepMode::Checked, false).await;
    assert_eq!((end.outcome, world.host.count("a")), (OrderOutcome::Succeeded, 2));
}

#[tokio::test]
async fn after_a_crash_a_once_step_never_runs_again_and_nothing_after_it() {
    let (world, end) = crash_and_recover(StepMode::Once, false).await;
    assert_eq!(
        (end.outcome, end.code),
        (OrderOutcome::Indeterminate, Some(Code::Indeterminate))
    );
    assert_eq!((world.host.count("a"), world.host.count("b")), (1, 0));
}

#[tokio::test]
async fn a_stop_ends_the_order_between_steps_and_says_so() {
    let world = World::new(vec![
        step("a", StepMode::Checked, vec![]),
        step("b", StepMode::Checked, vec![]),
    ]);
    world.host.hangs.lock().expect("lock").push_back("a".to_owned());
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
    let lifecycle = Lifecycle::new(Duration::from_secs(30));
    let handle = lifecycle.handle();
    let (mut agent, _bus) = world.agent(&handle).await;
    agent.options.drain = Duration::from_millis(50);
    handle.spawn("agent", Box::pin(agent.run()));
    eventually(|| (world.host.count("a") == 1).then_some(())).await;
    handle.stop();
    lifecycle.run().await.expect("ends well");
    let end = done(&world).expect("the end reached the ledger");
    assert_eq!(
        (end.outcome, end.code),
        (OrderOutcome::Stopped, Some(Code::Draining))
    );
    assert_eq!(world.host.count("b"), 0);
}

#[tokio::test]
async fn a_hard_halt_kills_the_step_and_leaves_a_signed_abort() {
    let world = World::new(vec![step("a", StepMode::Checked, vec![])]);
    world.host.hangs.lock().expect("lock").push_back("a".to_owned());
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
    let lifecycle = Lifecycle::new(Duration::from_secs(10));
    let handle = lifecycle.handle();
    let (agent, bus) = world.agent(&handle).await;
    handle.spawn("agent", Box::pin(agent.run()));
    eventually(|| (world.host.count("a") == 1).then_some(())).await;
    let forged = halt(HaltAction::Hard, Scope::All, 2).into();
    bus.send(Incoming::Control {
        bytes: forged,
        addressed: false,
    })
    .await
    .expect("hears");
    let hard = halt(HaltAction::Hard, Scope::All, 3).into();
    bus.send(Incoming::Control {
        bytes: hard,
        addressed: false,
    })
    .await
    .expect("hears");
    let end = eventually(|| done(&world)).await;
    assert_eq!(
        (end.outcome, end.code),
        (OrderOutcome::Aborted, Some(Code::Halted))
    );
    let halts = world
        .bus
        .records()
        .into_iter()
        .filter(|r| matches!(r, Record::HaltObserved(_)))
        .count();
    assert_eq!(halts, 1);
    world.bus.publish(manifest(
        2,
        vec![order(1, OrderKind::Apply), order(2, OrderKind::Apply)],
    ));
    bus.send(Incoming::Wake(b"noise"[..].into(), None))
        .await
        .expect("hears");
    let refused = eventually(|| {
        world.bus.records().into_iter().find_map(|record| match record {
            Record::OrderRefused(refused) => Some(refused),
            _ => None,
        })
    });
    assert_eq!(
        refused.await.code,
        Code::Halted,
        "what comes under a halt is refused"
    );
    handle.stop();
    lifecycle.run().await.expect("ends well");
}

#[tokio::test]
async fn without_a_ledger_work_goes_on_and_the_evidence_waits() {
    let world = World::new(vec![step("a", StepMode::Checked, vec![])]);
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
    world.host.hangs.lock().expect("lock").push_back("a".to_owned());
    let lifecycle = Lifecycle::new(Duration::from_secs(10));
    let handle = lifecycle.handle();
    let (agent, bus) = world.agent(&handle).await;
    let metrics = agent.metrics.clone();
    handle.spawn("agent", Box::pin(agent.run()));
    eventually(|| (world.host.count("a") == 1).then_some(())).await;
    world.bus.ledger().is_down = true;
    bus.send(Incoming::Disconnected).await.expect("hears");
    world
        .host
        .stopped
        .0
        .lock()
        .map(|mut told| *told = true)
        .expect("lock");
    world.host.stopped.1.notify_all();
    eventually(|| (metrics.orders_done.get() == 1).then_some(())).await;
    assert!(done(&world).is_none(), "it waits for the ledger");
    world.bus.ledger().is_down = false;
    bus.send(Incoming::Connected).await.expect("hears");
    assert_eq!(eventually(|| done(&world)).await.outcome, OrderOutcome::Failed);
    handle.stop();
    lifecycle.run().await.expect("ends well");
}

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("lists").count()
}

#[tokio::test]
async fn many_agents_live_in_one_process_without_threads_of_their_own() {
    const AGENTS: usize = 200;
    let before = threads();
    let lifecycle = Lifecycle::new(Duration::from_secs(30));
    let handle = lifecycle.handle();
    let (mut worlds, mut buses) = (Vec::new(), Vec::new());
    for _ in 0..AGENTS {
        let mut world = World::new(vec![step("a", StepMode::Checked, vec![])]);
        world.host = std::sync::Arc::new(crate::tests::host::FakeHost {
            steps: vec![step("a", StepMode::Checked, vec![])],
            inline: true,
            ..Default::default()
        });
        world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
        let (agent, bus) = world.agent(&handle).await;
        handle.spawn("agent", Box::pin(agent.run()));
        worlds.push(world);
        buses.push(bus);
    }
    for world in &worlds {
        assert_eq!(eventually(|| done(world)).await.outcome, OrderOutcome::Succeeded);
    }
    assert!(
        threads() <= before + 2,
        "{} threads for {AGENTS} agents",
        threads()
    );
    handle.stop();
    lifecycle.run().await.expect("all end well");
}

#[tokio::test]
async fn a_wake_may_bring_the_manifest_and_what_does_not_count_is_told_though_the_bus_is_right_again() {
    let world = World::new(vec![step("a", StepMode::Idempotent, vec![])]);
    let lifecycle = Lifecycle::new(Duration::from_secs(10));
    let handle = lifecycle.handle();
    let (agent, bus) = world.agent(&handle).await;
    handle.spawn("agent", Box::pin(agent.run()));
    let ended = |n: u128| {
        let records = world.bus.records();
        let is_it = |r: &Record| matches!(r, Record::OrderDone(done) if done.order_id == order_id(n));
        records.iter().any(is_it).then_some(())
    };
    // The bus has nothing: what came with the wake is all there is.
    let first = signed(manifest(1, vec![order(1, OrderKind::Apply)]), 2);
    bus.send(Incoming::Wake(first.clone().into(), None))
        .await
        .expect("hears");
    eventually(|| ended(1)).await;
    // By a key that may sign no manifest, the same again, and one that was there before: none of them is taken, the first is told, once.
    world.bus.publish(manifest(2, vec![order(2, OrderKind::Apply)]));
    let forged = signed(manifest(9, vec![order(3, OrderKind::Apply)]), 3);
    for bytes in [forged.clone(), forged, first] {
        bus.send(Incoming::Wake(bytes.into(), None)).await.expect("hears");
    }
    eventually(|| ended(2)).await;
    let refusals = || {
        let told = |r: &Record| match r {
            Record::ManifestRefused(refused) => Some(refused.code),
            _ => None,
        };
        world.bus.records().iter().filter_map(told).collect::<Vec<_>>()
    };
    eventually(|| (!refusals().is_empty()).then_some(())).await;
    // A place behind what is held is no news, and the bus that is read has what holds.
    let behind = signed(manifest(1, vec![order(4, OrderKind::Apply)]), 2);
    bus.send(Incoming::Wake(behind.into(), None))
        .await
        .expect("hears");
    world.bus.publish(manifest(3, vec![order(5, OrderKind::Apply)]));
    bus.send(Incoming::Wake(Bytes::new(), None)).await.expect("hears");
    eventually(|| ended(5)).await;
    assert_eq!(refusals(), [Code::SignatureInvalid]);
    assert!(ended(3).is_none() && ended(4).is_none());
    handle.stop();
    lifecycle.run().await.expect("ends well");
}

#[tokio::test]
async fn a_ledger_that_does_not_answer_is_no_reason_to_leave_the_bus_unread() {
    let world = World::new(vec![step("a", StepMode::Idempotent, vec![])]);
    let wanted = manifest(2, vec![order(1, OrderKind::Apply)]);
    world.bus.ledger().manifest_at = wanted.at;
    let lifecycle = Lifecycle::new(Duration::from_secs(10));
    let handle = lifecycle.handle();
    let (agent, _bus) = world.agent(&handle).await;
    handle.spawn("agent", Box::pin(agent.run()));
    eventually(|| (world.bus.ledger().asked > 0).then_some(())).await;
    // It comes late, and the wake for it was lost.
    world.bus.publish(wanted);
    assert_eq!(eventually(|| done(&world)).await.outcome, OrderOutcome::Succeeded);
    handle.stop();
    lifecycle.run().await.expect("ends well");
}
