//! Budgets: what may be promised, what was spent, and when people are told.
//!
//! Money is reserved before an order exists and settled when it has ended. An account adds up the grants of one budget over one window; under
//! `enforce` the sum of what is reserved, spent and disputed never passes its cap. What an agent spent beyond its grant before it could stop is
//! counted apart: it was never promised, but the next reservation finds that much less room. All sums are checked integers, micro-units.

mod account;
mod grant;

use writ_protocol::time::Timestamp;

pub use account::{Account, BelowHeld, MICROS_MAX, OutOfStep, Refusal, Reserved, THRESHOLDS, reserve_all};
pub use grant::{Grant, GrantError, GrantEvent, GrantState, Share, apply, event_of};

/// What a budget does with an order that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// It is ordered, and only counted.
    Observe,
    /// It is ordered, and people are told.
    Warn,
    /// It is refused.
    Enforce,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Warn, Self::Enforce];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }

    /// The mode of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// Whose budget it is. Ordered from the widest: this is also the order in which accounts are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything that is ordered here.
    Tenant,
    /// The runs of one project.
    Project,
    /// One run.
    Run,
}

impl Level {
    /// Every level, the widest first.
    pub const ALL: [Self; 3] = [Self::Tenant, Self::Project, Self::Run];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::Run => "run",
        }
    }

    /// The level of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// Over which window a cap holds. Windows begin at midnight, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// For good.
    Always,
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
}

impl Span {
    /// Every window.
    pub const ALL: [Self; 3] = [Self::Always, Self::Day, Self::Month];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "none",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The window of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.name() == name)
    }

    /// When the window began that `now` lies in; one that holds for good began at the Unix epoch.
    pub fn began(self, now: Timestamp) -> Timestamp {
        const DAY_SECONDS: i64 = 86_400;
        let day = now.as_secs().div_euclid(DAY_SECONDS);
        let first = match self {
            Self::Always => 0,
            Self::Day => day,
            Self::Month => day - day_of_month(day),
        };
        Timestamp::from_millis(first.saturating_mul(DAY_SECONDS * 1_000))
    }
}

/// Which day of its month a day is, the first being 0; days are counted from 1970-01-01.
const fn day_of_month(day: i64) -> i64 {
    // Counted from a 1 March, so that the leap day is the last of its year and every month begins at a linear place.
    const FROM_MARCH_OF_YEAR_0: i64 = 719_468;
    const DAYS_400_YEARS: i64 = 146_097;
    let day = (day + FROM_MARCH_OF_YEAR_0).rem_euclid(DAYS_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    of_year - (153 * month + 2) / 5
}

#[cfg(test)]
mod tests;
