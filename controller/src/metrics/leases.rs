//! What controllers share among them by leases.

use prometheus::{IntCounter, IntGauge};
use writ_chassis::metrics::{Metrics, MetricsError};

/// Numbers without labels.
#[derive(Clone, Debug)]
pub struct LeaseMetrics {
    /// Shards whose lease this controller holds.
    pub held: IntGauge,
    /// Controllers that live, this one among them.
    pub live: IntGauge,
    /// Leases of shards that were lost before they were given up.
    pub lost: IntCounter,
}

impl LeaseMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            held: m.gauge("shards_held_count", "Shards whose lease this controller holds.")?,
            live: m.gauge(
                "controllers_live_count",
                "Controllers that live, this one among them.",
            )?,
            lost: m.counter(
                "leases_lost_total",
                "Leases of shards that were lost before they were given up.",
            )?,
        })
    }
}
