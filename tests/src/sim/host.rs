//! A machine with an agent: what outlives the process (its disk, the effects of steps), and the lives of the process itself, which is the
//! product's own `Agent` from its loop down to its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use writ_agent::app::{Agent, AppError, Options, Parts};
use writ_agent::config::JournalConfig;
use writ_agent::executor::bundles::BundleCache;
use writ_agent::journal::disk::Disk as _;
use writ_agent::journal::disk::sim::{Plan, SimDisk};
use writ_agent::journal::{JournalError, segment};
use writ_agent::link::Incoming;
use writ_agent::metrics::AgentMetrics;
use writ_chassis::clock::Clock;
use writ_chassis::ids::SeededIds;
use writ_chassis::lifecycle::{Lifecycle, LifecycleHandle};
use writ_protocol::id::OrderId;

use super::chance::Chance;
use super::clock::HostClock;
use super::exec::SimExec;
use super::keys::Enrolled;
use super::link::SimLink;
use super::world::{World, lock};

/// Messages that wait for an agent; more are lost.
const INCOMING_MAX: usize = 64;
/// How long a stop waits for the running step.
const DRAIN: Duration = Duration::from_secs(10);
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
                chance: Chance::new(world.seed, &format!("host {number}")),
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

    /// Starts the agent, unless it runs or must not.
    pub fn start(self: &Arc<Self>, world: &Arc<World>) {
        let mut state = lock(&self.state);
        if state.life.is_some() || state.is_gone || world.now() < state.down_until {
            return;
        }
        state.lives += 1;
        lock(&world.witness).counts.lives += 1;
        let (alive, (sender, incoming)) = (Arc::new(AtomicBool::new(true)), mpsc::channel(INCOMING_MAX));
        let handle = Lifecycle::new(DRAIN).handle();
        world.note(format_args!(
            "host {} starts its agent, life {}",
            self.number, state.lives
        ));
        let Some(parts) = self.parts(world, &state, (Arc::clone(&alive), incoming, handle.clone())) else {
            return;
        };
        if !state.is_cut {
            // Full from the start: impossible, it is empty.
            let _sent = sender.try_send(Incoming::Connected);
        }
        let number = state.lives;
        state.life = Some(Life {
            handle: handle.clone(),
            alive,
            incoming: sender,
        });
        drop(state);
        let (world, host) = (Arc::clone(world), Arc::clone(self));
        handle.spawn_contained("agent", async move {
            let end = live(parts).await;
            host.ended(&world, number, &end);
        });
    }

    fn parts(
        self: &Arc<Self>,
        world: &Arc<World>,
        state: &State,
        (alive, incoming, lifecycle): (Arc<AtomicBool>, mpsc::Receiver<Incoming>, LifecycleHandle),
    ) -> Option<Parts> {
        let clock: Arc<dyn Clock> = Arc::<HostClock>::clone(&self.clock);
        let name = format!("host {} life {}", self.number, state.lives);
        Some(Parts {
            identity: self.who.identity(),
            disk: Arc::new(state.disk.clone()),
            bundles: BundleCache::new(Arc::new(SimDisk::new(0)), 1 << 20),
            transport: Arc::new(SimLink {
                world: Arc::clone(world),
                host: Arc::clone(self),
                alive: Arc::clone(&alive),
            }),
            incoming,
            executor: Arc::new(SimExec {
                world: Arc::clone(world),
                host: Arc::clone(self),
                alive,
            }),
            ids: Arc::new(SeededIds::new(world.seed, &name, Arc::clone(&clock))),
            clock,
            lifecycle,
            metrics: AgentMetrics::new().ok()?,
            options: Options {
                journal: JournalConfig {
                    segment_bytes: 6 << 10,
                    // More than a run writes: what a restored ledger lacks is always still there, as the promise has it.
                    retain_bytes: 1 << 20,
                    retain_hours: 0,
                    reserve_bytes: 1 << 20,
                    ballast_bytes: 1 << 20,
                },
                drain: DRAIN,
                hostname: format!("sim-{}", self.who.number),
                boot_id: format!("{}-{}", self.number, state.boots),
                ..Options::default()
            },
        })
    }

    fn ended(self: &Arc<Self>, world: &Arc<World>, number: u64, end: &Result<(), AppError>) {
        let mut state = lock(&self.state);
        if state.lives != number {
            return;
        }
        if let Some(life) = state.life.take() {
            life.alive.store(false, Ordering::SeqCst);
            life.handle.stop_hard();
        }
        let words = end.as_ref().err().map(|error| {
            let cause = std::error::Error::source(error)
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("{error}: {cause}")
        });
        world.note(format_args!("host {}: its agent ends: {words:?}", self.number));
        if matches!(end, Err(AppError::Condemned)) {
            let is_exempt = lock(&world.witness).is_exempt(self.who.name.agent_id);
            if !is_exempt && !state.is_suspect {
                world.accuse(
                    "I8",
                    format!(
                        "host {}: the ledger has records that its sound disk lost",
                        self.number
                    ),
                );
            }
        }
        let is_disk = matches!(
            end,
            Err(AppError::Journal(JournalError::Disk { .. } | JournalError::Broken) | AppError::Disk(_))
        );
        if std::mem::take(&mut state.is_armed) && is_disk {
            self.lose_power(&mut state);
        }
        drop(state);
        self.restart_later(world);
    }

    fn lose_power(&self, state: &mut State) {
        state.disk.crash();
        state.boots += 1;
        self.clock.reboot();
    }

    fn restart_later(self: &Arc<Self>, world: &Arc<World>) {
        let mut state = lock(&self.state);
        let now = world.now();
        let wait = state
            .chance
            .span(Duration::from_millis(50), Duration::from_secs(4));
        let wait = wait.max(state.down_until.saturating_sub(now) + Duration::from_millis(1));
        drop(state);
        let (world, host) = (Arc::clone(world), Arc::clone(self));
        world.life.clone().spawn_contained("restart", async move {
            tokio::time::sleep(wait).await;
            host.start(&world);
        });
    }

    /// The process is killed, with its machine or without; it comes back after `away`.
    pub fn kill(self: &Arc<Self>, world: &Arc<World>, with_power: bool, away: Duration) {
        let mut state = lock(&self.state);
        if let Some(life) = state.life.take() {
            life.alive.store(false, Ordering::SeqCst);
            life.handle.stop_hard();
        }
        state.down_until = world.now() + away;
        if with_power {
            state.is_armed = false;
            self.lose_power(&mut state);
        }
        drop(state);
        world.note(format_args!("host {}: killed, power {with_power}", self.number));
        self.restart_later(world);
    }

    /// The machine is taken away for good.
    pub fn destroy(&self, world: &World) {
        let mut state = lock(&self.state);
        if let Some(life) = state.life.take() {
            life.alive.store(false, Ordering::SeqCst);
            life.handle.stop_hard();
        }
        state.is_gone = true;
        world.note(format_args!("host {}: gone", self.number));
    }

    /// The process is asked to stop, and starts again.
    pub fn drain(&self, world: &World) {
        let state = lock(&self.state);
        if let Some(life) = &state.life {
            world.note(format_args!("host {}: asked to stop", self.number));
            life.handle.stop();
        }
    }

    /// The process will die at the next such point.
    pub fn die_at(&self, boundary: Boundary) {
        lock(&self.state).dies_at = Some(boundary);
    }

    /// Whether the process dies here; then it is dead.
    pub fn dies_at(self: &Arc<Self>, world: &Arc<World>, boundary: Boundary) -> bool {
        let mut state = lock(&self.state);
        if state.dies_at != Some(boundary) {
            return false;
        }
        state.dies_at = None;
        let with_power = state.chance.hit(500);
        drop(state);
        self.kill(world, with_power, Duration::ZERO);
        true
    }

    /// What goes wrong with its disk from here on.
    pub fn plan_disk(&self, plan: Plan) {
        let mut state = lock(&self.state);
        state.is_armed = plan.crash_at.is_some();
        state.is_suspect |= plan.sync_fails_at.is_some();
        state.disk.set_plan(plan);
    }

    /// What its disk says is free.
    pub fn set_free(&self, bytes: u64) {
        lock(&self.state).disk.set_free(bytes);
    }

    /// A bit of a file turns; whether there was one.
    pub fn rot(&self, world: &World, draw: u64) -> bool {
        let mut state = lock(&self.state);
        let Ok(names) = state.disk.list() else {
            return false;
        };
        let files: Vec<&String> = names
            .iter()
            .filter(|n| segment::index_of(n).is_some() || n.starts_with("meta"))
            .collect();
        let Some(name) = files.get(
            usize::try_from(draw)
                .unwrap_or(0)
                .checked_rem(files.len())
                .unwrap_or(0),
        ) else {
            return false;
        };
        let length = state.disk.length(name).unwrap_or(0);
        let byte = (draw >> 8).checked_rem(length).unwrap_or(0);
        state.is_suspect = true;
        let is_turned = state.disk.flip(
            name,
            usize::try_from(byte).unwrap_or(0),
            u8::try_from(draw >> 3 & 7).unwrap_or(0),
        );
        world.note(format_args!(
            "host {}: a bit of {name} turns at {byte}: {is_turned}",
            self.number
        ));
        is_turned
    }

    /// A copy of its disk as it is.
    pub fn keep_disk(&self) -> SimDisk {
        lock(&self.state).disk.copy()
    }

    /// Puts an older disk in. The process must be dead.
    pub fn put_back(&self, disk: SimDisk) {
        lock(&self.state).disk = disk;
    }

    /// Cuts it from the bus or joins it.
    pub fn cut(&self, world: &World, is_cut: bool) {
        let mut state = lock(&self.state);
        if state.is_cut == is_cut {
            return;
        }
        state.is_cut = is_cut;
        world.note(format_args!("host {}: cut from the bus {is_cut}", self.number));
        let word = if is_cut {
            Incoming::Disconnected
        } else {
            Incoming::Connected
        };
        if let Some(life) = &state.life {
            let _full = life.incoming.try_send(word);
        }
    }

    /// Whether it is cut from the bus.
    pub fn is_cut(&self) -> bool {
        lock(&self.state).is_cut
    }

    /// Everything is well again; a copy of another machine is taken away.
    pub fn heal(self: &Arc<Self>, world: &Arc<World>) {
        {
            let mut state = lock(&self.state);
            state.disk.set_plan(Plan::default());
            state.disk.set_free(1 << 40);
            (state.is_armed, state.dies_at, state.down_until) = (false, None, Duration::ZERO);
            self.clock.set_wrong(0);
        }
        self.cut(world, false);
        self.start(world);
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

async fn live(parts: Parts) -> Result<(), AppError> {
    let agent = Box::pin(Agent::open(parts)).await?;
    Box::pin(agent.run()).await
}
