//! Forgets alarms, dead letters and what became of drift, where they were kept long enough. Nothing here is urgent: a few passes an hour, each with a bound.

use std::time::Duration;

use writ_chassis::telemetry::ErrorChain;

use super::{TaskError, Tasks};

pub(super) const NAME: &str = "ledger.forget";

/// Pause between two looks where nothing more was found.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// Pause between two passes while there is more.
const NEXT: Duration = Duration::from_secs(1);

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    let mut pause = NEXT;
    while tasks.pause(pause).await {
        // Another controller may hold every shard; it forgets for all.
        let Some(fence) = tasks.held.first() else { continue };
        pause = match tasks.app.forget(Some(&fence), tasks.retention).await {
            Ok(forgotten) => {
                tasks.metrics.alarms_forgotten.inc_by(forgotten.alarms);
                tasks
                    .metrics
                    .dead_letters_forgotten
                    .inc_by(forgotten.dead_letters);
                if forgotten.is_full() { NEXT } else { EVERY }
            }
            Err(error) => {
                tasks.round_failed(NAME, &ErrorChain(&error));
                EVERY
            }
        };
    }
    Ok(())
}
