//! The clocks: they ring the desk and the doors, and decide nothing. Every loop ends at a soft stop, has a bound on its pace, and survives the
//! absence of the database or the bus.

mod alert;
mod clock;
mod forget;
mod ingest;
mod lease;
mod reach;
mod relay;
mod remediation;
mod revoke;
mod schedule;
mod settle;
pub(crate) mod traces;
mod upkeep;

use std::sync::Arc;

use writ_chassis::clock::FollowingClock;
use writ_chassis::health::Health;
use writ_chassis::lifecycle::LifecycleHandle;

use crate::app::{App, Retention};
use crate::bus::desk::Desk;
use crate::bus::revoke::{Revoker, StandingBoard};
use crate::bus::streams::StreamSizes;
use crate::bus::{Client, SubscribeError};
use crate::lease::Held;
use crate::lease::hearing::Hearing;
use crate::metrics::ControllerMetrics;
use crate::notify::Senders;

/// What the clocks ring.
#[derive(Clone, Debug)]
pub struct Tasks {
    /// The desk.
    pub app: Arc<App>,
    /// The desk's clock, which goes as the ledger's.
    pub clock: Arc<FollowingClock>,
    /// The desk as the bus sees it.
    pub desk: Desk,
    /// A connection in CORE.
    pub client: Client,
    /// Leases of this controller.
    pub held: Held,
    /// Whether the bus answers.
    pub hearing: Hearing,
    /// How large streams may become.
    pub sizes: StreamSizes,
    /// How long things are kept for people to look at.
    pub retention: Retention,
    /// Who can be told of alerts; none while nothing is sent.
    pub senders: Option<Arc<Senders>>,
    /// What works.
    pub health: Health,
    /// Numbers.
    pub metrics: ControllerMetrics,
    /// Whether removed agents can be taken off the bus.
    pub revocation: StandingBoard,
    /// The process.
    pub life: LifecycleHandle,
}

/// A background loop cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The bus does not let us listen.
    #[error("cannot subscribe on the bus")]
    Subscribe(#[from] SubscribeError),
}

/// Names of tasks that write under a lease; leases are given up after the last of them has ended.
const UNDER_LEASE: [&str; 4] = [relay::NAME, ingest::NAME, upkeep::SWEEP, forget::NAME];

impl Tasks {
    /// Starts every clock; the one that revokes where there is what it needs.
    pub fn start(&self, revoker: Option<Revoker>) {
        if let Some(revoker) = revoker {
            self.life.spawn(revoke::NAME, revoke::run(self.clone(), revoker));
        }
        self.life.spawn(clock::NAME, clock::run(self.clone()));
        self.life.spawn(reach::NAME, reach::run(self.clone()));
        self.life.spawn(lease::NAME, lease::run(self.clone()));
        self.life.spawn(relay::NAME, relay::run(self.clone()));
        self.life.spawn(ingest::NAME, ingest::run(self.clone()));
        self.life.spawn(schedule::NAME, schedule::run(self.clone()));
        self.life.spawn(remediation::NAME, remediation::run(self.clone()));
        if let Some(senders) = &self.senders {
            self.life.spawn(alert::MAKE, alert::make(self.clone()));
            self.life
                .spawn(alert::SEND, alert::send(self.clone(), Arc::clone(senders)));
        }
        self.life.spawn(settle::NAME, settle::run(self.clone()));
        self.life.spawn(upkeep::STREAMS, upkeep::streams(self.clone()));
        self.life
            .spawn(upkeep::RECONCILE, upkeep::reconcile(self.clone()));
        self.life.spawn(upkeep::SWEEP, upkeep::sweep(self.clone()));
        self.life.spawn(forget::NAME, forget::run(self.clone()));
        self.life.spawn(upkeep::LAG, upkeep::lag(self.clone()));
        self.life.spawn(upkeep::HEALTH, upkeep::health(self.clone()));
    }

    /// Waits; whether to go on.
    async fn pause(&self, time: std::time::Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.life.stopping() => false,
        }
    }

    fn round_failed(&self, task: &'static str, error: &dyn std::fmt::Display) {
        self.metrics.rounds_failed.inc();
        tracing::warn!(task, error = %error, "round failed; it is tried again");
    }
}
