//! What became of spans.

use prometheus::{IntCounter, IntCounterVec};
use writ_chassis::metrics::{Metrics, MetricsError};

/// Why spans are not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanLoss {
    /// Too many waited.
    Full,
    /// Their receiver did not take them.
    Untaken,
}

impl SpanLoss {
    const ALL: [Self; 2] = [Self::Full, Self::Untaken];

    const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Untaken => "untaken",
        }
    }
}

/// Counts of spans.
#[derive(Clone, Debug)]
pub struct TraceMetrics {
    sent: IntCounter,
    lost: IntCounterVec,
}

impl TraceMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        m.label("reason", SpanLoss::ALL.map(SpanLoss::name));
        let all = Self {
            sent: m.counter("spans_sent_total", "Spans of traces that their receiver took.")?,
            lost: m.counters(
                "spans_lost_total",
                "Spans of traces that were given up, by reason.",
                &["reason"],
            )?,
        };
        for reason in SpanLoss::ALL {
            all.lost(reason, 0);
        }
        Ok(all)
    }

    /// Counts spans that were taken.
    pub fn sent(&self, spans: u64) {
        self.sent.inc_by(spans);
    }

    /// Counts spans that are gone.
    pub fn lost(&self, reason: SpanLoss, spans: u64) {
        self.lost.with_label_values(&[reason.name()]).inc_by(spans);
    }
}
