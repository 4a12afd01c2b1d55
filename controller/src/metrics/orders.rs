//! What became of orders without a word of their agents.

use prometheus::IntCounter;
use writ_chassis::metrics::{Metrics, MetricsError};

/// Counts of orders that this controller moved by itself.
#[derive(Clone, Debug)]
pub struct OrderMetrics {
    /// Orders that the clock moved.
    pub swept: IntCounter,
    /// Rollouts that ended before all of their hosts were begun.
    pub rollouts_stopped: IntCounter,
}

impl OrderMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            swept: m.counter("orders_swept_total", "Orders that the clock moved.")?,
            rollouts_stopped: m.counter(
                "rollouts_stopped_total",
                "Rollouts that ended before all of their hosts were begun: too many failed, or no budget was left.",
            )?,
        })
    }
}
