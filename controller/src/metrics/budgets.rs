//! What budgets hold, by level, in the windows that are open. Every controller shows the same: it is the ledger's.

use prometheus::IntGaugeVec;
use writ_chassis::metrics::{Metrics, MetricsError};

/// Levels that somebody can set budgets of.
const LEVELS: [&str; 2] = ["tenant", "project"];

/// Sums over the budgets of one level.
#[derive(Clone, Copy, Debug)]
pub struct BudgetSums {
    /// `tenant` or `project`.
    pub level: &'static str,
    /// Promised to orders that have not ended, micro-units.
    pub reserved_micros: u64,
    /// Spent.
    pub spent_micros: u64,
    /// Promised to orders of which no word came.
    pub disputed_micros: u64,
    /// Runs refused.
    pub refused: u64,
}

/// Numbers with a label for the level.
#[derive(Clone, Debug)]
pub struct BudgetMetrics {
    reserved: IntGaugeVec,
    spent: IntGaugeVec,
    disputed: IntGaugeVec,
    refused: IntGaugeVec,
}

impl BudgetMetrics {
    pub(super) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        m.label("level", LEVELS);
        let level = &["level"];
        let all = Self {
            reserved: m.gauges(
                "budgets_reserved_micros",
                "Promised to orders that have not ended, in open windows, by level.",
                level,
            )?,
            spent: m.gauges(
                "budgets_spent_micros",
                "Spent of budgets in open windows, by level.",
                level,
            )?,
            disputed: m.gauges(
                "budgets_disputed_micros",
                "Promised to orders of which no word came, in open windows, by level.",
                level,
            )?,
            refused: m.gauges(
                "budgets_refused_count",
                "Runs that budgets refused in open windows, by level.",
                level,
            )?,
        };
        all.show(&[]);
        Ok(all)
    }

    /// Shows the sums of all levels that have any; zero of the others.
    pub fn show(&self, all: &[BudgetSums]) {
        for level in LEVELS {
            let one = all.iter().find(|one| one.level == level);
            let sum = |of: fn(&BudgetSums) -> u64| one.map_or(0, of);
            set(&self.reserved, level, sum(|one| one.reserved_micros));
            set(&self.spent, level, sum(|one| one.spent_micros));
            set(&self.disputed, level, sum(|one| one.disputed_micros));
            set(&self.refused, level, sum(|one| one.refused));
        }
    }
}

fn set(gauge: &IntGaugeVec, level: &str, value: u64) {
    gauge
        .with_label_values(&[level])
        .set(i64::try_from(value).unwrap_or(i64::MAX));
}
