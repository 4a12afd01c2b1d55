//! Rings the remediations: every controller looks, and the ledger decides who may.

use std::time::Duration;

use writ_chassis::telemetry::ErrorChain;

use super::{TaskError, Tasks};

pub(super) const NAME: &str = "ledger.remediation";
/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    while tasks.pause(EVERY).await {
        match tasks.app.run_remediations().await {
            Ok(done) => {
                let ended = (done.resolved, done.failed);
                tasks.metrics.remediations.count(done.begun, ended);
            }
            Err(error) => tasks.round_failed(NAME, &ErrorChain(&error)),
        }
    }
    Ok(())
}
