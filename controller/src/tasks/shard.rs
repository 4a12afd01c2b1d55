//! Rings ingest for one shard while its lease is held.

use std::time::Duration;

use writ_chassis::telemetry::ErrorChain;
use writ_protocol::subject::Shard;

use super::{TaskError, Tasks};
use crate::bus::ingest::{Flow, FlowError};
use crate::bus::streams;
use crate::metrics::BatchFate;

pub(super) const NAME: &str = "bus.ingest";
/// Pause between two looks at the lease.
const LOOK: Duration = Duration::from_millis(250);
/// Pause after a failure.
const TROUBLE: Duration = Duration::from_millis(500);

pub(super) async fn run(tasks: Tasks, shard: Shard) -> Result<(), TaskError> {
    while !tasks.life.is_stopping() {
        if !tasks.held.works_on(shard) {
            tasks.held.left(shard);
            tasks.pause(LOOK).await;
            continue;
        }
        if let Err(error) = flow(&tasks, shard).await {
            tasks.metrics.rounds_failed.inc();
            tracing::warn!(shard = shard.number(), error = %ErrorChain(&error), "ingest begins again");
            tasks.pause(TROUBLE).await;
        }
    }
    Ok(())
}

/// Takes batches until the shard is another's or the process stops; then what came and was not taken is given back.
async fn flow(tasks: &Tasks, shard: Shard) -> Result<(), FlowError> {
    let bus = streams::management(&tasks.client);
    let consumer = streams::ingest_consumer(&bus, shard)
        .await
        .map_err(|error| FlowError::Consumer(error.to_string()))?;
    let mut flow = Flow::open(tasks.client.clone(), &consumer, shard).await?;
    loop {
        tokio::select! {
            gathered = flow.gather() => gathered?,
            () = others(tasks, shard) => break,
            () = tasks.life.stopping() => break,
        }
        let round = flow.take(&tasks.desk).await?;
        tasks.metrics.batches(BatchFate::Taken, round.taken);
        tasks.metrics.batches(BatchFate::SetAside, round.set_aside);
        tasks.metrics.batches(BatchFate::Strange, round.strange);
    }
    flow.close().await;
    Ok(())
}

/// Until the shard is another's.
async fn others(tasks: &Tasks, shard: Shard) {
    while tasks.held.works_on(shard) {
        tokio::time::sleep(LOOK).await;
    }
}
