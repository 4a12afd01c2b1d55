//! Rings the claims on shards, and gives all of them up after the last writer has ended.

use std::time::Duration;

use tokio::time::Instant;
use writ_chassis::telemetry::ErrorChain;
use writ_domain::share::Ear;

use super::{TaskError, Tasks, UNDER_LEASE};
use crate::lease::LOOK;
use crate::lease::claim::{Claimant, Round};

pub(super) const NAME: &str = "lease.renew";
/// Pause between two looks whether the work under leases has ended.
const END_LOOK: Duration = Duration::from_millis(20);
/// Longest wait for that when stopping.
const END_PATIENCE: Duration = Duration::from_secs(8);

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    let claimant = Claimant::new(tasks.app.clone(), tasks.held.clone());
    let mut steps_aside = false;
    loop {
        let ear = tasks.hearing.ear();
        match claimant.round(ear).await {
            Ok(round) => {
                steps_aside = tell(ear, round, steps_aside);
                let (live, lost) = (i64::try_from(round.living.live), u64::try_from(round.lost));
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

/// Says when this controller leaves its agents to others, and when it is back; whether it does.
fn tell(ear: Ear, round: Round, did: bool) -> bool {
    let hearing = round.living.hearing;
    let does = ear == Ear::Deaf && hearing > 0;
    if does && !did {
        tracing::warn!(
            hearing,
            "the bus answers other controllers and not this one; they take its shards"
        );
    }
    if did && !does {
        tracing::info!("this controller takes its part of the shards again");
    }
    does
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
