//! Findings of drift that are not cleared, and how long it took until they were known. The counts are the ledger's: every controller shows the same.

use std::time::Duration;

use prometheus::{Histogram, IntGaugeVec};
use writ_chassis::metrics::{Metrics, MetricsError};
use writ_domain::drift::{Class, Severity};

/// Upper bounds of delays, seconds: of events in the small, of scheduled looks in the large.
const DELAYS: &[f64] = &[
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0, 60.0, 120.0, 300.0, 900.0,
];

/// Numbers of drift.
#[derive(Clone, Debug)]
pub struct DriftMetrics {
    standing: IntGaugeVec,
    delay: Histogram,
}

impl DriftMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        m.label("class", Class::ALL.map(Class::name));
        m.label("severity", Severity::ALL.map(Severity::name));
        let all = Self {
            standing: m.gauges(
                "drift_findings_count",
                "Findings of drift that are not cleared, by class and severity.",
                &["class", "severity"],
            )?,
            delay: m.histogram(
                "drift_seen_seconds",
                "How long after an agent noticed something its record was committed.",
                DELAYS,
            )?,
        };
        all.show(&[]);
        Ok(all)
    }

    /// Shows the numbers of all classes and severities that have any; zero of the others.
    pub fn show(&self, standing: &[(Class, Severity, u64)]) {
        for class in Class::ALL {
            for severity in Severity::ALL {
                let one = standing.iter().find(|(c, s, _)| (*c, *s) == (class, severity));
                let count = one.map_or(0, |(.., count)| *count);
                self.standing
                    .with_label_values(&[class.name(), severity.name()])
                    .set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }

    /// Notes how long records took.
    pub fn seen(&self, delays: &[Duration]) {
        for delay in delays {
            self.delay.observe(delay.as_secs_f64());
        }
    }
}
