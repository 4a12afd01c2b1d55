//! How many incidents nobody has closed, by kind. Every controller shows the same: it is the ledger's.

use prometheus::IntGaugeVec;
use writ_chassis::metrics::{Metrics, MetricsError};
use writ_protocol::incident::Kind;

/// A number with a label for the kind.
#[derive(Clone, Debug)]
pub struct IncidentMetrics {
    open: IntGaugeVec,
}

impl IncidentMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        m.label("kind", Kind::ALL.map(Kind::name));
        let all = Self {
            open: m.gauges(
                "incidents_open_count",
                "Incidents that nobody has closed, by kind.",
                &["kind"],
            )?,
        };
        all.show(&[]);
        Ok(all)
    }

    /// Shows the numbers of all kinds that have any; zero of the others.
    pub fn show(&self, open: &[(Kind, u64)]) {
        for kind in Kind::ALL {
            let one = open.iter().find(|(of, _)| *of == kind);
            let count = one.map_or(0, |(_, count)| *count);
            self.open
                .with_label_values(&[kind.name()])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
