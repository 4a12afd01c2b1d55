//! What alerts of other programs led to at this controller.

use prometheus::IntCounterVec;
use writ_chassis::metrics::{Metrics, MetricsError};

/// What may become of an alert, or of a call.
const VERDICTS: [&str; 7] = [
    "started",
    "refused",
    "known",
    "unmatched",
    "resolved",
    "malformed",
    "unknown_caller",
];

/// Counts of triggers.
#[derive(Clone, Debug)]
pub struct TriggerMetrics(IntCounterVec);

/// What became of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct TriggerCounts {
    /// Things that were started.
    pub started: u64,
    /// Things that were not.
    pub refused: u64,
    /// Alerts that started something before.
    pub known: u64,
    /// Alerts that no rule is about.
    pub unmatched: u64,
    /// Alerts that are over.
    pub resolved: u64,
}

impl TriggerMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        m.label("verdict", VERDICTS);
        let all = m.counters(
            "triggers_total",
            "What alerts of other programs led to: starts and refusals, alerts that started nothing, and calls that were not taken.",
            &["verdict"],
        )?;
        for verdict in VERDICTS {
            all.with_label_values(&[verdict]).inc_by(0);
        }
        Ok(Self(all))
    }

    /// Counts a call.
    pub fn count(&self, counts: &TriggerCounts) {
        for (verdict, count) in [
            ("started", counts.started),
            ("refused", counts.refused),
            ("known", counts.known),
            ("unmatched", counts.unmatched),
            ("resolved", counts.resolved),
        ] {
            self.0.with_label_values(&[verdict]).inc_by(count);
        }
    }

    /// Counts a call that cannot be read.
    pub fn malformed(&self) {
        self.0.with_label_values(&["malformed"]).inc();
    }

    /// Counts a call of who has no token.
    pub fn unknown_caller(&self) {
        self.0.with_label_values(&["unknown_caller"]).inc();
    }
}
