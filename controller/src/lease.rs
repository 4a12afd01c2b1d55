//! Leases of shards as their holder keeps them: no longer used after three seconds by our own clock, of the four that they hold by the
//! database's, so that work ends before another controller may begin.

pub mod claim;
pub mod hearing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use writ_protocol::id::ControllerId;
use writ_protocol::subject::Shard;

use crate::app::Fence;

/// How long a lease holds, by the database's clock.
pub const TTL: Duration = Duration::from_secs(4);
/// How long it is used after it was asked for, by our clock.
pub const USE: Duration = Duration::from_secs(3);
/// How often it is renewed.
pub const RENEW: Duration = Duration::from_secs(1);
/// How often a controller looks who else is there and what is free. A dead controller's shards have a new owner after [`TTL`] and this.
pub const LOOK: Duration = Duration::from_millis(500);
/// Longest wait for the work on a shard that is given up; after it only the guards in the database protect.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);

/// The leases that a controller holds. Cheap to clone: every clone sees the same.
#[derive(Clone, Debug)]
pub struct Held {
    holder: ControllerId,
    shards: Arc<Mutex<BTreeMap<Shard, Lease>>>,
}

#[derive(Clone, Debug)]
struct Lease {
    fence: Fence,
    asked: Instant,
    leaving: Leaving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Stays,
    Since(Instant),
    Left,
}

impl Lease {
    fn is_held(&self, now: Instant) -> bool {
        now < self.asked + USE
    }

    fn stays(&self, now: Instant) -> bool {
        self.is_held(now) && self.leaving == Leaving::Stays
    }
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
                .filter(|lease| lease.is_held(now))
                .map(|lease| lease.fence.clone())
        })
    }

    /// Shards whose lease is surely held and stays.
    pub fn shards(&self) -> Vec<Shard> {
        let now = Instant::now();
        self.with(|shards| {
            shards
                .iter()
                .filter(|(_, lease)| lease.stays(now))
                .map(|(shard, _)| *shard)
                .collect()
        })
    }

    /// Whether new work on a shard may begin here.
    pub fn works_on(&self, shard: Shard) -> bool {
        let now = Instant::now();
        self.with(|shards| shards.get(&shard).is_some_and(|lease| lease.stays(now)))
    }

    /// What to show when doing what only one controller should do; none when that is another.
    pub fn first(&self) -> Option<Fence> {
        let shard = Shard::new(0)?;
        self.works_on(shard).then(|| self.fence(shard))?
    }

    /// Notes a lease asked for at `asked`.
    pub fn note(&self, shard: Shard, fence: Fence, asked: Instant) {
        self.with(|shards| {
            let leaving = match shards.get(&shard) {
                Some(known) if known.fence == fence => known.leaving,
                _ => Leaving::Stays,
            };
            shards.insert(
                shard,
                Lease {
                    fence,
                    asked,
                    leaving,
                },
            )
        });
    }

    /// Forgets a lease; whether there was one.
    pub fn drop_lease(&self, shard: Shard) -> bool {
        self.with(|shards| shards.remove(&shard).is_some())
    }

    /// No new work on a shard begins; what runs may end.
    pub fn leave(&self, shard: Shard) {
        self.with(|shards| {
            if let Some(lease) = shards.get_mut(&shard).filter(|l| l.leaving == Leaving::Stays) {
                lease.leaving = Leaving::Since(Instant::now());
            }
        });
    }

    /// The work on a shard has ended; said by whoever did it.
    pub fn left(&self, shard: Shard) {
        self.with(|shards| {
            if let Some(lease) = shards.get_mut(&shard).filter(|l| l.leaving != Leaving::Stays) {
                lease.leaving = Leaving::Left;
            }
        });
    }

    /// Takes out the leases that nobody works under any more, to be given up.
    fn take_left(&self) -> Vec<Fence> {
        let now = Instant::now();
        let is_over = |lease: &Lease| match lease.leaving {
            Leaving::Stays => false,
            Leaving::Since(since) => now >= since + LEAVE_PATIENCE,
            Leaving::Left => true,
        };
        self.with(|shards| {
            let over: Vec<Shard> = shards
                .iter()
                .filter(|(_, lease)| is_over(lease))
                .map(|(shard, _)| *shard)
                .collect();
            over.iter()
                .filter_map(|shard| shards.remove(shard))
                .map(|l| l.fence)
                .collect()
        })
    }

    /// Leases that stay, and when each was asked for last.
    fn staying(&self) -> Vec<(Shard, Instant)> {
        self.with(|shards| {
            shards
                .iter()
                .filter(|(_, lease)| lease.leaving == Leaving::Stays)
                .map(|(shard, lease)| (*shard, lease.asked))
                .collect()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<Shard, Lease>) -> T) -> T {
        work(&mut self.shards.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;

    fn held() -> (Held, Shard, Fence) {
        let holder = ControllerId::from_uuid(uuid::Uuid::from_u128(1));
        let shard = Shard::new(0).expect("a shard");
        let fence = Fence {
            name: App::shard_lease(shard),
            holder,
            token: 3,
        };
        (Held::new(holder), shard, fence)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_used_for_three_seconds_and_no_longer() {
        let (held, shard, fence) = held();
        assert!(held.first().is_none());
        held.note(shard, fence, Instant::now());
        tokio::time::advance(USE.saturating_sub(Duration::from_millis(1))).await;
        assert!(held.first().is_some());
        assert_eq!(held.shards(), [shard]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(held.fence(shard).is_none());
        assert!(held.shards().is_empty());
        assert!(held.drop_lease(shard) && !held.drop_lease(shard));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_left_serves_what_runs_and_is_given_up_after_it() {
        let (held, shard, fence) = held();
        held.note(shard, fence.clone(), Instant::now());
        held.left(shard);
        assert!(held.works_on(shard), "nobody had asked to leave");
        held.leave(shard);
        assert!(!held.works_on(shard) && held.first().is_none() && held.shards().is_empty());
        assert_eq!(
            held.fence(shard).as_ref(),
            Some(&fence),
            "what runs may still write"
        );
        assert!(held.take_left().is_empty());
        held.note(shard, fence.clone(), Instant::now());
        assert!(!held.works_on(shard), "a late renewal does not bring it back");
        held.left(shard);
        assert_eq!(held.take_left(), std::slice::from_ref(&fence));
        assert!(held.fence(shard).is_none());

        held.note(shard, fence.clone(), Instant::now());
        assert!(held.works_on(shard));
        held.leave(shard);
        tokio::time::advance(LEAVE_PATIENCE).await;
        assert_eq!(held.take_left(), [fence], "who does not leave is not waited for");
    }

    #[test]
    fn a_dead_controllers_shards_have_a_new_owner_within_five_seconds() {
        assert!(TTL + LOOK < Duration::from_secs(5));
        assert!(RENEW + RENEW < USE && USE < TTL);
    }
}
