//! What waits, shard by shard, of the shards that a controller holds.

use std::time::Duration;

use prometheus::IntGaugeVec;
use writ_chassis::metrics::{Metrics, MetricsError};
use writ_protocol::subject::Shard;

/// Numbers with a label for the shard.
#[derive(Clone, Debug)]
pub struct ShardMetrics {
    dirty: IntGaugeVec,
    oldest: IntGaugeVec,
    waiting: IntGaugeVec,
}

impl ShardMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            dirty: m.gauges(
                "manifests_dirty_count",
                "Agents whose manifest on the bus is behind, by shard held.",
                &["shard"],
            )?,
            oldest: m.gauges(
                "manifests_dirty_oldest_seconds",
                "How long the agent that waits longest for its manifest has waited, by shard held.",
                &["shard"],
            )?,
            waiting: m.gauges(
                "event_batches_waiting_count",
                "Event batches on the bus that are not committed yet, by shard held.",
                &["shard"],
            )?,
        })
    }

    /// Shows what waits for the relay of a shard: agents, and how long the longest has waited.
    pub fn relay_waits(&self, shard: Shard, agents: u64, longest: Duration) {
        set(&self.dirty, shard, agents);
        set(&self.oldest, shard, longest.as_secs());
    }

    /// Shows how many batches of a shard wait.
    pub fn ingest_waits(&self, shard: Shard, batches: u64) {
        set(&self.waiting, shard, batches);
    }

    /// Shows nothing more of a shard that is another controller's.
    pub fn forget(&self, shard: Shard) {
        for gauge in [&self.dirty, &self.oldest, &self.waiting] {
            // What was never shown is gone already.
            drop(gauge.remove_label_values(&[shard.token()]));
        }
    }
}

fn set(gauge: &IntGaugeVec, shard: Shard, value: u64) {
    gauge
        .with_label_values(&[shard.token()])
        .set(i64::try_from(value).unwrap_or(i64::MAX));
}
