//! The ledger's own life as the desk sees it: schema, epoch, leases of controllers, what watchers are told.

use std::time::Duration;

use writ_chassis::clock::Reading;
use writ_domain::share::{Ear, Living};
use writ_protocol::id::ControllerId;
use writ_protocol::reason::Code;
use writ_protocol::subject::Shard;
use writ_store::{Tx, audit, lease, meta};

use super::drift::OPERATORS_TOPIC;
use super::view::FeedView;
use super::{App, Error, OperatorRole};

/// What the names of leases begin with by which controllers say that they live.
const LIVES: &str = "controller-";
/// And by which they say that the bus answers them.
const HEARS: &str = "hears-";
/// Who has not lived for this long is forgotten.
const FORGET_DEAD: Duration = Duration::from_secs(60);

/// What a holder of a lease shows with its writes.
pub type Fence = lease::Fence;

/// A place in the feed.
pub type Place = audit::Place;

/// Whether the desk can work.
#[derive(Clone, Debug)]
pub struct Health {
    /// The database's epoch.
    pub epoch: u32,
    /// The control epoch.
    pub control_epoch: u64,
}

impl App {
    /// Brings the schema up to date and begins the database's first epoch.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn migrate(&self) -> Result<(), Error> {
        self.store.migrate().await?;
        let mut tx = self.store.begin("life.migrate").await?;
        meta::init(&mut tx, &self.settings.tenant).await?;
        Ok(tx.commit().await?)
    }

    /// Checks the schema, the tenant, and that the database lives the life its epoch was written in.
    ///
    /// # Errors
    /// [`Error`] with W0500, W0501 or W0203.
    pub async fn health(&self) -> Result<Health, Error> {
        self.store.check_schema().await?;
        let mut tx = self.store.begin("life.health").await?;
        let meta = self.meta(&mut tx).await?;
        if !meta.same_life {
            let detail = "the database was restored, promoted or replaced; after making sure that it is the right one, run \
                          `writ-controller raise-epoch` so that agents send again what it lost";
            return Err(Error::new(Code::EpochNotRaised, detail));
        }
        Ok(Health {
            epoch: meta.epoch,
            control_epoch: meta.control_epoch,
        })
    }

    /// What the ledger's clock says. Controllers go by it, each and all: what one writes, another judges, and agents take it for the time.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ask_the_time(&self) -> Result<Reading, Error> {
        let mut tx = self.store.begin("life.ask_the_time").await?;
        let asked = self.clock.boot();
        let theirs = meta::clock(&mut tx).await?;
        Ok(Reading {
            asked,
            answered: self.clock.boot(),
            theirs,
        })
    }

    /// Begins a new epoch after a restore: every manifest is signed anew, above all that agents have seen.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn raise_epoch(&self) -> Result<u32, Error> {
        let now = self.now();
        let mut tx = self.store.begin("life.raise_epoch").await?;
        let epoch = meta::raise_epoch(&mut tx).await?;
        writ_store::agent::bump_all(&mut tx, now).await?;
        let act = audit::Act {
            at: now,
            actor: "controller",
        };
        audit::write(
            &mut tx,
            act,
            "epoch.raise",
            &epoch.to_string(),
            serde_json::json!({}),
        )
        .await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        Ok(epoch)
    }

    /// Takes or renews a lease; none when another controller holds it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn acquire_lease(
        &self,
        name: &str,
        holder: ControllerId,
        ttl: Duration,
    ) -> Result<Option<Fence>, Error> {
        let mut tx = self.store.begin("lease.acquire").await?;
        let fence = lease::acquire(&mut tx, name, holder, ttl).await?;
        tx.commit().await?;
        Ok(fence)
    }

    /// Says that a controller lives for so long, and whether the bus answers it; gives how many do, and how many it answers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn live(&self, holder: ControllerId, ear: Ear, ttl: Duration) -> Result<Living, Error> {
        let mut tx = self.store.begin("lease.announce").await?;
        lease::acquire(&mut tx, &format!("{LIVES}{holder}"), holder, ttl).await?;
        if ear == Ear::Hears {
            lease::acquire(&mut tx, &format!("{HEARS}{holder}"), holder, ttl).await?;
        }
        for said in [LIVES, HEARS] {
            lease::forget(&mut tx, said, FORGET_DEAD).await?;
        }
        let living = Living {
            live: lease::live(&mut tx, LIVES).await?,
            hearing: lease::live(&mut tx, HEARS).await?,
        };
        tx.commit().await?;
        Ok(living)
    }

    /// Renews leases of a controller, but for those that a transaction writes under at this moment.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep_leases(
        &self,
        holder: ControllerId,
        names: &[String],
        ttl: Duration,
    ) -> Result<Vec<Fence>, Error> {
        let mut tx = self.store.begin("lease.renew").await?;
        let renewed = lease::renew(&mut tx, names, holder, ttl).await?;
        tx.commit().await?;
        Ok(renewed)
    }

    /// Those of these leases that a controller holds.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn taken_leases(&self, names: &[String]) -> Result<Vec<String>, Error> {
        let mut tx = self.store.begin("lease.taken").await?;
        Ok(lease::taken(&mut tx, names).await?)
    }

    /// Gives up one lease.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn release_lease(&self, fence: &Fence) -> Result<(), Error> {
        let mut tx = self.store.begin("lease.release_one").await?;
        lease::release_one(&mut tx, fence).await?;
        Ok(tx.commit().await?)
    }

    /// Gives up every lease of a controller.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn release_leases(&self, holder: ControllerId) -> Result<(), Error> {
        let mut tx = self.store.begin("lease.release").await?;
        lease::release(&mut tx, holder).await?;
        Ok(tx.commit().await?)
    }

    /// Changes after a place, on these topics; all topics where none is named.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn feed_after(
        &self,
        place: Place,
        topics: &[String],
        limit: u32,
    ) -> Result<Vec<FeedView>, Error> {
        self.feed_for(OperatorRole::Admin, place, topics, limit).await
    }

    /// The same without what somebody of this role may not see.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn feed_for(
        &self,
        role: OperatorRole,
        place: Place,
        topics: &[String],
        limit: u32,
    ) -> Result<Vec<FeedView>, Error> {
        let hidden: &[&str] = if role < OperatorRole::Operator {
            &[OPERATORS_TOPIC]
        } else {
            &[]
        };
        let mut tx = self.store.begin("feed.after").await?;
        let entries = audit::after_without(&mut tx, place, (topics, hidden), limit).await?;
        let view = |e: audit::FeedEntry| FeedView {
            id: e.place.to_string(),
            at: e.at.to_string(),
            topic: e.topic,
            kind: e.kind,
            body: e.body,
        };
        Ok(entries.into_iter().map(view).collect())
    }

    /// The newest place of the feed.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn feed_newest(&self) -> Result<Place, Error> {
        let mut tx = self.store.begin("feed.newest").await?;
        Ok(audit::newest(&mut tx).await?)
    }

    /// Whether everything after a place is still kept. The beginning stands for all there is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn feed_holds(&self, place: Place) -> Result<bool, Error> {
        if place == Place::default() {
            return Ok(true);
        }
        let mut tx = self.store.begin("feed.holds").await?;
        Ok(audit::holds(&mut tx, place).await?)
    }

    /// The name of the lease that covers a shard's relay and ingest.
    pub fn shard_lease(shard: Shard) -> String {
        format!("shard-{}", shard.token())
    }

    pub(super) async fn meta(&self, tx: &mut Tx) -> Result<meta::Meta, Error> {
        let found = meta::read(tx).await?;
        let meta = found.ok_or_else(|| {
            Error::new(
                Code::SchemaVersion,
                "the database was never begun; run `writ-controller migrate`",
            )
        })?;
        if meta.tenant != self.settings.tenant {
            let detail = format!(
                "the database belongs to tenant {:?}, the configuration says {:?}",
                meta.tenant, self.settings.tenant
            );
            return Err(Error::new(Code::WrongTenant, detail));
        }
        Ok(meta)
    }

    pub(super) async fn guard(tx: &mut Tx, fence: &Fence) -> Result<(), Error> {
        if !lease::guard(tx, std::slice::from_ref(fence)).await?.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Code::LeaseLost,
            format!("the lease {} is no longer held", fence.name),
        ))
    }
}
