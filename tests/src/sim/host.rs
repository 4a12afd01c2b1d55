//! A machine with an agent: what outlives the process (its disk, the effects of steps), and the lives of the process itself, which is the
//! product's own `Agent` from its loop down to its journal.

mod harm;
mod life;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use writ_agent::journal::disk::sim::SimDisk;
use writ_agent::link::Incoming;
use writ_chassis::lifecycle::LifecycleHandle;
use writ_protocol::id::OrderId;

use super::chance::Chance;
use super::clock::HostClock;
use super::keys::Enrolled;
use super::world::{World, lock};

/// A lease is judged from outside with this much patience: answers are on their way for a moment.
const LEASE_SLACK: Duration = Duration::from_secs(1);

/// A point of a step at which a process can die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// Its intent is durable, and nothing was started.
    BeforeStart,
    /// It has ended, and no record says so.
    AfterEnd,
}

/// One life of the process.
#[derive(Debug)]
struct Life {
    handle: LifecycleHandle,
    alive: Arc<AtomicBool>,
    incoming: mpsc::Sender<Incoming>,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says one thing that is wrong with the machine"
)]
struct State {
    disk: SimDisk,
    boots: u32,
    lives: u64,
    life: Option<Life>,
    is_cut: bool,
    /// The power fails at an operation of the disk.
    is_armed: bool,
    /// Its disk did what no disk should: what it lost is no fault of the agent.
    is_suspect: bool,
    down_until: Duration,
    is_gone: bool,
    dies_at: Option<Boundary>,
    effects: BTreeSet<(OrderId, String)>,
    spent: BTreeMap<OrderId, u64>,
    stopped: BTreeSet<OrderId>,
    horizon: BTreeMap<OrderId, Duration>,
    chance: Chance,
    /// What the ledger has and the journal keeps all the same, bytes.
    reserve: u64,
}

/// A machine.
#[derive(Debug)]
pub struct Host {
    /// Its number among all machines.
    pub number: usize,
    /// Whose identity lies on it.
    pub who: Enrolled,
    /// Its clocks.
    pub clock: Arc<HostClock>,
    state: Mutex<State>,
}

impl Host {
    /// A machine whose agent was enrolled.
    pub fn new(world: &World, number: usize, who: Enrolled) -> Arc<Self> {
        let disk = SimDisk::new(world.seed ^ (number as u64) << 32);
        let created = writ_agent::journal::Journal::create(&disk, who.journal_id);
        if created.is_err() {
            world.accuse("sim", "a new journal cannot be made".to_owned());
        }
        Arc::new(Self::with(world, number, who, disk))
    }

    fn with(world: &World, number: usize, who: Enrolled, disk: SimDisk) -> Self {
        let mut chance = Chance::new(world.seed, &format!("host {number}"));
        // In some worlds more than a run writes, in others so little that a restored ledger asks for what is gone.
        let reserve = match chance.below(4) {
            0 => 0,
            1 => 12 << 10,
            _ => 1 << 20,
        };
        Self {
            number,
            who,
            clock: Arc::new(HostClock::new(world.start)),
            state: Mutex::new(State {
                disk,
                boots: 1,
                lives: 0,
                life: None,
                is_cut: false,
                is_armed: false,
                is_suspect: false,
                down_until: Duration::ZERO,
                is_gone: false,
                dies_at: None,
                effects: BTreeSet::new(),
                spent: BTreeMap::new(),
                stopped: BTreeSet::new(),
                horizon: BTreeMap::new(),
                chance,
                reserve,
            }),
        }
    }

    /// A second machine with the same disk, as a cloned virtual machine is one.
    pub fn clone_to(&self, world: &World, number: usize) -> Arc<Self> {
        let state = lock(&self.state);
        let copy = Self::with(world, number, self.who.clone(), state.disk.copy());
        let mut other = lock(&copy.state);
        other.effects.clone_from(&state.effects);
        other.spent.clone_from(&state.spent);
        other.horizon.clone_from(&state.horizon);
        drop(other);
        Arc::new(copy)
    }

    /// Its disk.
    pub fn disk(&self) -> SimDisk {
        lock(&self.state).disk.clone()
    }

    /// Something comes from the bus unasked; a dead or deaf process does not hear it.
    pub fn tell(&self, incoming: Incoming) {
        let state = lock(&self.state);
        if let Some(life) = state.life.as_ref().filter(|_| !state.is_cut) {
            let _full = life.incoming.try_send(incoming);
        }
    }

    /// Whether its disk did what no disk should.
    pub fn is_suspect(&self) -> bool {
        lock(&self.state).is_suspect
    }

    /// Whether the agent runs.
    pub fn is_up(&self) -> bool {
        lock(&self.state).life.is_some()
    }

    /// Whether the machine is there at all.
    pub fn is_gone(&self) -> bool {
        lock(&self.state).is_gone
    }

    /// A word gives leases.
    pub fn extend(&self, world: &World, leases: &[(OrderId, u64)]) {
        let mut state = lock(&self.state);
        for (order_id, lease_ms) in leases {
            let until = world.now() + Duration::from_millis(*lease_ms) + LEASE_SLACK;
            let slot = state.horizon.entry(*order_id).or_default();
            *slot = until.max(*slot);
        }
    }

    /// Until when an order's steps may start.
    pub fn horizon(&self, order_id: OrderId) -> Option<Duration> {
        lock(&self.state).horizon.get(&order_id).copied()
    }

    /// Whether a step's effect is there.
    pub fn has_effect(&self, order_id: OrderId, step: &str) -> bool {
        lock(&self.state).effects.contains(&(order_id, step.to_owned()))
    }

    /// A step takes effect.
    pub fn take_effect(&self, order_id: OrderId, step: &str) {
        lock(&self.state).effects.insert((order_id, step.to_owned()));
    }

    /// What an order has used, micro-units, as far as it was told.
    pub fn spent(&self, order_id: OrderId) -> u64 {
        lock(&self.state).spent.get(&order_id).copied().unwrap_or(0)
    }

    /// An order used something.
    pub fn spend(&self, order_id: OrderId, micros: u64) {
        *lock(&self.state).spent.entry(order_id).or_default() += micros;
    }

    /// The running step of an order is told to end.
    pub fn tell_stop(&self, order_id: OrderId) {
        lock(&self.state).stopped.insert(order_id);
    }

    /// A new step begins.
    pub fn forget_stop(&self, order_id: OrderId) {
        lock(&self.state).stopped.remove(&order_id);
    }

    /// Whether the running step was told to end.
    pub fn is_stopped(&self, order_id: OrderId) -> bool {
        lock(&self.state).stopped.contains(&order_id)
    }
}
