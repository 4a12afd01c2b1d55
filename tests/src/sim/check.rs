//! What must hold when everything is healed: the world comes to rest, and then every disk, the ledger and the bus tell one story.

pub(super) mod behind;
mod chain;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use writ_agent::journal::disk::Disk as _;
use writ_agent::journal::segment::{self, Header, Step};
use writ_domain::agent::AgentState;
use writ_domain::run::verdict;
use writ_protocol::codec;
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::id::JournalId;
use writ_protocol::limits::HELLO_INTERVAL;
use writ_protocol::manifest::{Generation, Manifest};
use writ_protocol::statement::Statement;

use super::controller::generation_of;
use super::host::Host;
use super::world::{World, lock};

/// A hello comes this much later than its interval at most.
const HELLO_SPREAD: f64 = 1.2;

/// What a disk's live journal holds.
#[derive(Clone, Debug, Default)]
pub struct OnDisk {
    /// Its name.
    pub journal_id: Option<JournalId>,
    /// Its frames: number and chain value after it.
    pub frames: BTreeMap<u64, Digest>,
}

/// Reads the live journal of a machine.
pub fn read_disk(host: &Host) -> OnDisk {
    let disk = host.disk();
    let mut found = OnDisk::default();
    let names = disk.list().unwrap_or_default();
    for name in names.iter().filter(|name| segment::index_of(name).is_some()) {
        let length = usize::try_from(disk.length(name).unwrap_or(0)).unwrap_or(0);
        let bytes = disk.read(name, 0, length).unwrap_or_default();
        let Some(header) = Header::parse(&bytes) else {
            continue;
        };
        found.journal_id = Some(header.journal_id);
        for step in segment::walk(&bytes, header.first_seq, header.prev_hash) {
            if let Step::Frame(frame, hash) = step {
                found.frames.insert(frame.seq, hash);
            }
        }
    }
    found
}

/// The manifest in an envelope, whoever signed it.
pub fn manifest_of(envelope: &[u8]) -> Option<Manifest> {
    let envelope = Envelope::parse(envelope).ok()?;
    let payload = envelope.unverified_payload();
    let statement: Statement<Manifest> = codec::from_json("manifest", payload, payload.len()).ok()?;
    Some(statement.predicate)
}

/// Whether nothing is left to be done.
///
/// # Errors
/// What is.
pub fn at_rest(world: &Arc<World>) -> Result<(), String> {
    world.store.look(|books| {
        if let Some(one) = books.orders.values().find(|o| !o.state.is_terminal()) {
            return Err(format!("order {} is {}", one.order_id, one.state.name()));
        }
        if let Some(one) = books.runs.values().find(|r| !r.state.is_terminal()) {
            return Err(format!("run {} is {}", one.run_id, one.state.name()));
        }
        if let Some(id) = books.dirty.keys().next() {
            return Err(format!("the manifest of {id} waits to be published"));
        }
        for agent in books.agents.values() {
            let at = Generation {
                epoch: books.epoch,
                generation: agent.generation,
            };
            let on_bus = lock(&world.bus).truth(&agent.user_key).and_then(generation_of);
            if on_bus != Some(at) {
                return Err(format!(
                    "the bus has {on_bus:?} for {}, the ledger {at:?}",
                    agent.agent_id
                ));
            }
            let is_exempt = lock(&world.witness).is_exempt(agent.agent_id);
            let have = books.heard.get(&agent.agent_id).map(|heard| heard.have);
            if have != Some(at) && !is_exempt {
                return Err(format!("{} has {have:?}, the ledger {at:?}", agent.agent_id));
            }
        }
        Ok(())
    })?;
    for host in world.all_hosts().iter().filter(|host| !host.is_gone()) {
        let agent_id = host.who.name.agent_id;
        if lock(&world.witness).is_exempt(agent_id) {
            continue;
        }
        if !host.is_up() {
            return Err(format!("the agent of host {} does not run", host.number));
        }
        let disk = read_disk(host);
        let last = disk.frames.keys().next_back().copied().unwrap_or(0);
        let upto = disk.journal_id.and_then(|id| {
            world.store.look(|books| {
                books
                    .marks
                    .get(&(agent_id, id))
                    .map(writ_store::ingest::Mark::upto)
            })
        });
        if upto != Some(last) {
            return Err(format!(
                "host {} has {last} records, the ledger {upto:?}",
                host.number
            ));
        }
    }
    Ok(())
}

/// Two machines with one identity: within two hellos of both, the ledger knows and orders nothing any more.
pub async fn clone_is_noticed(world: &Arc<World>, host: &Arc<Host>, length: Duration) {
    let agent_id = host.who.name.agent_id;
    tokio::time::sleep(length).await;
    // Only where both could speak all the time can this be promised; the seeds where nothing else breaks are those.
    let noticed = world.store.look(|books| {
        books
            .agents
            .get(&agent_id)
            .is_some_and(|agent| agent.state == AgentState::Quarantined)
    });
    let is_calm = lock(&world.witness).is_calm();
    if length >= HELLO_INTERVAL.mul_f64(HELLO_SPREAD) * 2 && is_calm && !noticed {
        world.accuse(
            "I9",
            format!("{agent_id} spoke twice for {length:?} and nobody noticed"),
        );
    }
}

/// Everything that can be judged from what is left.
pub fn afterwards(world: &Arc<World>) {
    for host in world.all_hosts() {
        if host.number < lock(&world.controllers).len() + 8
            && !lock(&world.witness).is_exempt(host.who.name.agent_id)
        {
            journal_is_in_the_ledger(world, &host);
        }
    }
    let found = world.store.look(|books| {
        let mut found = Vec::new();
        for run in books.runs.values() {
            let states = books
                .orders
                .values()
                .filter(|o| o.run_id == run.run_id)
                .map(|o| (o.state, 1));
            let should = verdict(states);
            if run.state != should {
                found.push((
                    "I12",
                    format!(
                        "run {} is {} and should be {}",
                        run.run_id,
                        run.state.name(),
                        should.name()
                    ),
                ));
            }
        }
        let witness = lock(&world.witness);
        for agent in books.agents.keys() {
            chain::of_agent(books, &witness, *agent, &mut found);
        }
        found
    });
    for (rule, what) in found {
        world.accuse(rule, what);
    }
}

fn journal_is_in_the_ledger(world: &Arc<World>, host: &Arc<Host>) {
    let disk = read_disk(host);
    let Some(journal_id) = disk.journal_id else { return };
    let agent_id = host.who.name.agent_id;
    let links = world.store.look(|books| {
        let frames = books.events.get(&(agent_id, journal_id));
        frames
            .map(|frames| chain::links(books, (agent_id, journal_id), frames))
            .unwrap_or_default()
    });
    for (seq, hash) in &disk.frames {
        let at = usize::try_from(seq.saturating_sub(1)).unwrap_or(usize::MAX);
        match links.get(at) {
            Some(stored) if stored == hash => {}
            Some(_) => {
                return world.accuse(
                    "I2",
                    format!("record {seq} of host {} is another in the ledger", host.number),
                );
            }
            None => {
                return world.accuse(
                    "I2",
                    format!("record {seq} of host {} is not in the ledger", host.number),
                );
            }
        }
    }
    let last = disk.frames.keys().next_back().copied().unwrap_or(0);
    if (links.len() as u64) > last && !host.is_suspect() {
        world.accuse(
            "I2",
            format!(
                "the ledger has {} records of host {}, its disk {last}",
                links.len(),
                host.number
            ),
        );
    }
}
