//! What became of the times of schedules that this controller decided.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec};
use writ_chassis::metrics::{Metrics, MetricsError};
use writ_domain::schedule::SkipReason;

use super::SECONDS;

/// What one look at the schedules did.
#[derive(Clone, Debug)]
pub struct ScheduleCounts<'a> {
    /// How late each time was started.
    pub started: &'a [Duration],
    /// Times that wait.
    pub queued: u64,
    /// Times that could not be started.
    pub failed: u64,
    /// Times that were skipped, by reason.
    pub skipped: &'a BTreeMap<SkipReason, u64>,
    /// Schedules that could not be decided at all.
    pub undecided: usize,
}

/// Counts of times, and how late they were started.
#[derive(Clone, Debug)]
pub struct ScheduleMetrics {
    late: Histogram,
    queued: IntCounter,
    failed: IntCounter,
    skipped: IntCounterVec,
    undecided: IntCounter,
}

impl ScheduleMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        m.label("reason", SkipReason::ALL.map(SkipReason::name));
        let all = Self {
            late: m.histogram(
                "schedules_late_seconds",
                "How long after they were due times of schedules were started; its count is how many were.",
                SECONDS,
            )?,
            queued: m.counter(
                "schedules_queued_total",
                "Times of schedules that waited for the one before to end.",
            )?,
            failed: m.counter(
                "schedules_failed_total",
                "Times of schedules that could not be started.",
            )?,
            skipped: m.counters(
                "schedules_skipped_total",
                "Times of schedules that were skipped, by reason.",
                &["reason"],
            )?,
            undecided: m.counter(
                "schedules_undecided_total",
                "Looks at schedules that could not be decided at all; the log says why.",
            )?,
        };
        for reason in SkipReason::ALL {
            all.skipped.with_label_values(&[reason.name()]).inc_by(0);
        }
        Ok(all)
    }

    /// Counts what a look did.
    pub fn count(&self, done: &ScheduleCounts<'_>) {
        for late in done.started {
            self.late.observe(late.as_secs_f64());
        }
        self.queued.inc_by(done.queued);
        self.failed.inc_by(done.failed);
        for (reason, times) in done.skipped {
            self.skipped.with_label_values(&[reason.name()]).inc_by(*times);
        }
        self.undecided
            .inc_by(u64::try_from(done.undecided).unwrap_or(u64::MAX));
    }
}
