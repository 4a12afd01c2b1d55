//! The sweeper: every waiting state has a deadline, and this is who looks.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use writ_domain::slo::Counts;
use writ_protocol::id::{AgentId, RunId};
use writ_store::{agent, audit, idempotency, manifest, order, run};

use super::life::Fence;
use super::trace::spans;
use super::{App, Error};

/// Most rows looked at in one pass; the next pass takes the rest.
const PASS_MAX: u32 = 1_000;
/// Answers under idempotency keys are kept this long.
const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 3_600);
/// The feed is kept this long.
const FEED_TTL: Duration = Duration::from_secs(24 * 3_600);
/// How long an alert is known that started something: longer than anybody lets one fire.
const TRIGGER_TTL: Duration = Duration::from_secs(90 * 24 * 3_600);

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Orders whose deadline had passed.
    pub orders: u64,
    /// Runs looked at because of their own deadline.
    pub runs: u64,
}

/// What the slow round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpkeepReport {
    /// Manifests renewed before they expire.
    pub manifests: u64,
    /// Old answers and changes forgotten.
    pub forgotten: u64,
    /// Of all active agents those that were heard lately.
    pub status: Counts,
}

impl App {
    /// Moves whatever has waited too long.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sweep(&self, fence: Option<&Fence>) -> Result<SweepReport, Error> {
        let now = self.now();
        let mut report = SweepReport::default();
        let mut tx = self.store.begin("sweep").await?;
        if let Some(fence) = fence {
            Self::guard(&mut tx, fence).await?;
        }
        let mut overdue = order::overdue(&mut tx, now, PASS_MAX).await?;
        let (mut runs, mut agents, mut told) =
            (BTreeSet::<RunId>::new(), BTreeSet::<AgentId>::new(), Vec::new());
        for one in &mut overdue {
            if !super::rule::lapse(one, self.settings.lease, now) {
                continue;
            }
            runs.insert(one.run_id);
            agents.insert(one.agent_id);
            let body = json!({ "orderId": one.order_id, "host": one.agent_name, "state": one.state.name(), "code": one.code });
            told.push((format!("run:{}", one.run_id), body));
        }
        let places = self.places(&mut tx, &overdue).await?;
        order::save(&mut tx, &overdue, now).await?;
        audit::tell(&mut tx, now, "order.state", told).await?;
        report.orders = overdue.len() as u64;
        let late: Vec<RunId> = run::overdue(&mut tx, now, PASS_MAX).await?;
        report.runs = late.len() as u64;
        runs.extend(late);
        let has_moved = !runs.is_empty();
        run::moved::note(&mut tx, runs).await?;
        agent::bump(&mut tx, &agents.into_iter().collect::<Vec<_>>(), now).await?;
        tx.commit().await?;
        let ended = overdue.iter().filter(|one| one.state.is_terminal());
        self.traces()
            .note(ended.filter_map(|one| spans::of_order(one, &places)));
        if report.orders > 0 {
            self.nudge.notify_waiters();
        }
        if has_moved {
            self.moved.notify_one();
        }
        Ok(report)
    }

    /// Renews manifests long before they expire, and forgets what was kept long enough. It looks at whole tables and nothing here is urgent, so
    /// once a minute does.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn upkeep(&self, fence: Option<&Fence>) -> Result<UpkeepReport, Error> {
        let now = self.now();
        let mut tx = self.store.begin("upkeep").await?;
        if let Some(fence) = fence {
            Self::guard(&mut tx, fence).await?;
        }
        let renew = manifest::expiring(&mut tx, now.plus(self.settings.manifest_ttl / 2), PASS_MAX).await?;
        agent::bump_unhurried(&mut tx, &renew, now).await?;
        let forgotten = Self::forget_triggers(&mut tx, now.minus(TRIGGER_TTL)).await?
            + idempotency::prune(&mut tx, now.minus(IDEMPOTENCY_TTL)).await?
            + audit::prune(&mut tx, now.minus(FEED_TTL)).await?;
        self.report_missed(&mut tx, now).await?;
        let status = self.look_at_status(&mut tx, now).await?;
        tx.commit().await?;
        Ok(UpkeepReport {
            manifests: renew.len() as u64,
            forgotten,
            status,
        })
    }
}
