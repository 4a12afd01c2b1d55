//! Leases of shards as their holder keeps them: no longer used after seven seconds by our own clock, of the ten that they hold by the
//! database's, so that work ends before another controller may begin.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use writ_protocol::id::ControllerId;
use writ_protocol::subject::Shard;

use crate::app::Fence;

/// How long it is used after it was asked for, by our clock.
const USE: Duration = Duration::from_secs(7);

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

    /// Who holds them.
    pub const fn holder(&self) -> ControllerId {
        self.holder
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
    pub fn note(&self, shard: Shard, fence: Fence, asked: Instant) {
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

    /// Forgets a lease; whether there was one.
    pub fn drop_lease(&self, shard: Shard) -> bool {
        self.with(|shards| shards.remove(&shard).is_some())
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<Shard, Lease>) -> T) -> T {
        work(&mut self.shards.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;

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
