//! Steps seen before the rules ask for them: one look serves many, in order, and none outlives its go.

use std::sync::atomic::Ordering;

use writ_protocol::exec::StepMode;
use writ_protocol::manifest::OrderKind;
use writ_protocol::record::{OrderOutcome, StepOutcome};

use super::{live, results};
use crate::core::StepPlan;
use crate::tests::scene::{World, manifest, order, step};

/// More steps than an agent gathers inputs in one go.
const STEPS: usize = 100;

fn steps() -> Vec<StepPlan> {
    let name = |number| format!("step-{number:03}");
    (0..STEPS)
        .map(|number| step(&name(number), StepMode::Checked, vec![]))
        .collect()
}

#[tokio::test]
async fn a_check_asks_its_host_once_and_books_every_step_in_its_order() {
    let world = World::new(steps());
    let done = |number: usize| number.is_multiple_of(3);
    let satisfied = steps()
        .into_iter()
        .enumerate()
        .filter(|(number, _)| done(*number));
    world
        .host
        .satisfied
        .lock()
        .expect("lock")
        .extend(satisfied.map(|(_, step)| step.id));
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Check)]));
    let end = live(&world).await;
    assert_eq!(end.outcome, OrderOutcome::Succeeded);
    assert_eq!(*world.host.looks.lock().expect("lock"), [STEPS]);
    let wanted: Vec<_> = steps()
        .into_iter()
        .enumerate()
        .map(|(number, step)| {
            let outcome = if done(number) {
                StepOutcome::Unchanged
            } else {
                StepOutcome::WouldChange
            };
            (step.id, outcome, 1)
        })
        .collect();
    assert_eq!(results(&world), wanted);
}

#[tokio::test]
async fn an_apply_looks_at_each_step_when_its_turn_has_come() {
    let world = World::new(steps());
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
    let end = live(&world).await;
    assert_eq!(end.outcome, OrderOutcome::Succeeded);
    assert_eq!(*world.host.looks.lock().expect("lock"), [1; STEPS]);
    assert!(
        results(&world)
            .iter()
            .all(|(_, outcome, _)| *outcome == StepOutcome::Changed)
    );
}

#[tokio::test]
async fn what_follows_a_change_is_looked_at_behind_it_up_to_the_next_change() {
    let mut steps = steps();
    steps[1].notify = vec![2];
    steps[7].mode = StepMode::Once;
    let world = World::new(steps.clone());
    world.host.looks_on.store(true, Ordering::SeqCst);
    let settled = steps
        .iter()
        .enumerate()
        .filter(|(number, _)| (20..40).contains(number));
    world
        .host
        .satisfied
        .lock()
        .expect("lock")
        .extend(settled.map(|(_, step)| step.id.clone()));
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
    let end = live(&world).await;
    assert_eq!(end.outcome, OrderOutcome::Succeeded);
    let wanted: Vec<_> = steps
        .iter()
        .enumerate()
        .map(|(number, step)| {
            let outcome = if (20..40).contains(&number) {
                StepOutcome::Unchanged
            } else {
                StepOutcome::Changed
            };
            (step.id.clone(), outcome, 1)
        })
        .collect();
    assert_eq!(results(&world), wanted);
    let looks = world.host.looks.lock().expect("lock").clone();
    assert_eq!(looks.iter().filter(|seen| **seen > 1).count(), 1, "{looks:?}");
    assert_eq!(
        looks.iter().max(),
        Some(&21),
        "twenty that are settled, and the next that differs"
    );
    // What was seen of the notified step before it was notified is not taken for what is seen of it then.
    assert_eq!(looks.iter().sum::<usize>(), STEPS + 1, "{looks:?}");
    assert_eq!(world.host.applied.lock().expect("lock").len(), STEPS - 20);
}

#[tokio::test]
async fn a_step_that_nobody_asks_about_is_passed_over() {
    let mut steps = steps();
    steps[STEPS / 2].only_when_notified = true;
    let world = World::new(steps);
    // What is seen of the last is not taken for what is seen of another.
    world
        .host
        .satisfied
        .lock()
        .expect("lock")
        .push("step-099".to_owned());
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Check)]));
    let end = live(&world).await;
    assert_eq!(end.outcome, OrderOutcome::Succeeded);
    assert_eq!(*world.host.looks.lock().expect("lock"), [STEPS]);
    let others: Vec<_> = results(&world)
        .into_iter()
        .enumerate()
        .filter(|(_, (_, outcome, _))| *outcome != StepOutcome::WouldChange)
        .collect();
    let passed = (STEPS / 2, ("step-050".to_owned(), StepOutcome::Skipped, 1));
    let last = (STEPS - 1, ("step-099".to_owned(), StepOutcome::Unchanged, 1));
    assert_eq!(others, [passed, last]);
}
