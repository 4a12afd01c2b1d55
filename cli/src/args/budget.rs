//! Budgets.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Budget {
    /// All budgets, and what is taken of them
    #[command(after_help = "Examples:\n  writ budget list\n  writ budget list -o json")]
    List,
    /// One budget
    #[command(
        after_help = "Examples:\n  writ budget show tenant\n  writ budget show project:web\n  \
                      writ budget show run:run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b -o json"
    )]
    Show {
        /// tenant, project:NAME, or run:ID for what a run's config allows
        budget: String,
    },
    /// Set the budget of the tenant or of a project; what is not given stays as it is
    #[command(
        after_help = "Examples:\n  writ budget set tenant --cap 500 --window month\n  \
                      writ budget set project:web --cap 25.50 --mode warn\n  writ budget set project:web --mode enforce"
    )]
    Set(SetBudget),
}

#[derive(Debug, Args)]
pub(crate) struct SetBudget {
    /// tenant or project:NAME
    pub(crate) budget: String,
    /// The cap, in the currency of the rate card, at most six places
    #[arg(long, value_name = "AMOUNT", value_parser = micros)]
    pub(crate) cap: Option<u64>,
    /// What becomes of an order that does not fit; enforce for a new budget
    #[arg(long, value_enum)]
    pub(crate) mode: Option<BudgetMode>,
    /// Over which window the cap holds, UTC; none for a new budget
    #[arg(long, value_enum)]
    pub(crate) window: Option<BudgetWindow>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BudgetMode {
    /// Ordered, and only counted
    Observe,
    /// Ordered, and told
    Warn,
    /// Refused
    Enforce,
}

impl BudgetMode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BudgetWindow {
    /// For good
    None,
    /// A calendar day
    Day,
    /// A calendar month
    Month,
}

impl BudgetWindow {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// An amount as people write it, in micro-units; nothing is rounded.
pub(super) fn micros(text: &str) -> Result<u64, String> {
    let wrong = || "an amount such as 25 or 25.50 is wanted, at most six places".to_owned();
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(places) || places.len() > 6 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let places: u64 = format!("{places:0<6}").parse().map_err(|_| wrong())?;
    let sum = whole
        .checked_mul(1_000_000)
        .and_then(|whole| whole.checked_add(places));
    sum.ok_or_else(|| "the amount is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_to_the_last_place_or_not_at_all() {
        for (text, wanted) in [
            ("0", 0),
            ("25", 25_000_000),
            ("25.50", 25_500_000),
            ("0.000001", 1),
            ("18446744073709.551615", u64::MAX),
        ] {
            assert_eq!(micros(text), Ok(wanted), "{text}");
        }
        for wrong in [
            "",
            ".5",
            "5.",
            "-1",
            "+1",
            "1e3",
            "1,5",
            "0.0000001",
            "18446744073709.551616",
            "99999999999999999999",
        ] {
            assert!(micros(wrong).is_err(), "{wrong}");
        }
    }
}
