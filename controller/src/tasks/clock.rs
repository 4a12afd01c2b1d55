//! Follows the ledger's clock, so that all controllers mean the same time, and one on a machine with a wrong clock does no harm.

use std::time::Duration;

use writ_chassis::clock::Step;
use writ_chassis::telemetry::ErrorChain;

use super::{TaskError, Tasks};

pub(super) const NAME: &str = "clock.follow";
/// Pause between two questions: an oscillator goes wrong by microseconds in it.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Pause after a failure.
const TROUBLE: Duration = Duration::from_secs(1);
/// From here on a difference is told: as much as agents bear where something expires.
const APART_TOLD_US: i64 = 30_000_000;
/// From here on it is told that the ledger's clock was set.
const MOVED_TOLD_US: i64 = 1_000_000;

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    let mut is_apart = false;
    loop {
        let pause = match tasks.app.ask_the_time().await {
            Ok(reading) => {
                if let Some(step) = tasks.clock.follow(reading) {
                    tasks.metrics.clock.apart(step.own_ahead_us);
                    is_apart = tell(step, is_apart);
                }
                ASK_EVERY
            }
            Err(error) => {
                tasks.round_failed(NAME, &ErrorChain(&error));
                TROUBLE
            }
        };
        if !tasks.pause(pause).await {
            return Ok(());
        }
    }
}

/// Says what an operator should know; whether the clocks are far apart.
fn tell(step: Step, was_apart: bool) -> bool {
    let is_apart = step.own_ahead_us.saturating_abs() > APART_TOLD_US;
    let ahead_s = step.own_ahead_us / 1_000_000;
    if is_apart && !was_apart {
        tracing::warn!(
            ahead_s,
            "this machine's clock is not the ledger's, which counts; see to its time service"
        );
    }
    if was_apart && !is_apart {
        tracing::info!("this machine's clock is the ledger's again");
    }
    if step.moved_us.saturating_abs() > MOVED_TOLD_US {
        let by_s = step.moved_us / 1_000_000;
        tracing::warn!(by_s, "the ledger's clock was set; what expires is judged by it");
    }
    is_apart
}
