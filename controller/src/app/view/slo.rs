//! Service levels as they are shown.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;
use writ_domain::slo::{Counts, RULES, Slo, Urgency, WINDOW, judge, short, windows};

/// What is promised, and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SloView {
    /// Its name.
    pub name: String,
    /// What an event is, and what makes it good.
    pub about: String,
    /// What makes an event good: it took no longer, milliseconds.
    pub threshold_millis: u64,
    /// The share of events that is to be good, 0 to 1.
    pub objective: f64,
    /// The rolling window of the promise, such as `30d`.
    pub window: String,
    /// `ok`, `warning`, `critical` or `insufficient-data`.
    pub state: String,
    /// Good events of the window.
    pub good: u64,
    /// All events of the window.
    pub total: u64,
    /// The share that was good; null where too few came.
    pub current: Option<f64>,
    /// The part of the error budget that is left: 1 untouched, below 0 overspent; null where too few came.
    pub budget_left: Option<f64>,
    /// How fast the budget burns, by window, the shortest first.
    pub burn: Vec<SloBurn>,
    /// The rules by which a burn is too fast.
    pub rules: Vec<SloRule>,
}

/// How fast the budget burns over a window.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SloBurn {
    /// The window, such as `1h`.
    pub window: String,
    /// Good events.
    pub good: u64,
    /// All events.
    pub total: u64,
    /// How many times faster than evenly; null where too few came.
    pub rate: Option<f64>,
}

/// A burn that is too fast, in both windows at once.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SloRule {
    /// How many times faster than evenly.
    pub factor: f64,
    /// Over which it must hold to mean something.
    pub long: String,
    /// Over which it must still hold.
    pub short: String,
    /// `page` or `ticket`.
    pub urgency: String,
    /// Whether both windows burn so fast now.
    pub burns: bool,
}

impl SloView {
    /// A promise by what happened in each window.
    pub(in crate::app) fn of(slo: Slo, hello_interval: Duration, of: &dyn Fn(Duration) -> Counts) -> Self {
        let whole = of(WINDOW);
        let burn = |window: Duration| SloBurn {
            window: short(window),
            good: of(window).good,
            total: of(window).total,
            rate: of(window).burn(slo),
        };
        let rule = |rule: &writ_domain::slo::BurnRule| {
            let burns = |window| of(window).burn(slo).is_some_and(|rate| rate >= rule.factor());
            SloRule {
                factor: rule.factor(),
                long: short(rule.long),
                short: short(rule.short),
                urgency: match rule.urgency {
                    Urgency::Page => "page",
                    Urgency::Ticket => "ticket",
                }
                .to_owned(),
                burns: burns(rule.long) && burns(rule.short),
            }
        };
        Self {
            name: slo.name().to_owned(),
            about: slo.about().to_owned(),
            threshold_millis: u64::try_from(slo.threshold(hello_interval).as_millis()).unwrap_or(u64::MAX),
            objective: slo.objective(),
            window: short(WINDOW),
            state: judge(slo, of).name().to_owned(),
            good: whole.good,
            total: whole.total,
            current: whole.share(),
            budget_left: whole.budget_left(slo),
            burn: windows().into_iter().map(burn).collect(),
            rules: RULES.iter().map(rule).collect(),
        }
    }
}
