//! In fair weather the bus has what the ledger has within a few rounds of comparing them: watched all the time, because what is only slow looks
//! well in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use writ_protocol::id::AgentId;
use writ_protocol::manifest::Generation;

use crate::sim::bus::Weather;
use crate::sim::controller::generation_of;
use crate::sim::world::{World, lock};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Looks in fair weather after which an agent's place on the bus may not be behind any more: three rounds of the controllers, and slack.
const LOOKS_MAX: u32 = 15;

/// Watches for as long as the world is.
pub(in crate::sim) async fn watch(world: Arc<World>) {
    let mut since: BTreeMap<AgentId, (Generation, u32)> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let behind = behind(&world);
        since.retain(|id, (at, _)| behind.get(id) == Some(at));
        for (id, at) in behind {
            let (_, looks) = since.entry(id).or_insert((at, 0));
            *looks = if is_fair(&world) { *looks + 1 } else { 0 };
            if *looks == LOOKS_MAX {
                let waited = LOOK * LOOKS_MAX;
                world.accuse(
                    "I7",
                    format!("the bus is without {at:?} of {id} for {waited:?} in fair weather"),
                );
            }
        }
    }
}

/// Agents whose place on the bus holds something else than the ledger.
fn behind(world: &World) -> BTreeMap<AgentId, Generation> {
    world.store.look(|books| {
        let bus = lock(&world.bus);
        let place = |agent: &writ_store::agent::Agent| {
            let at = Generation {
                epoch: books.epoch,
                generation: agent.generation,
            };
            let held = bus.truth(&agent.user_key).and_then(generation_of);
            // A later one is somebody else's lie, and shown to be one by the agent.
            held.is_none_or(|held| held < at).then_some((agent.agent_id, at))
        };
        books.agents.values().filter_map(place).collect()
    })
}

fn is_fair(world: &World) -> bool {
    let is_bus_fair = {
        let bus = lock(&world.bus);
        !bus.is_down && bus.weather == Weather::default()
    };
    is_bus_fair && world.store.is_well() && world.all_controllers().iter().all(|c| c.is_well(world))
}
