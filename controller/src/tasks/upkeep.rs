//! What is looked after by the clock: that the bus has its streams and holds what the ledger says, that nothing waits for ever, and whether
//! this process can work.

use std::time::Duration;

use writ_chassis::telemetry::ErrorChain;
use writ_protocol::subject;

use super::{TaskError, Tasks};
use crate::bus::{ConnectionState as State, reconcile, streams};

pub(super) const STREAMS: &str = "bus.streams";
pub(super) const RECONCILE: &str = "bus.reconcile";
pub(super) const SWEEP: &str = "ledger.sweep";
pub(super) const HEALTH: &str = "health";

/// Pause between two looks at the streams.
const STREAMS_EVERY: Duration = Duration::from_secs(1);
/// Pause between two pages of the comparison of bus and ledger, and after its end.
const PAGE_EVERY: Duration = Duration::from_millis(500);
const WALK_EVERY: Duration = Duration::from_secs(10);
/// Pause between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Pause between two looks at the process itself.
const HEALTH_EVERY: Duration = Duration::from_secs(1);

/// How far the stream of manifests has come; it never goes back unless the bus lost something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    last: u64,
    messages: u64,
}

impl Mark {
    fn went_back_to(self, now: Self) -> bool {
        now.last < self.last || now.messages < self.messages
    }
}

pub(super) async fn streams(tasks: Tasks) -> Result<(), TaskError> {
    let check = tasks.health.check("streams");
    let bus = streams::management(&tasks.client);
    let (mut mark, mut lost, mut drift) = (Mark::default(), false, Vec::new());
    loop {
        match streams::ensure(&bus, &tasks.sizes).await {
            Ok(ensured) => {
                check.ok();
                tasks
                    .metrics
                    .streams_made
                    .inc_by(u64::try_from(ensured.made.len()).unwrap_or(u64::MAX));
                tasks
                    .metrics
                    .bus_drift
                    .set(i64::try_from(ensured.drift.len()).unwrap_or(i64::MAX));
                if drift != ensured.drift {
                    for one in &ensured.drift {
                        tracing::error!(name = one.name, field = one.field, declared = %one.declared, found = %one.found, "the bus is not as declared");
                    }
                    drift = ensured.drift;
                }
                lost |= !ensured.made.is_empty();
            }
            Err(error) => {
                check.failing(&error.to_string());
                tasks.round_failed(STREAMS, &ErrorChain(&error));
            }
        }
        if let Ok(stream) = bus.get_stream(subject::ORDERS_STREAM).await {
            let state = &stream.cached_info().state;
            let now = Mark {
                last: state.last_sequence,
                messages: state.messages,
            };
            lost |= mark.went_back_to(now);
            mark = now;
        }
        if lost {
            lost = !publish_all(&tasks).await;
        }
        if !tasks.pause(STREAMS_EVERY).await {
            return Ok(());
        }
    }
}

/// Whether it is on its way.
async fn publish_all(tasks: &Tasks) -> bool {
    tasks.desk.forget_bundles();
    match tasks.app.mark_all_dirty().await {
        Ok(count) => {
            tracing::warn!(
                agents = count,
                "the bus had lost messages; everything is published again"
            );
            true
        }
        Err(error) => {
            tasks.round_failed(STREAMS, &ErrorChain(&error));
            false
        }
    }
}

pub(super) async fn reconcile(tasks: Tasks) -> Result<(), TaskError> {
    let mut after = None;
    loop {
        if tasks.held.first().is_some() {
            match reconcile::page(&tasks.client, &tasks.desk, after).await {
                Ok(seen) => {
                    tasks
                        .metrics
                        .bus_diverged
                        .inc_by(u64::try_from(seen.behind).unwrap_or(u64::MAX));
                    after = seen.next;
                }
                Err(error) => tasks.round_failed(RECONCILE, &error),
            }
        }
        let pause = if after.is_some() { PAGE_EVERY } else { WALK_EVERY };
        if !tasks.pause(pause).await {
            return Ok(());
        }
    }
}

pub(super) async fn sweep(tasks: Tasks) -> Result<(), TaskError> {
    while tasks.pause(SWEEP_EVERY).await {
        let Some(fence) = tasks.held.first() else { continue };
        match tasks.app.sweep(Some(&fence)).await {
            Ok(report) => tasks.metrics.orders_swept.inc_by(report.orders),
            Err(error) => tasks.round_failed(SWEEP, &ErrorChain(&error)),
        }
    }
    Ok(())
}

pub(super) async fn health(tasks: Tasks) -> Result<(), TaskError> {
    let (ledger, bus) = (tasks.health.check("ledger"), tasks.health.check("bus"));
    loop {
        match tasks.app.health().await {
            Ok(_) => ledger.ok(),
            Err(error) => ledger.failing(&error.to_string()),
        }
        match tasks.client.connection_state() {
            State::Connected => bus.ok(),
            state => bus.failing(&format!("the connection is {state}")),
        }
        if !tasks.pause(HEALTH_EVERY).await {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_lost_messages_is_noticed() {
        let before = Mark { last: 9, messages: 4 };
        assert!(!before.went_back_to(Mark {
            last: 12,
            messages: 5
        }));
        assert!(!before.went_back_to(before));
        assert!(before.went_back_to(Mark { last: 9, messages: 0 }), "purged");
        assert!(
            before.went_back_to(Mark { last: 2, messages: 2 }),
            "restored from before"
        );
    }
}
