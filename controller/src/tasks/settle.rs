//! Rings the settling of runs: at once when orders moved here, and by the clock for what another controller left behind.

use std::time::Duration;

use writ_chassis::telemetry::ErrorChain;

use super::{TaskError, Tasks};

pub(super) const NAME: &str = "ledger.settle";
/// Shortest pause between two passes: words that come in quick succession are one count…
const PACE: Duration = Duration::from_millis(20);
/// …and the longest after a pass that took long. Counting ten thousand orders again and again takes the ledger from those who end them.
const PACE_MAX: Duration = Duration::from_millis(500);
/// A pass takes at most one part in so many of a ledger's connection.
const SHARE: u32 = 10;
/// Longest time until a reminder is noticed of which nobody told us.
const TICK: Duration = Duration::from_millis(500);

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    let moved = tasks.app.moved_nudge();
    loop {
        let began = tokio::time::Instant::now();
        let again = match tasks.app.settle_runs().await {
            Ok(settled) => {
                tasks.metrics.orders.rollouts_stopped.inc_by(settled.stopped);
                settled.again
            }
            Err(error) => {
                tasks.round_failed(NAME, &ErrorChain(&error));
                false
            }
        };
        if !tasks.pause(pace(began.elapsed())).await {
            return Ok(());
        }
        if again {
            continue;
        }
        tokio::select! {
            () = moved.notified() => {}
            () = tokio::time::sleep(TICK) => {}
            () = tasks.life.stopping() => return Ok(()),
        }
    }
}

/// The pause after a pass that took so long.
fn pace(took: Duration) -> Duration {
    took.saturating_mul(SHARE - 1).clamp(PACE, PACE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_pass_is_followed_by_a_long_pause_within_bounds() {
        assert_eq!(pace(Duration::ZERO), PACE);
        assert_eq!(pace(Duration::from_millis(10)), Duration::from_millis(90));
        assert_eq!(pace(Duration::from_secs(5)), PACE_MAX);
    }
}
