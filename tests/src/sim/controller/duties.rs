//! What a controller does without being asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use writ_agent::link::Incoming;
use writ_chassis::lifecycle::LifecycleHandle;
use writ_controller::app::App;
use writ_controller::lease::Held;
use writ_protocol::codec;
use writ_protocol::envelope::Envelope;
use writ_protocol::id::{AgentId, RunId};
use writ_protocol::manifest::{Generation, Manifest};
use writ_protocol::nats::UserKey;
use writ_protocol::statement::Statement;
use writ_protocol::subject::Shard;

use super::Controller;
use crate::sim::desk::{self, Arrival, Parcel, Told};
use crate::sim::link::hint;
use crate::sim::store::Failed;
use crate::sim::trace::mark;
use crate::sim::world::{World, lock};

/// How long a lease holds by the ledger's clock.
const TTL: Duration = Duration::from_secs(10);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(3);
/// Longest time until something dirty is noticed; mostly it is told.
const RELAY_TICK: Duration = Duration::from_secs(7);
/// Longest time until a batch is noticed; mostly it is told.
const INGEST_TICK: Duration = Duration::from_secs(5);
/// Between two looks at the reminders of runs; mostly it is told.
const SETTLE_TICK: Duration = Duration::from_secs(2);
/// Between two looks of the sweeper.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Sweeps between two comparisons of the bus with the ledger.
const WALK_EVERY: u32 = 4;

/// Longest wait for the bus.
const PATIENCE: Duration = Duration::from_secs(5);

struct Duty {
    world: Arc<World>,
    controller: Arc<Controller>,
    held: Held,
}

pub(super) fn spawn(world: &Arc<World>, controller: &Arc<Controller>, held: &Held, life: &LifecycleHandle) {
    let duty = || Duty {
        world: Arc::clone(world),
        controller: Arc::clone(controller),
        held: held.clone(),
    };
    let (leases, relay, ingest, upkeep, settle) = (duty(), duty(), duty(), duty(), duty());
    life.spawn_contained("leases", async move { leases.keep_leases().await });
    life.spawn_contained("relay", async move { relay.relay().await });
    life.spawn_contained("ingest", async move { ingest.take().await });
    life.spawn_contained("upkeep", async move { upkeep.upkeep().await });
    life.spawn_contained("settle", async move { settle.settle().await });
}

impl Duty {
    async fn keep_leases(&self) {
        loop {
            for shard in self.world.shards.iter().copied() {
                let asked = Instant::now();
                let (name, holder, now) = (App::shard_lease(shard), self.held.holder(), self.world.wall());
                let acquire = self
                    .controller
                    .tx(&self.world, |books, _| Ok(books.acquire(&name, holder, TTL, now)));
                match acquire.await {
                    Ok(Some(fence)) => self.held.note(shard, fence, asked),
                    Ok(None) => drop(self.held.drop_lease(shard)),
                    Err(_) => {}
                }
            }
            tokio::time::sleep(RENEW).await;
        }
    }

    async fn relay(&self) {
        loop {
            let mut nudged = std::pin::pin!(self.world.dirty.notified());
            nudged.as_mut().enable();
            for shard in self.held.shards() {
                // A pass that fails leaves its agents dirty.
                let _again = self.relay_shard(shard).await;
            }
            // Whichever comes first.
            let _either = tokio::time::timeout(RELAY_TICK, nudged).await;
        }
    }

    async fn relay_shard(&self, shard: Shard) -> Result<(), Failed> {
        if self.world.store.look(|books| books.dirty_of(shard).is_empty()) {
            return Ok(());
        }
        let now = self.world.wall();
        let parcels = self.controller.tx(&self.world, |books, witness| {
            let ids = books.dirty_of(shard);
            Ok(desk::current(books, witness, &ids, now))
        });
        let mut clean: Vec<(AgentId, u64)> = Vec::new();
        for parcel in parcels.await? {
            if self.deliver(&parcel).await.is_ok() {
                clean.push((parcel.agent_id, parcel.at.generation));
            }
        }
        let cleaned = self.controller.tx(&self.world, |books, _| {
            books.clean(&clean);
            Ok(())
        });
        cleaned.await
    }

    /// As `writ_controller::bus::deliver` does it: what the bus says it has is looked at.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), ()> {
        let Generation { epoch, generation } = parcel.at;
        let id = format!("m:{}:{epoch}:{generation}", parcel.key);
        if !self.put(&parcel.key, &id, &parcel.envelope).await? {
            return Ok(());
        }
        #[cfg(feature = "planted")]
        if writ_protocol::planted::is(writ_protocol::planted::Bug::DuplicateTrusted) {
            return Ok(());
        }
        if self
            .held_by_bus(&parcel.key)
            .await?
            .is_some_and(|at| at >= parcel.at)
        {
            return Ok(());
        }
        self.put(&parcel.key, "", &parcel.envelope).await?;
        match self.held_by_bus(&parcel.key).await? {
            Some(at) if at >= parcel.at => Ok(()),
            _ => Err(()),
        }
    }

    /// One way between here and the bus.
    async fn travel(&self, loses: bool) -> Result<(), ()> {
        self.controller.breath(&self.world).await;
        let (delay, is_down, is_lost) = {
            let mut bus = lock(&self.world.bus);
            let loss = if loses {
                bus.weather.loss
            } else {
                bus.weather.ack_loss
            };
            (bus.delay(), bus.is_down, bus.chance.hit(loss))
        };
        if is_down {
            return Err(());
        }
        if is_lost || delay > PATIENCE {
            tokio::time::sleep(PATIENCE).await;
            return Err(());
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }

    async fn put(&self, key: &UserKey, id: &str, bytes: &[u8]) -> Result<bool, ()> {
        self.travel(true).await?;
        let stored = lock(&self.world.bus).put(key, id, bytes, self.world.now());
        self.world.note(format_args!(
            "controller {} publishes {:08x}, duplicate {}",
            self.controller.number,
            mark(bytes),
            stored.duplicate
        ));
        if !stored.duplicate {
            hint(&self.world, key, &Incoming::Wake(bytes.to_vec().into(), None));
        }
        self.travel(false).await?;
        Ok(stored.duplicate)
    }

    async fn held_by_bus(&self, key: &UserKey) -> Result<Option<Generation>, ()> {
        self.travel(true).await?;
        let found = lock(&self.world.bus).get(key);
        self.travel(false).await?;
        Ok(found.and_then(|bytes| generation_of(&bytes)))
    }

    async fn take(&self) {
        loop {
            let mut arrived = std::pin::pin!(self.world.arrived.notified());
            arrived.as_mut().enable();
            let mut is_done = true;
            for shard in self.held.shards() {
                is_done &= self.take_shard(shard).await.unwrap_or(true);
            }
            if is_done {
                let _either = tokio::time::timeout(INGEST_TICK, arrived).await;
            }
        }
    }

    /// One round of a shard; whether there was nothing to do.
    async fn take_shard(&self, shard: Shard) -> Result<bool, ()> {
        let Some(fence) = self.held.fence(shard) else {
            return Ok(true);
        };
        let ours = |key: &UserKey| Shard::of(key) == shard;
        let is_due = lock(&self.world.bus)
            .due(ours)
            .is_some_and(|at| at <= self.world.now());
        if !is_due {
            return Ok(true);
        }
        self.travel(false).await?;
        let messages = lock(&self.world.bus).pull(ours, self.world.now());
        if messages.is_empty() {
            return Ok(true);
        }
        let seqs: Vec<u64> = messages.iter().map(|m| m.seq).collect();
        let arrivals: Vec<Arrival> = messages
            .into_iter()
            .map(|m| Arrival {
                key: m.key,
                bytes: m.bytes,
            })
            .collect();
        let now = self.world.wall();
        #[cfg(feature = "planted")]
        if writ_protocol::planted::is(writ_protocol::planted::Bug::MarkBeforeCommit) {
            let early = self.world.store.look(|books| {
                let mut books = books.clone();
                desk::ingest(
                    &mut books,
                    &mut lock(&self.world.witness),
                    (&arrivals, &fence),
                    now,
                )
            });
            for mark in early.map(|outcome| outcome.marks).unwrap_or_default() {
                self.send(mark);
            }
        }
        let taken = self.controller.tx(&self.world, |books, witness| {
            desk::ingest(books, witness, (&arrivals, &fence), now)
        });
        match taken.await {
            Ok(outcome) => {
                self.world.note(format_args!(
                    "controller {} took batches: {:?}",
                    self.controller.number, outcome.words
                ));
                self.world.dirty.notify_waiters();
                if self.travel(true).await.is_ok() {
                    lock(&self.world.bus).acknowledge(&seqs);
                }
                for mark in outcome.marks {
                    self.send(mark);
                }
                Ok(false)
            }
            Err(failed) => {
                self.world.note(format_args!(
                    "controller {} could not take batches: {failed:?}",
                    self.controller.number
                ));
                lock(&self.world.bus).give_back(&seqs, self.world.now());
                Ok(true)
            }
        }
    }

    /// Tells an agent what is committed; nothing else may be told.
    fn send(&self, told: Told) {
        let committed = self.world.store.look(|books| {
            let mark = books.marks.get(&(told.mark.agent_id, told.mark.journal_id));
            (books.epoch > told.epoch)
                .then_some(u64::MAX)
                .or(mark.map(writ_store::ingest::Mark::upto))
        });
        if committed.unwrap_or(0) < told.mark.upto() {
            let what = format!(
                "{} was told {} where {committed:?} is committed",
                told.mark.journal_id,
                told.mark.upto()
            );
            self.world.accuse("I8", what);
        }
        hint(&self.world, &told.key, &Incoming::Mark(told.bytes.into()));
    }

    async fn settle(&self) {
        loop {
            tokio::time::sleep(SETTLE_TICK).await;
            // The reminders stay, and the next pass takes them.
            let _again = self.settle_once().await;
        }
    }

    /// As `App::settle_runs` does it: the next hosts are begun before their reminders are taken off.
    async fn settle_once(&self) -> Result<(), Failed> {
        if self.world.store.look(|books| books.moved.is_empty()) {
            return Ok(());
        }
        let listed = self
            .controller
            .tx(&self.world, |books, _| Ok(desk::rollout::reminders(books)));
        let mut listed = listed.await?;
        let runs: BTreeSet<RunId> = listed.iter().map(|(_, run)| *run).collect();
        for run in runs {
            let now = self.world.wall();
            let begun = self.controller.tx(&self.world, |books, witness| {
                desk::rollout::begin_next(books, witness, run, now);
                Ok(())
            });
            let is_begun = begun.await.is_ok();
            #[cfg(feature = "planted")]
            let is_begun = is_begun || writ_protocol::planted::is(writ_protocol::planted::Bug::ReminderLost);
            if !is_begun {
                listed.retain(|(_, one)| *one != run);
            }
        }
        self.world.dirty.notify_waiters();
        let now = self.world.wall();
        let settled = self.controller.tx(&self.world, |books, _| {
            desk::rollout::settle(books, &listed, now);
            Ok(())
        });
        settled.await
    }

    async fn upkeep(&self) {
        let mut rounds = 0_u32;
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            rounds += 1;
            let first = self
                .world
                .shards
                .first()
                .copied()
                .and_then(|shard| self.held.fence(shard));
            let Some(fence) = first else { continue };
            let now = self.world.wall();
            let swept = self.controller.tx(&self.world, |books, witness| {
                desk::sweep(books, witness, &fence, now)
            });
            if swept.await.is_ok_and(|count| count > 0) {
                self.world
                    .note(format_args!("controller {} swept", self.controller.number));
                self.world.dirty.notify_waiters();
            }
            if rounds.is_multiple_of(WALK_EVERY) {
                // The next walk finds what this one missed.
                let _again = self.walk().await;
            }
        }
    }

    /// Compares the bus with the ledger.
    async fn walk(&self) -> Result<(), ()> {
        let places: Vec<(AgentId, UserKey, Generation)> = self.world.store.look(|books| {
            let place = |a: &writ_store::agent::Agent| {
                (
                    a.agent_id,
                    a.user_key.clone(),
                    Generation {
                        epoch: books.epoch,
                        generation: a.generation,
                    },
                )
            };
            books.agents.values().map(place).collect()
        });
        let mut behind = Vec::new();
        for (agent_id, key, at) in places {
            if self.held_by_bus(&key).await?.is_none_or(|held| held < at) {
                behind.push(agent_id);
            }
        }
        if behind.is_empty() {
            return Ok(());
        }
        let marked = self.controller.tx(&self.world, |books, _| {
            books.mark_dirty(behind);
            Ok(())
        });
        marked.await.map_err(|_| ())?;
        self.world.dirty.notify_waiters();
        Ok(())
    }
}

/// Where an envelope says that it stands.
pub fn generation_of(envelope: &[u8]) -> Option<Generation> {
    let envelope = Envelope::parse(envelope).ok()?;
    let payload = envelope.unverified_payload();
    let statement: Statement<Manifest> = codec::from_json("manifest", payload, payload.len()).ok()?;
    Some(statement.predicate.at)
}
