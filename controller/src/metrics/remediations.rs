//! What became of remediations that this controller moved.

use prometheus::{IntCounter, IntCounterVec};
use writ_chassis::metrics::{Metrics, MetricsError};

/// How a remediation ended that was begun in earnest: the closed set of the label `outcome`.
const RESOLVED: &str = "resolved";
/// See [`RESOLVED`].
const FAILED: &str = "failed";

/// Counts of remediations.
#[derive(Clone, Debug)]
pub struct RemediationMetrics {
    begun: IntCounter,
    ended: IntCounterVec,
}

impl RemediationMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        m.label("outcome", [RESOLVED, FAILED]);
        let all = Self {
            begun: m.counter(
                "remediations_begun_total",
                "Remediations that a policy began without being asked.",
            )?,
            ended: m.counters(
                "remediations_ended_total",
                "Remediations that ended, by whether a look found what they were for as it should be.",
                &["outcome"],
            )?,
        };
        for outcome in [RESOLVED, FAILED] {
            all.ended.with_label_values(&[outcome]).inc_by(0);
        }
        Ok(all)
    }

    /// Counts what a look did: how many a policy began, and how many ended well and not.
    pub fn count(&self, begun: u64, (resolved, failed): (u64, u64)) {
        self.begun.inc_by(begun);
        self.ended.with_label_values(&[RESOLVED]).inc_by(resolved);
        self.ended.with_label_values(&[FAILED]).inc_by(failed);
    }
}
