//! Rings ingest: one intake for every shard held, so that what many agents say at once is one transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use writ_chassis::telemetry::ErrorChain;
use writ_protocol::subject::Shard;

use super::{TaskError, Tasks};
use crate::bus::ingest::{FlowError, Intake};
use crate::bus::streams;
use crate::metrics::BatchFate;

pub(super) const NAME: &str = "bus.ingest";
/// Pause between two looks at the leases.
const LOOK: Duration = Duration::from_millis(250);
/// Pause after a failure, of the shard that failed or of all when the ledger did.
const TROUBLE: Duration = Duration::from_millis(500);

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    let mut intake = Intake::new(tasks.client.clone());
    let mut again: BTreeMap<Shard, Instant> = BTreeMap::new();
    while !tasks.life.is_stopping() {
        follow_leases(&tasks, &mut intake, &mut again).await;
        if let Err(error) = until_look(&tasks, &mut intake).await {
            tasks.metrics.rounds_failed.inc();
            tracing::warn!(error = %ErrorChain(&error), "ingest begins again");
            match error {
                FlowError::Consumer { shard, .. } => {
                    again.insert(shard, Instant::now() + TROUBLE);
                }
                FlowError::Desk(_) => {
                    tasks.pause(TROUBLE).await;
                }
            }
        }
    }
    for shard in Shard::all() {
        intake.close(shard).await;
    }
    Ok(())
}

/// Takes batches until it is time to look at the leases.
async fn until_look(tasks: &Tasks, intake: &mut Intake) -> Result<(), FlowError> {
    let look = Instant::now() + LOOK;
    while Instant::now() < look {
        tokio::select! {
            gathered = intake.gather() => gathered?,
            () = tokio::time::sleep_until(look) => break,
            () = tasks.life.stopping() => break,
        }
        let round = intake.take(&tasks.desk).await?;
        tasks.metrics.batches(BatchFate::Taken, round.taken);
        tasks.metrics.batches(BatchFate::SetAside, round.set_aside);
        tasks.metrics.batches(BatchFate::Strange, round.strange);
        tasks.metrics.batches(BatchFate::Unheld, round.unheld);
    }
    Ok(())
}

/// Opens the flows of shards that are held, and closes those of shards that are to be left: what came and was not taken is given back.
async fn follow_leases(tasks: &Tasks, intake: &mut Intake, again: &mut BTreeMap<Shard, Instant>) {
    let now = Instant::now();
    again.retain(|_, at| *at > now);
    let open: Vec<Shard> = intake.shards().collect();
    for shard in Shard::all().filter(|shard| !tasks.held.works_on(*shard)) {
        intake.close(shard).await;
        tasks.held.left(shard);
    }
    let missing =
        |shard: &Shard| tasks.held.works_on(*shard) && !open.contains(shard) && !again.contains_key(shard);
    let bus = streams::management(&tasks.client);
    let found = join_all(Shard::all().filter(missing).map(|shard| {
        let bus = &bus;
        async move { (shard, streams::ingest_consumer(bus, shard).await) }
    }))
    .await;
    for (shard, consumer) in found {
        let opened = match consumer {
            Ok(consumer) => intake.open(&consumer, shard).await,
            Err(error) => Err(FlowError::Consumer {
                shard,
                reason: ErrorChain(&error).to_string(),
            }),
        };
        if let Err(error) = opened {
            tasks.round_failed(NAME, &ErrorChain(&error));
            again.insert(shard, now + TROUBLE);
        }
    }
}
