//! A host's clock that somebody sets while the agent runs.

use std::sync::Arc;
use std::time::Duration;

use writ_chassis::clock::{Clock as _, ManualClock};
use writ_chassis::lifecycle::Lifecycle;
use writ_protocol::exec::StepMode;
use writ_protocol::manifest::OrderKind;

use super::{done, eventually};
use crate::tests::scene::{World, manifest, now, order, step};

/// So far ahead that what it was off by, taken off the right time, lies before any key is valid.
const AHEAD: Duration = Duration::from_secs(60 * 365 * 86_400);

#[tokio::test]
async fn a_clock_that_was_wrong_and_is_set_right_costs_no_more_than_the_next_hello() {
    let clock = Arc::new(ManualClock::new(now().wall.plus(AHEAD)));
    let mut world = World::new(vec![step("a", StepMode::Idempotent, vec![])]);
    world.clock = Arc::<ManualClock>::clone(&clock);
    let lifecycle = Lifecycle::new(Duration::from_secs(10));
    let handle = lifecycle.handle();
    let (agent, _bus) = world.agent(&handle).await;
    handle.spawn("agent", Box::pin(agent.run()));
    eventually(|| (world.bus.ledger().hellos == 1).then_some(())).await;
    // Two hellos: with the second the answer to the first has been taken.
    clock.advance(Duration::from_secs(73));
    eventually(|| (world.bus.ledger().hellos == 2).then_some(())).await;

    clock.set_wall(now().wall);
    world.bus.publish(manifest(1, vec![order(1, OrderKind::Apply)]));
    clock.advance(Duration::from_secs(73));
    let ended = eventually(|| {
        clock.advance(Duration::from_millis(1));
        done(&world)
    })
    .await;
    assert_eq!(ended.outcome.name(), "succeeded");
    assert!(clock.now() < now().wall.plus(AHEAD));
}
