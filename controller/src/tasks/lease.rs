//! Leases of shards: one for a shard's relay and ingest. Taken for ten seconds, renewed every three, and no longer used after seven by our own
//! clock, so that work ends before another controller may begin.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use writ_protocol::id::ControllerId;
use writ_protocol::subject::Shard;

use super::{TaskError, Tasks, UNDER_LEASE};
use crate::app::{App, Fence};

pub(super) const NAME: &str = "lease.renew";
/// How long a lease holds, by the database's clock.
const TTL: Duration = Duration::from_secs(10);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(3);
/// How long it is used after it was asked for, by our clock.
const USE: Duration = Duration::from_secs(7);
/// Pause between two looks whether the work under leases has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Longest wait for that when stopping.
const END_PATIENCE: Duration = Duration::from_secs(8);

/// The leases that a controller holds. Cheap to clone: every clone sees the same.
#[derive(Clone, Debug)]
pub struct Held {
    holder: ControllerId,
    shards: Arc<Mutex<BTreeMap<Shard, Lease>>>,
}

#[derive(Clone, Debug)]
struct Lease {
    fence: Fence,
    until: Instant,
}

impl Held {
    /// None yet.
    pub fn new(holder: ControllerId) -> Self {
        Self {
            holder,
            shards: Arc::default(),
        }
    }

    /// What to show when writing for a shard; none when its lease is not surely held.
    pub fn fence(&self, shard: Shard) -> Option<Fence> {
        let now = Instant::now();
        self.with(|shards| {
            shards
                .get(&shard)
                .filter(|lease| now < lease.until)
                .map(|lease| lease.fence.clone())
        })
    }

    /// Shards whose lease is surely held.
    pub fn shards(&self) -> Vec<Shard> {
        let now = Instant::now();
        self.with(|shards| {
            shards
                .iter()
                .filter(|(_, lease)| now < lease.until)
                .map(|(shard, _)| *shard)
                .collect()
        })
    }

    /// What to show when doing what only one controller should do; none when that is another.
    pub fn first(&self) -> Option<Fence> {
        self.fence(Shard::new(0)?)
    }

    /// Notes a lease asked for at `asked`.
    fn note(&self, shard: Shard, fence: Fence, asked: Instant) {
        self.with(|shards| {
            shards.insert(
                shard,
                Lease {
                    fence,
                    until: asked + USE,
                },
            )
        });
    }

    /// Whether there was one.
    fn drop_lease(&self, shard: Shard) -> bool {
        self.with(|shards| shards.remove(&shard).is_some())
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<Shard, Lease>) -> T) -> T {
        work(&mut self.shards.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    loop {
        join_all(Shard::all().map(|shard| renew(&tasks, shard))).await;
        let count = tasks.held.shards().len();
        tasks
            .metrics
            .shards_held
            .set(i64::try_from(count).unwrap_or(i64::MAX));
        if !tasks.pause(RENEW).await {
            break;
        }
    }
    give_up(&tasks).await;
    Ok(())
}

async fn renew(tasks: &Tasks, shard: Shard) {
    let asked = Instant::now();
    match tasks
        .app
        .acquire_lease(&App::shard_lease(shard), tasks.held.holder, TTL)
        .await
    {
        Ok(Some(fence)) => tasks.held.note(shard, fence, asked),
        Ok(None) => {
            if tasks.held.drop_lease(shard) {
                tasks.metrics.leases_lost.inc();
                tracing::warn!(
                    shard = shard.number(),
                    "another controller has taken over the shard"
                );
            }
        }
        // What is held stays usable until its time is over.
        Err(error) => tasks.round_failed(NAME, &error),
    }
}

/// After the last writer has ended, so that nobody takes over while something is still being written.
async fn give_up(tasks: &Tasks) {
    let deadline = Instant::now() + END_PATIENCE;
    while Instant::now() < deadline && tasks.life.running().iter().any(|name| UNDER_LEASE.contains(name)) {
        tokio::time::sleep(LOOK).await;
    }
    if let Err(error) = tasks.app.release_leases(tasks.held.holder).await {
        tracing::warn!(error = %error, "leases not given up; they run out by themselves");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_used_for_seven_seconds_and_no_longer() {
        let holder = ControllerId::from_uuid(uuid::Uuid::from_u128(1));
        let (held, shard) = (Held::new(holder), Shard::new(0).expect("a shard"));
        assert!(held.first().is_none());
        held.note(
            shard,
            Fence {
                name: App::shard_lease(shard),
                holder,
                token: 3,
            },
            Instant::now(),
        );
        tokio::time::advance(USE.saturating_sub(Duration::from_millis(1))).await;
        assert!(held.first().is_some());
        assert_eq!(held.shards(), [shard]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(held.fence(shard).is_none());
        assert!(held.shards().is_empty());
        assert!(held.drop_lease(shard) && !held.drop_lease(shard));
    }
}
