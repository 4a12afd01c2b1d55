//! Sends spans: together, soon, and so often that a receiver which is away for a moment loses nothing. Who makes them never waits for it.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use writ_chassis::lifecycle::LifecycleHandle;

use super::TaskError;
use crate::metrics::{SpanLoss, TraceMetrics};
use crate::notify::Fate;
use crate::traces::{BATCH_MAX, Receiver, Span, pause_after};

pub(crate) const NAME: &str = "traces.send";
/// How long spans wait for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long the last ones may take at a soft stop.
const LAST: Duration = Duration::from_secs(3);
/// A receiver that is away is told of in the log once in so many batches.
const TOLD_EVERY: u64 = 60;

/// Sends what comes out of the queue until the process stops, and then what is left in it.
pub(crate) async fn run(
    receiver: Receiver,
    mut queue: mpsc::Receiver<Span>,
    metrics: TraceMetrics,
    life: LifecycleHandle,
) -> Result<(), TaskError> {
    let mut given_up = 0;
    loop {
        let mut batch = Vec::new();
        let is_stopping = tokio::select! {
            () = life.stopping() => true,
            came = queue.recv_many(&mut batch, BATCH_MAX) => came == 0,
        };
        if is_stopping {
            break;
        }
        gather(&mut queue, &mut batch, &life).await;
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let delivered = tokio::select! {
            delivered = deliver(&receiver, &batch, &life) => delivered,
            () = long_after_stop(&life) => Err("the controller stops".to_owned()),
        };
        match delivered {
            Ok(()) => {
                metrics.sent(count);
                given_up = 0;
            }
            Err(said) => {
                metrics.lost(SpanLoss::Untaken, count);
                if given_up % TOLD_EVERY == 0 {
                    tracing::warn!(spans = count, %said, "spans were not taken by their receiver and are gone");
                }
                given_up += 1;
            }
        }
    }
    finish(&receiver, queue, &metrics).await;
    Ok(())
}

/// Sends what is left while there is time; each once.
async fn finish(receiver: &Receiver, mut queue: mpsc::Receiver<Span>, metrics: &TraceMetrics) {
    queue.close();
    let until = Instant::now() + LAST;
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        match timeout_at(until, receiver.send(&batch)).await {
            Ok(outcome) if outcome.fate == Fate::Accepted => metrics.sent(count),
            _ => metrics.lost(SpanLoss::Untaken, count),
        }
        batch.clear();
    }
}

/// When what is under way at a soft stop has had its time.
async fn long_after_stop(life: &LifecycleHandle) {
    life.stopping().await;
    tokio::time::sleep(LAST).await;
}

/// Waits a moment for others, so that what belongs together goes together.
async fn gather(queue: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>, life: &LifecycleHandle) {
    let until = Instant::now() + GATHER;
    while batch.len() < BATCH_MAX {
        let room = BATCH_MAX - batch.len();
        let came = tokio::select! {
            () = life.stopping() => return,
            came = timeout_at(until, queue.recv_many(batch, room)) => came,
        };
        if !came.is_ok_and(|count| count > 0) {
            return;
        }
    }
}

/// Tries until the spans are taken or given up; what the receiver said last.
async fn deliver(receiver: &Receiver, batch: &[Span], life: &LifecycleHandle) -> Result<(), String> {
    let mut tries = 0;
    loop {
        let outcome = receiver.send(batch).await;
        tries += 1;
        let asked = match outcome.fate {
            Fate::Accepted => return Ok(()),
            Fate::Refused => return Err(outcome.said),
            Fate::Failed(asked) => asked,
        };
        let Some(pause) = pause_after(tries, asked) else {
            return Err(outcome.said);
        };
        tokio::select! {
            () = life.stopping() => return Err(outcome.said),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
