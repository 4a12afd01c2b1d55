//! Everything that one run is made of, and the small change between its parts: time, notes, notifications.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use writ_chassis::lifecycle::LifecycleHandle;
use writ_domain::agent::AgentState;
use writ_protocol::nats::UserKey;
use writ_protocol::subject::Shard;
use writ_protocol::time::Timestamp;
use writ_store::agent::Agent;

use super::books::Books;
use super::bus::Bus;
use super::clock::BEGINNING;
use super::controller::Controller;
use super::host::Host;
use super::keys::AGENTS;
use super::store::Store;
use super::trace::Trace;
use super::witness::Witness;

/// One world.
#[derive(Debug)]
pub struct World {
    /// The seed.
    pub seed: u64,
    /// When it began.
    pub start: Instant,
    /// Spawns what belongs to nobody who can be killed.
    pub life: LifecycleHandle,
    /// The bus.
    pub bus: Mutex<Bus>,
    /// The database.
    pub store: Store,
    /// Machines with agents; clones come later.
    pub hosts: Mutex<Vec<Arc<Host>>>,
    /// Controllers.
    pub controllers: Mutex<Vec<Arc<Controller>>>,
    /// The shards of its agents.
    pub shards: Vec<Shard>,
    /// Who watches.
    pub witness: Mutex<Witness>,
    /// Something changed that relays should look at.
    pub dirty: Notify,
    /// Batches arrived.
    pub arrived: Notify,
    trace: Mutex<Trace>,
}

/// A run of which more is told goes in circles; the longest sound ones have a hundredth of it.
const NOTES_MAX: u64 = 100_000;

/// A lock that a panic elsewhere does not spoil.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A world with so many agents enrolled and nobody started.
    pub fn new(seed: u64, agents: usize, life: LifecycleHandle, keep: bool) -> Arc<Self> {
        let mut books = Books {
            epoch: 1,
            ..Books::default()
        };
        for enrolled in AGENTS.iter().take(agents) {
            let name = &enrolled.name;
            let row = Agent {
                agent_id: name.agent_id,
                name: format!("sim-{}", enrolled.number),
                user_key: name.user_key.clone(),
                artefact_key: enrolled.public,
                hostname: String::new(),
                labels: BTreeMap::new(),
                facts: BTreeMap::new(),
                state: AgentState::Active,
                state_reason: None,
                keys: Vec::new(),
                generation: 0,
                created_at: Timestamp::from_micros(BEGINNING),
                seen: None,
            };
            books.agents.insert(name.agent_id, row);
            books.bump([name.agent_id]);
        }
        let mut shards: Vec<Shard> = books.agents.values().map(|a| Shard::of(&a.user_key)).collect();
        shards.sort_unstable();
        shards.dedup();
        Arc::new(Self {
            seed,
            shards,
            start: Instant::now(),
            life,
            bus: Mutex::new(Bus::new(seed)),
            store: Store::new(seed, books),
            hosts: Mutex::default(),
            controllers: Mutex::default(),
            witness: Mutex::default(),
            dirty: Notify::new(),
            arrived: Notify::new(),
            trace: Mutex::new(Trace::new(keep)),
        })
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The right time of day.
    pub fn wall(&self) -> Timestamp {
        Timestamp::from_micros(BEGINNING).plus(self.now())
    }

    /// Notes what happened.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        lock(&self.trace).note(self.now(), what);
    }

    /// Whether it goes in circles; then nothing arrives any more, so that it ends.
    pub fn is_circling(&self) -> bool {
        lock(&self.trace).count() > NOTES_MAX
    }

    /// Something must not have happened.
    pub fn accuse(&self, rule: &'static str, what: String) {
        self.note(format_args!("VIOLATION {rule}: {what}"));
        lock(&self.witness).accuse(rule, what);
    }

    /// The hash of the history, and its words.
    pub fn history(&self) -> (u64, Vec<String>) {
        let trace = std::mem::replace(&mut *lock(&self.trace), Trace::new(false));
        (trace.hash(), trace.into_lines())
    }

    /// The machines that hold an identity; more than one when it was cloned.
    pub fn hosts_of(&self, key: &UserKey) -> Vec<Arc<Host>> {
        let hosts = lock(&self.hosts);
        hosts
            .iter()
            .filter(|host| host.who.name.user_key == *key)
            .cloned()
            .collect()
    }

    /// All machines.
    pub fn all_hosts(&self) -> Vec<Arc<Host>> {
        lock(&self.hosts).clone()
    }

    /// All controllers.
    pub fn all_controllers(&self) -> Vec<Arc<Controller>> {
        lock(&self.controllers).clone()
    }
}
