//! The lives of an agent's process: how it starts, ends, is killed, and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use writ_agent::app::{Agent, AppError, Options, Parts};
use writ_agent::config::JournalConfig;
use writ_agent::executor::bundles::BundleCache;
use writ_agent::journal::JournalError;
use writ_agent::journal::disk::sim::SimDisk;
use writ_agent::link::Incoming;
use writ_agent::metrics::AgentMetrics;
use writ_chassis::clock::Clock;
use writ_chassis::ids::SeededIds;
use writ_chassis::lifecycle::{Lifecycle, LifecycleHandle};

use super::{Boundary, Host, Life, State};
use crate::sim::clock::HostClock;
use crate::sim::exec::SimExec;
use crate::sim::link::SimLink;
use crate::sim::world::{World, lock};

/// Messages that wait for an agent; more are lost.
const INCOMING_MAX: usize = 64;
/// How long a stop waits for the running step.
const DRAIN: Duration = Duration::from_secs(10);

impl Host {
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
                    retain_bytes: state.reserve,
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
        // An end for another reason leaves the failure of the power to come.
        if is_disk && std::mem::take(&mut state.is_armed) {
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
}

async fn live(parts: Parts) -> Result<(), AppError> {
    let agent = Box::pin(Agent::open(parts)).await?;
    Box::pin(agent.run()).await
}
