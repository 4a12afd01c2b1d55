//! Costs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use writ_protocol::time::Timestamp;

use crate::since::Since;

#[derive(Debug, Subcommand)]
pub(crate) enum Cost {
    /// What orders of a window cost, line by line, with their total and the orders of which nobody knows it
    #[command(
        after_help = "Orders count by when they were made. Until they have ended they are open: promised, and not yet a cost.\n\n\
                      Examples:\n  writ cost report\n  writ cost report --by agent --from 7d --project web\n  \
                      writ cost report --by step --from 2026-11-01 --to 2026-12-01 -o json\n  writ cost report --by run --week 2026-W47"
    )]
    Report {
        /// What the lines are about
        #[arg(long, value_enum, default_value_t = CostBy::Project)]
        by: CostBy,
        #[command(flatten)]
        window: CostWindow,
    },
    /// The dearest of a window
    #[command(
        after_help = "Examples:\n  writ cost top\n  writ cost top --by step -n 5 --from 1d\n  writ cost top --by agent --json-lines"
    )]
    Top {
        /// What the lines are about
        #[arg(long, value_enum, default_value_t = CostBy::Run)]
        by: CostBy,
        /// At most so many
        #[arg(short = 'n', long = "limit", default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        #[command(flatten)]
        window: CostWindow,
    },
    /// Signed reports of weeks, the newest first
    #[command(
        after_help = "Examples:\n  writ cost reports\n  writ schedule create costs --cron \"0 5 * * mon\" --cost-report"
    )]
    Reports,
    /// Have a week reported and signed now; where nothing became known since its last report, it is that one
    #[command(after_help = "Example:\n  writ cost sign 2026-W47")]
    Sign {
        /// A week that is over, UTC
        week: String,
    },
    /// Fetch a signed report into a new folder: the document, its rendering, the signature, and the documents of trust
    #[command(after_help = "Examples:\n  writ cost fetch 2026-W47 --out report\n  writ cost verify report")]
    Fetch {
        /// The week
        week: String,
        /// The folder, which is not there yet
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// SHA-256 of the document, where the week has several; the newest
        #[arg(long)]
        digest: Option<String>,
    },
    /// Verify a fetched report, offline: who signed it, that nothing was changed, and that it adds up
    #[command(after_help = "Example:\n  writ cost verify report")]
    Verify {
        /// The folder
        folder: PathBuf,
        /// Fingerprint of the root of trust; the context's
        #[arg(long, value_name = "SHA256")]
        root: Option<String>,
    },
}

/// Which orders.
#[derive(Debug, Args)]
pub(crate) struct CostWindow {
    /// Made since then: 90s, 10m, 2h, 7d ago, 2026-11-01, or an RFC 3339 instant; since the month began, UTC
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) from: Option<Since>,
    /// Made before then; now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) to: Option<Since>,
    /// Made in this week, from Monday to Sunday, UTC, such as 2026-W47
    #[arg(long, value_name = "WEEK", value_parser = week, conflicts_with_all = ["from", "to"])]
    pub(crate) week: Option<Week>,
    /// Only of this project
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
}

impl CostWindow {
    /// From when and until when, as far as it is said.
    pub(crate) fn instants(&self, now: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
        match self.week {
            Some(week) => (Some(week.from), Some(week.to)),
            None => (
                self.from.map(|from| from.instant(now)),
                self.to.map(|to| to.instant(now)),
            ),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CostBy {
    /// Everything together
    Tenant,
    /// Projects
    Project,
    /// Kinds of runs
    Kind,
    /// Runs
    Run,
    /// Hosts
    Agent,
    /// Steps of projects
    Step,
    /// Kinds of resources
    Provider,
}

impl CostBy {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::Kind => "kind",
            Self::Run => "run",
            Self::Agent => "agent",
            Self::Step => "step",
            Self::Provider => "provider",
        }
    }
}

/// A week of the calendar (ISO 8601), UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Week {
    /// Its Monday.
    pub(crate) from: Timestamp,
    /// The Monday after.
    pub(crate) to: Timestamp,
}

const DAY: Duration = Duration::from_secs(86_400);

/// A day, or what [`Since`] reads.
fn moment(text: &str) -> Result<Since, String> {
    match Timestamp::parse(&format!("{text}T00:00:00Z")) {
        Ok(midnight) if text.len() == 10 => Ok(Since::At(midnight)),
        _ => Since::parse(text),
    }
}

fn week(text: &str) -> Result<Week, String> {
    let wanted = || "a week such as 2026-W47 is wanted".to_owned();
    let (year, number) = text.split_once("-W").ok_or_else(wanted)?;
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(year, 4) || !digits(number, 2) {
        return Err(wanted());
    }
    let (year, number): (u32, u32) = (
        year.parse().map_err(|_| wanted())?,
        number.parse().map_err(|_| wanted())?,
    );
    let first = first_monday(year).ok_or_else(wanted)?;
    let next_year = first_monday(year + 1).ok_or_else(wanted)?;
    let from = first.plus(DAY * 7 * number.saturating_sub(1));
    if number == 0 || from >= next_year {
        return Err(format!("there is no week {number} in {year}"));
    }
    Ok(Week {
        from,
        to: from.plus(DAY * 7),
    })
}

/// The Monday of a year's first week, which is the week of 4 January.
fn first_monday(year: u32) -> Option<Timestamp> {
    // 1 January 1970 was a Thursday.
    const THURSDAY: i64 = 3;
    let fourth = Timestamp::parse(&format!("{year:04}-01-04T00:00:00Z")).ok()?;
    let since_monday = (fourth.as_secs().div_euclid(86_400) + THURSDAY).rem_euclid(7);
    Some(fourth.minus(DAY * u32::try_from(since_monday).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_are_those_of_the_calendar() {
        for (text, from) in [
            ("2026-W47", "2026-11-16"),
            ("2026-W01", "2025-12-29"),
            ("2021-W01", "2021-01-04"),
            ("2026-W53", "2026-12-28"),
            ("1970-W01", "1969-12-29"),
        ] {
            let from = Timestamp::parse(&format!("{from}T00:00:00Z")).unwrap();
            let wanted = Week {
                from,
                to: from.plus(DAY * 7),
            };
            assert_eq!(week(text), Ok(wanted), "{text}");
        }
        for wrong in [
            "2026-W00", "2025-W53", "2026-W54", "2026-47", "2026W47", "26-W47", "2026-W4", "2026-W+1", "",
        ] {
            assert!(week(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_day_begins_at_its_midnight() {
        let midnight = Timestamp::parse("2026-11-01T00:00:00Z").unwrap();
        assert_eq!(moment("2026-11-01"), Ok(Since::At(midnight)));
        assert_eq!(moment("7d"), Ok(Since::Ago(DAY * 7)));
        for wrong in ["2026-11-31", "2026-11-1", "now"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
