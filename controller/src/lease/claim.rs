//! Claiming shards: a controller says that it lives, renews what it holds, takes what is free up to its part, and gives up what is more;
//! all of it where the bus answers others and not it.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::Instant;
use writ_domain::share::{self, Ear, Living};
use writ_protocol::subject::Shard;

use super::{Held, RENEW, TTL};
use crate::app::{App, Error};

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Controllers that live, this one among them, and those that the bus answers.
    pub living: Living,
    /// Shards that another controller has taken over.
    pub lost: usize,
}

/// Who claims.
#[derive(Clone, Debug)]
pub struct Claimant {
    app: Arc<App>,
    held: Held,
}

impl Claimant {
    /// Claims for `held`.
    pub const fn new(app: Arc<App>, held: Held) -> Self {
        Self { app, held }
    }

    /// One round, by whether the bus answers; ring it every [`super::LOOK`].
    ///
    /// # Errors
    /// [`Error`]: what is held stays usable until its time is over.
    pub async fn round(&self, ear: Ear) -> Result<Round, Error> {
        for fence in self.held.take_left() {
            self.app.release_lease(&fence).await?;
        }
        let living = self.app.live(self.held.holder(), ear, TTL).await?;
        let lost = self.renew().await?;
        let aim = share::part(Shard::all().count(), ear, living);
        let stay: Vec<Shard> = self.held.staying().into_iter().map(|(shard, _)| shard).collect();
        for shard in share::surplus(&stay, aim) {
            self.held.leave(shard);
        }
        self.take(aim.saturating_sub(stay.len())).await?;
        Ok(Round { living, lost })
    }

    /// Gives up everything: the work under it has ended.
    ///
    /// # Errors
    /// [`Error`]: the leases run out by themselves.
    pub async fn end(&self) -> Result<(), Error> {
        self.app.release_leases(self.held.holder()).await
    }

    /// All at once; those that a transaction is writing under wait for it, each on its own.
    async fn renew(&self) -> Result<usize, Error> {
        let asked = Instant::now();
        let due: Vec<Shard> = self
            .held
            .staying()
            .into_iter()
            .filter(|(_, last)| asked >= *last + RENEW)
            .map(|(shard, _)| shard)
            .collect();
        if due.is_empty() {
            return Ok(0);
        }
        let names: Vec<String> = due.iter().map(|shard| App::shard_lease(*shard)).collect();
        let renewed = self.app.keep_leases(self.held.holder(), &names, TTL).await?;
        let mut missed = Vec::new();
        for (shard, name) in due.into_iter().zip(names) {
            match renewed.iter().find(|fence| fence.name == name) {
                Some(fence) => self.held.note(shard, fence.clone(), asked),
                None => missed.push(shard),
            }
        }
        let each = join_all(missed.into_iter().map(|shard| self.acquire(shard))).await;
        let mut lost = 0;
        for (shard, is_ours) in each.into_iter().collect::<Result<Vec<_>, _>>()? {
            lost += usize::from(!is_ours && self.held.drop_lease(shard));
        }
        Ok(lost)
    }

    /// Takes up to `count` shards that nobody holds.
    async fn take(&self, count: usize) -> Result<(), Error> {
        if count == 0 {
            return Ok(());
        }
        let names: Vec<String> = Shard::all().map(App::shard_lease).collect();
        let taken: BTreeSet<String> = self.app.taken_leases(&names).await?.into_iter().collect();
        let free = Shard::all().filter(|shard| !taken.contains(&App::shard_lease(*shard)));
        let each = join_all(free.take(count).map(|shard| self.acquire(shard))).await;
        each.into_iter().collect::<Result<Vec<_>, _>>().map(|_| ())
    }

    async fn acquire(&self, shard: Shard) -> Result<(Shard, bool), Error> {
        let asked = Instant::now();
        let name = App::shard_lease(shard);
        let fence = self.app.acquire_lease(&name, self.held.holder(), TTL).await?;
        if let Some(fence) = &fence {
            self.held.note(shard, fence.clone(), asked);
        }
        Ok((shard, fence.is_some()))
    }
}
