//! How far this machine's clock is from the ledger's, which counts.

use prometheus::Gauge;
use writ_chassis::metrics::{Metrics, MetricsError};

/// A number without labels.
#[derive(Clone, Debug)]
pub struct ClockMetrics {
    apart: Gauge,
}

impl ClockMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            apart: m.float_gauge(
                "clock_apart_seconds",
                "How far this machine's clock is ahead of the ledger's, which counts; negative where it is behind.",
            )?,
        })
    }

    /// Shows a difference, microseconds.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a number for people: beyond 285 years it may be a microsecond off"
    )]
    pub fn apart(&self, micros: i64) {
        self.apart.set(micros as f64 / 1e6);
    }
}
