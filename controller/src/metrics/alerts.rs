//! What became of notifications that this controller made and sent, and how many wait.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGaugeVec};
use writ_chassis::metrics::{Metrics, MetricsError};
use writ_domain::alert::admit::DropReason;
use writ_domain::alert::delivery::State;

use super::SECONDS;

/// States that are shown.
const SHOWN: [State; 3] = [State::Waiting, State::Sending, State::Dead];
/// What came of a try.
const OUTCOMES: [&str; 3] = ["accepted", "failed", "dead"];

/// Counts of notifications.
#[derive(Clone, Debug)]
pub struct AlertMetrics {
    made: IntCounter,
    dropped: IntCounterVec,
    tries: IntCounterVec,
    taken: Histogram,
    standing: IntGaugeVec,
}

impl AlertMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        m.label("reason", DropReason::ALL.map(DropReason::name));
        m.label("outcome", OUTCOMES);
        m.label("state", SHOWN.map(State::name));
        let all = Self {
            made: m.counter("alerts_made_total", "Notifications that were made to be sent.")?,
            dropped: m.counters(
                "alerts_dropped_total",
                "Notifications that are not sent, by reason.",
                &["reason"],
            )?,
            tries: m.counters(
                "alerts_tries_total",
                "Tries of notifications by what came of them; after `dead` there is no further one.",
                &["outcome"],
            )?,
            taken: m.histogram(
                "alerts_taken_seconds",
                "From when a notification was made until its receiver took it.",
                SECONDS,
            )?,
            standing: m.gauges(
                "alerts_standing_count",
                "Notifications that wait, are being sent, or are dead.",
                &["state"],
            )?,
        };
        for reason in DropReason::ALL {
            all.dropped.with_label_values(&[reason.name()]).inc_by(0);
        }
        for outcome in OUTCOMES {
            all.tries.with_label_values(&[outcome]).inc_by(0);
        }
        all.show(&[]);
        Ok(all)
    }

    /// Counts what was made.
    pub fn made(&self, queued: u64, dropped: impl IntoIterator<Item = (DropReason, u64)>) {
        self.made.inc_by(queued);
        for (reason, count) in dropped {
            self.dropped.with_label_values(&[reason.name()]).inc_by(count);
        }
    }

    /// Counts a try by how the notification stands after it; `age` is how old the notification is.
    pub fn tried(&self, state: State, age: Duration) {
        let outcome = match state {
            State::Delivered => "accepted",
            State::Dead => "dead",
            State::Waiting | State::Sending | State::Dropped => "failed",
        };
        self.tries.with_label_values(&[outcome]).inc();
        if state == State::Delivered {
            self.taken.observe(age.as_secs_f64());
        }
    }

    /// Shows how many stand where; zero where none are named.
    pub fn show(&self, standing: &[(State, u64)]) {
        for state in SHOWN {
            let found = standing.iter().find(|(of, _)| *of == state);
            let count = found.map_or(0, |(_, count)| *count);
            self.standing
                .with_label_values(&[state.name()])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
