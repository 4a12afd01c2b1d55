//! Leases of shards: one for a shard's relay and ingest. Taken for ten seconds, renewed every three, given up after the last writer has ended.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use writ_protocol::subject::Shard;

use super::{TaskError, Tasks, UNDER_LEASE};
use crate::app::App;

pub(super) const NAME: &str = "lease.renew";
/// How long a lease holds, by the database's clock.
const TTL: Duration = Duration::from_secs(10);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(3);
/// Pause between two looks whether the work under leases has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Longest wait for that when stopping.
const END_PATIENCE: Duration = Duration::from_secs(8);

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    loop {
        join_all(Shard::all().map(|shard| renew(&tasks, shard))).await;
        let count = tasks.held.shards().len();
        tasks
            .metrics
            .shards_held
            .set(i64::try_from(count).unwrap_or(i64::MAX));
        if !tasks.pause(RENEW).await {
            break;
        }
    }
    give_up(&tasks).await;
    Ok(())
}

async fn renew(tasks: &Tasks, shard: Shard) {
    let asked = Instant::now();
    match tasks
        .app
        .acquire_lease(&App::shard_lease(shard), tasks.held.holder(), TTL)
        .await
    {
        Ok(Some(fence)) => tasks.held.note(shard, fence, asked),
        Ok(None) => {
            if tasks.held.drop_lease(shard) {
                tasks.metrics.leases_lost.inc();
                tracing::warn!(
                    shard = shard.number(),
                    "another controller has taken over the shard"
                );
            }
        }
        // What is held stays usable until its time is over.
        Err(error) => tasks.round_failed(NAME, &error),
    }
}

/// After the last writer has ended, so that nobody takes over while something is still being written.
async fn give_up(tasks: &Tasks) {
    let deadline = Instant::now() + END_PATIENCE;
    while Instant::now() < deadline && tasks.life.running().iter().any(|name| UNDER_LEASE.contains(name)) {
        tokio::time::sleep(LOOK).await;
    }
    if let Err(error) = tasks.app.release_leases(tasks.held.holder()).await {
        tracing::warn!(error = %error, "leases not given up; they run out by themselves");
    }
}
