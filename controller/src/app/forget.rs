//! What is forgotten once it was kept long enough for somebody to look: alarms, dead letters, what became of drift, and notifications. Evidence is never among it.

use std::time::Duration;

use writ_store::{alert, drift, retention};

use super::life::Fence;
use super::{App, Error};

/// Most rows of a table that one pass forgets; while it finds as many, the next follows at once.
pub const FORGET_MAX: u32 = 1_000;

/// How long things are kept for people to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// What agents raised.
    pub alarms: Duration,
    /// Messages that could not be taken.
    pub dead_letters: Duration,
    /// What became of findings of drift, and findings that are cleared.
    pub drift: Duration,
    /// Notifications that were taken, given up or dropped.
    pub alerts: Duration,
}

/// What a pass forgot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Alarms.
    pub alarms: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// What became of findings of drift, and findings that are cleared.
    pub drift: u64,
    /// Notifications that were taken, given up or dropped.
    pub alerts: u64,
}

impl Forgotten {
    /// Whether a further pass would probably find more.
    pub fn is_full(self) -> bool {
        self.alarms
            .max(self.dead_letters)
            .max(self.drift)
            .max(self.alerts)
            >= u64::from(FORGET_MAX)
    }
}

impl App {
    /// Forgets what is older than it is to be kept, the oldest first, at most [`FORGET_MAX`] rows of each table.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn forget(&self, fence: Option<&Fence>, keep: Retention) -> Result<Forgotten, Error> {
        let now = self.now();
        let mut tx = self.store.begin("forget").await?;
        if let Some(fence) = fence {
            Self::guard(&mut tx, fence).await?;
        }
        let drift_before = now.minus(keep.drift);
        let events = drift::history::prune(&mut tx, drift_before, FORGET_MAX).await?;
        let cleared = drift::history::prune_cleared(&mut tx, drift_before, FORGET_MAX).await?;
        let forgotten = Forgotten {
            drift: events.max(cleared),
            alerts: alert::prune(&mut tx, now.minus(keep.alerts), FORGET_MAX).await?,
            alarms: retention::prune_alarms(&mut tx, now.minus(keep.alarms), FORGET_MAX).await?,
            dead_letters: retention::prune_dead_letters(&mut tx, now.minus(keep.dead_letters), FORGET_MAX)
                .await?,
        };
        tx.commit().await?;
        Ok(forgotten)
    }
}
