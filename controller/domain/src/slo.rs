//! Service levels: what is promised, how much of the error budget is left, and how fast it burns.
//!
//! A promise is a share of events that are good within a rolling window. What may be bad is the budget. The burn rate is how many times faster than
//! evenly it is spent: at 1 the budget ends with the window. An alert needs a long window, so that it means something, and a short one, so that it ends
//! soon after the trouble does. Source of factors and windows: The Site Reliability Workbook, chapter 5, "Alerting on SLOs", table 5-8.

#[cfg(test)]
mod tests;

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Over which every promise is kept.
pub const WINDOW: Duration = Duration::from_secs(30 * 24 * 3_600);
/// With fewer events than this in a window nothing is said of it.
pub const EVENTS_MIN: u64 = 10;

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slo {
    /// From an order's making until its agent's acceptance is committed.
    Dispatch,
    /// From an agent's noticing until its record is committed.
    Drift,
    /// Of each active agent, once a minute: its last word is young.
    Status,
}

impl Slo {
    /// Every promise.
    pub const ALL: [Self; 3] = [Self::Dispatch, Self::Drift, Self::Status];

    /// Its name in the ledger, the API and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dispatch => "dispatch-latency",
            Self::Drift => "drift-latency",
            Self::Status => "status-freshness",
        }
    }

    /// The promise of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slo| slo.name() == name)
    }

    /// What an event is, and what makes it good, for people.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Dispatch => "orders that their agent had accepted, as committed, within 10 s of being made",
            Self::Drift => "answers about drift that were committed within 5 min of the agent's noticing",
            Self::Status => {
                "looks at an active agent, one a minute, that found its last word younger than 3 hello intervals"
            }
        }
    }

    /// What makes an event good: it took no longer; for [`Slo::Status`] it depends on what agents are told about hellos.
    pub const fn threshold(self, hello_interval: Duration) -> Duration {
        match self {
            Self::Dispatch => Duration::from_secs(10),
            Self::Drift => Duration::from_secs(300),
            Self::Status => hello_interval.saturating_mul(3),
        }
    }

    /// How many of a million events are to be good.
    pub const fn objective_ppm(self) -> u32 {
        match self {
            Self::Dispatch | Self::Status => 990_000,
            Self::Drift => 999_000,
        }
    }

    /// The share of events that is to be good, 0 to 1.
    pub fn objective(self) -> f64 {
        f64::from(self.objective_ppm()) / 1e6
    }

    /// The share that may be bad.
    pub fn allowed(self) -> f64 {
        f64::from(1_000_000 - self.objective_ppm()) / 1e6
    }
}

/// Events of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that were good.
    pub good: u64,
    /// All of them.
    pub total: u64,
}

impl Counts {
    /// Of events that took so long.
    pub fn of(took: &[Duration], threshold: Duration) -> Self {
        let good = took.iter().filter(|one| **one <= threshold).count();
        Self {
            good: u64::try_from(good).unwrap_or(u64::MAX),
            total: u64::try_from(took.len()).unwrap_or(u64::MAX),
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            good: self.good.saturating_add(other.good),
            total: self.total.saturating_add(other.total),
        }
    }

    /// Those that were not good.
    pub const fn bad(self) -> u64 {
        self.total.saturating_sub(self.good)
    }

    /// The share that was good; none where too few came.
    pub fn share(self) -> Option<f64> {
        (self.total >= EVENTS_MIN).then(|| number(self.good) / number(self.total))
    }

    /// How many times faster than evenly the budget was spent; none where too few came.
    pub fn burn(self, slo: Slo) -> Option<f64> {
        (self.total >= EVENTS_MIN).then(|| number(self.bad()) / number(self.total) / slo.allowed())
    }

    /// The part of the budget that is left: 1 of an untouched one, below 0 of one that is overspent; none where too few came.
    pub fn budget_left(self, slo: Slo) -> Option<f64> {
        self.burn(slo).map(|burn| 1.0 - burn)
    }
}

/// Counts stay far below where this loses anything (2^53).
#[expect(
    clippy::cast_precision_loss,
    reason = "a share of 2^53 events is exact enough"
)]
const fn number(count: u64) -> f64 {
    count as f64
}

/// What a burn asks of people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// On a working day.
    Ticket,
    /// Now.
    Page,
}

/// A burn that is too fast: in both windows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurnRule {
    /// How many times faster than evenly, in thousandths.
    pub factor_milli: u32,
    /// Over which it must hold to mean something.
    pub long: Duration,
    /// Over which it must still hold.
    pub short: Duration,
    /// What it asks for.
    pub urgency: Urgency,
}

impl BurnRule {
    /// How many times faster than evenly.
    pub fn factor(&self) -> f64 {
        f64::from(self.factor_milli) / 1e3
    }
}

/// Which burns are too fast: 2 % of 30 days' budget within an hour, 5 % within six, 10 % within a day or three.
pub const RULES: [BurnRule; 4] = [
    BurnRule {
        factor_milli: 14_400,
        long: HOUR,
        short: Duration::from_secs(5 * 60),
        urgency: Urgency::Page,
    },
    BurnRule {
        factor_milli: 6_000,
        long: Duration::from_secs(6 * 3_600),
        short: Duration::from_secs(30 * 60),
        urgency: Urgency::Page,
    },
    BurnRule {
        factor_milli: 3_000,
        long: DAY,
        short: Duration::from_secs(2 * 3_600),
        urgency: Urgency::Ticket,
    },
    BurnRule {
        factor_milli: 1_000,
        long: Duration::from_secs(3 * 24 * 3_600),
        short: Duration::from_secs(6 * 3_600),
        urgency: Urgency::Ticket,
    },
];

/// Every window that is looked at: those of the rules, ascending, and last that of the promise.
pub fn windows() -> Vec<Duration> {
    let mut all: Vec<Duration> = RULES.iter().flat_map(|rule| [rule.long, rule.short]).collect();
    all.sort();
    all.dedup();
    all.push(WINDOW);
    all
}

/// A window as Prometheus writes it, such as `5m`, `6h`, `3d`.
pub fn short(window: Duration) -> String {
    let seconds = window.as_secs();
    let (unit, letter) = if seconds.is_multiple_of(DAY.as_secs()) {
        (DAY, 'd')
    } else if seconds.is_multiple_of(HOUR.as_secs()) {
        (HOUR, 'h')
    } else {
        (MINUTE, 'm')
    };
    format!("{}{letter}", seconds / unit.as_secs())
}

/// Where a promise stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Too little happened to say.
    InsufficientData,
    /// It is kept, and the budget burns slowly enough.
    Ok,
    /// The budget is used up, or burns too fast to last.
    Warning,
    /// It burns so fast that somebody is needed now.
    Critical,
}

impl State {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InsufficientData => "insufficient-data",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Judges a promise by what happened in each window.
pub fn judge(slo: Slo, of: impl Fn(Duration) -> Counts) -> State {
    let burns =
        |window: Duration, rule: &BurnRule| of(window).burn(slo).is_some_and(|burn| burn >= rule.factor());
    let worst = RULES
        .iter()
        .filter(|rule| burns(rule.long, rule) && burns(rule.short, rule))
        .map(|rule| rule.urgency)
        .max();
    match (worst, of(WINDOW).budget_left(slo)) {
        (Some(Urgency::Page), _) => State::Critical,
        (Some(Urgency::Ticket), _) => State::Warning,
        (None, Some(left)) if left <= 0.0 => State::Warning,
        (None, Some(_)) => State::Ok,
        (None, None) => State::InsufficientData,
    }
}
