//! Rings the settling of runs: at once when orders moved here, and by the clock for what another controller left behind.

use std::time::Duration;

use writ_chassis::telemetry::ErrorChain;

use super::{TaskError, Tasks};

pub(super) const NAME: &str = "ledger.settle";
/// Pause between two passes: words that come in quick succession are one count.
const PACE: Duration = Duration::from_millis(20);
/// Longest time until a reminder is noticed of which nobody told us.
const TICK: Duration = Duration::from_millis(500);

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    let moved = tasks.app.moved_nudge();
    loop {
        let again = match tasks.app.settle_runs().await {
            Ok(settled) => settled.again,
            Err(error) => {
                tasks.round_failed(NAME, &ErrorChain(&error));
                false
            }
        };
        if !tasks.pause(PACE).await {
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
