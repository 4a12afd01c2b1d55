//! Rings the revoker: at once when an agent was removed here, and by the clock for what another controller removed, for what failed, and for
//! a server that has forgotten.

use std::time::Duration;

use writ_chassis::telemetry::ErrorChain;

use super::{TaskError, Tasks};
use crate::bus::revoke::{REVOCATIONS_MAX, Revoker, Standing};

pub(super) const NAME: &str = "bus.revoke";
/// Pause between two looks at what the server knows.
const LOOK: Duration = Duration::from_secs(10);
/// Pause after a failure.
const TROUBLE: Duration = Duration::from_secs(1);

pub(super) async fn run(tasks: Tasks, revoker: Revoker) -> Result<(), TaskError> {
    let nudge = tasks.app.removal_nudge();
    loop {
        let pause = match round(&tasks, &revoker).await {
            Ok(revoked) => {
                tasks.revocation.set(Standing::Works);
                tasks
                    .metrics
                    .agents_revoked
                    .inc_by(u64::try_from(revoked).unwrap_or(u64::MAX));
                if revoked > 0 {
                    tracing::info!(agents = revoked, "removed agents are off the bus");
                }
                LOOK
            }
            Err(reason) => {
                tasks.round_failed(NAME, &reason);
                tasks.revocation.set(Standing::Fails(reason));
                TROUBLE
            }
        };
        tokio::select! {
            () = nudge.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = tasks.life.stopping() => return Ok(()),
        }
    }
}

async fn round(tasks: &Tasks, revoker: &Revoker) -> Result<usize, String> {
    let most = u32::try_from(REVOCATIONS_MAX).unwrap_or(u32::MAX);
    let removed = tasks.app.removed_agents(most).await;
    let removed = removed.map_err(|error| ErrorChain(&error).to_string())?;
    let done = revoker.ensure(&removed, tasks.app.instant()).await;
    done.map_err(|error| ErrorChain(&error).to_string())
}
