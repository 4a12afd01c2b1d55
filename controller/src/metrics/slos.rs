//! Events that promises are about, as this controller saw them: their sum over all controllers is what happened.

use prometheus::IntCounterVec;
use writ_chassis::metrics::{Metrics, MetricsError};
use writ_domain::slo::{Counts, Slo};

/// Values of the label `outcome`.
const OUTCOMES: [&str; 2] = ["good", "bad"];

/// Counts with labels for the promise and the outcome.
#[derive(Clone, Debug)]
pub struct SloMetrics {
    events: IntCounterVec,
}

impl SloMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        m.label("slo", Slo::ALL.map(Slo::name));
        m.label("outcome", OUTCOMES);
        let all = Self {
            events: m.counters(
                "slo_events_total",
                "Events that service levels are about, by level and outcome.",
                &["slo", "outcome"],
            )?,
        };
        for slo in Slo::ALL {
            all.count(&[(slo, Counts::default())]);
        }
        Ok(all)
    }

    /// Counts what happened.
    pub fn count(&self, all: &[(Slo, Counts)]) {
        for (slo, counts) in all {
            for (outcome, events) in OUTCOMES.into_iter().zip([counts.good, counts.bad()]) {
                self.events
                    .with_label_values(&[slo.name(), outcome])
                    .inc_by(events);
            }
        }
    }
}
