//! Rings the schedules: every controller looks, and the ledger decides who may.

use std::time::Duration;

use writ_chassis::telemetry::ErrorChain;

use super::{TaskError, Tasks};
use crate::metrics::ScheduleCounts;

pub(super) const NAME: &str = "ledger.schedule";
/// Pause between two looks: a time is started at most so much later than it is due.
const EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    while tasks.pause(EVERY).await {
        match tasks.app.run_schedules().await {
            Ok(done) => tasks.metrics.schedules.count(&ScheduleCounts {
                started: &done.started,
                queued: done.queued,
                failed: done.failed,
                skipped: &done.skipped,
                undecided: done.broken.len(),
            }),
            Err(error) => tasks.round_failed(NAME, &ErrorChain(&error)),
        }
    }
    Ok(())
}
