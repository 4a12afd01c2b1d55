//! Rings the claims on shards, and gives all of them up after the last writer has ended.

use std::time::Duration;

use tokio::time::Instant;
use writ_chassis::telemetry::ErrorChain;

use super::{TaskError, Tasks, UNDER_LEASE};
use crate::lease::LOOK;
use crate::lease::claim::Claimant;

pub(super) const NAME: &str = "lease.renew";
/// Pause between two looks whether the work under leases has ended.
const END_LOOK: Duration = Duration::from_millis(20);
/// Longest wait for that when stopping.
const END_PATIENCE: Duration = Duration::from_secs(8);

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    let claimant = Claimant::new(tasks.app.clone(), tasks.held.clone());
    loop {
        match claimant.round().await {
            Ok(round) => {
                let (live, lost) = (i64::try_from(round.live), u64::try_from(round.lost));
                tasks.metrics.leases.live.set(live.unwrap_or(i64::MAX));
                if round.lost > 0 {
                    tasks.metrics.leases.lost.inc_by(lost.unwrap_or(u64::MAX));
                    tracing::warn!(shards = round.lost, "another controller has taken over shards");
                }
            }
            Err(error) => tasks.round_failed(NAME, &ErrorChain(&error)),
        }
        let count = tasks.held.shards().len();
        tasks
            .metrics
            .leases
            .held
            .set(i64::try_from(count).unwrap_or(i64::MAX));
        if !tasks.pause(LOOK).await {
            break;
        }
    }
    give_up(&tasks, &claimant).await;
    Ok(())
}

/// After the last writer has ended, so that nobody takes over while something is still being written.
async fn give_up(tasks: &Tasks, claimant: &Claimant) {
    let deadline = Instant::now() + END_PATIENCE;
    while Instant::now() < deadline && tasks.life.running().iter().any(|name| UNDER_LEASE.contains(name)) {
        tokio::time::sleep(END_LOOK).await;
    }
    if let Err(error) = claimant.end().await {
        tracing::warn!(error = %ErrorChain(&error), "leases not given up; they run out by themselves");
    }
}
