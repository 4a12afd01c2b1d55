//! Rings the relay: at once when something became dirty here, when another controller says so, and by the clock for whatever both missed.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use writ_protocol::subject::{self, Shard};

use super::{TaskError, Tasks};
use crate::bus::Subscriber;
use crate::bus::relay;

pub(super) const NAME: &str = "bus.relay";
/// Longest time until something dirty is noticed.
const TICK: Duration = Duration::from_millis(200);

pub(super) async fn run(tasks: Tasks) -> Result<(), TaskError> {
    let mut told = tasks.client.subscribe(subject::DIRTY_FILTER).await?;
    let nudge = tasks.app.dirty_nudge();
    loop {
        // Listening begins before the look, so that nothing falls between.
        let mut nudged = pin!(nudge.notified());
        nudged.as_mut().enable();
        if pass(&tasks).await {
            continue;
        }
        tokio::select! {
            () = nudged => tell_others(&tasks).await,
            () = heard(&mut told) => {}
            () = tokio::time::sleep(TICK) => {}
            () = tasks.life.stopping() => return Ok(()),
        }
    }
}

/// One pass over all shards held; whether there is more at once.
async fn pass(tasks: &Tasks) -> bool {
    match relay::pass(&tasks.client, &tasks.desk, &tasks.held.shards()).await {
        Ok(pass) => {
            let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
            tasks.metrics.manifests_published.inc_by(count(pass.published));
            tasks.metrics.manifests_failed.inc_by(count(pass.failed));
            pass.is_full() && !tasks.life.is_stopping()
        }
        Err(error) => {
            tasks.round_failed(NAME, &error);
            false
        }
    }
}

/// Several messages at once are one reason to look. Never answers when the subscription has ended: the clock remains.
async fn heard(told: &mut Subscriber) {
    if told.next().await.is_none() {
        std::future::pending::<()>().await;
    }
    while futures_util::FutureExt::now_or_never(told.next())
        .flatten()
        .is_some()
    {}
}

/// Shards of other controllers.
async fn tell_others(tasks: &Tasks) {
    let ours = tasks.held.shards();
    for shard in Shard::all().filter(|shard| !ours.contains(shard)) {
        // A hint: the other's clock rings anyway.
        if tasks
            .client
            .publish(subject::dirty(shard), bytes::Bytes::new())
            .await
            .is_err()
        {
            return;
        }
    }
}
