//! Schedules.

use clap::{Args, Subcommand, ValueEnum};
use writ_protocol::time::Timestamp;

#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// Set a schedule; its first time is the first after now
    #[command(
        after_help = "Named hours (30 2, 0 1-3) come once a day, also where clocks change; counted hours (*, */2) go on as hours do.\n\n\
                      Examples:\n  writ schedule create nightly --cron \"30 2 * * *\" --zone Europe/Berlin --apply site.plan\n  \
                      writ schedule create drift --cron \"*/15 * * * *\" --jitter 60 --check site.plan\n  \
                      writ schedule create costs --cron \"0 5 * * mon\" --cost-report\n  \
                      writ schedule create patch --cron \"0 22 * * 6\" --apply site.plan --window \"0 22 * * 6=240\""
    )]
    Create(Box<CreateSchedule>),
    /// All schedules, and when each comes next
    #[command(after_help = "Examples:\n  writ schedule list\n  writ schedule list -o json")]
    List,
    /// One schedule
    #[command(after_help = "Example:\n  writ schedule show nightly")]
    Show {
        /// Its name, or its id
        schedule: String,
    },
    /// Skip its times until it is resumed
    #[command(after_help = "Example:\n  writ schedule pause nightly --reason \"release week\"")]
    Pause {
        /// Its name, or its id
        schedule: String,
        /// Why; it stands in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Have it go on after a pause
    #[command(after_help = "Example:\n  writ schedule resume nightly")]
    Resume {
        /// Its name, or its id
        schedule: String,
        /// Why; it stands in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Remove it; what runs goes on, and its history stays
    #[command(after_help = "Example:\n  writ schedule delete nightly")]
    Delete {
        /// Its name, or its id
        schedule: String,
    },
    /// What became of its times, the latest first
    #[command(
        after_help = "Examples:\n  writ schedule history nightly\n  writ schedule history nightly --limit 500 --json-lines"
    )]
    History {
        /// Its name, or its id also when it was removed
        schedule: String,
        /// How many lines
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// The times that come next
    #[command(after_help = "Example:\n  writ schedule next nightly --count 10")]
    Next {
        /// Its name, or its id
        schedule: String,
        /// How many, at most 100
        #[arg(long, default_value_t = 5)]
        count: u32,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateSchedule {
    /// Its name: a-z, 0-9, '.', '_' and '-'
    pub(crate) name: String,
    /// When: minute, hour, day of the month, month, day of the week; or @hourly, @daily, @weekly, @monthly, @yearly
    #[arg(long)]
    pub(crate) cron: String,
    /// By whose clock: a zone of the IANA database
    #[arg(long, default_value = "UTC")]
    pub(crate) zone: String,
    #[command(flatten)]
    pub(crate) starts: Starts,
    /// Put each time off by up to so many seconds, by its own part of it
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(crate) jitter: u64,
    /// What becomes of times at which no controller was there
    #[arg(long, value_enum, default_value_t = CatchUpChoice::Latest)]
    pub(crate) catch_up: CatchUpChoice,
    /// With --catch-up all: how many of the last, at most 16
    #[arg(long, value_name = "COUNT")]
    pub(crate) catch_up_max: Option<u32>,
    /// What becomes of a time while what the one before started has not ended
    #[arg(long, value_enum, default_value_t = OverlapChoice::Skip)]
    pub(crate) overlap: OverlapChoice,
    /// Start only in such windows: when they open, and for how many minutes
    #[arg(long = "window", value_name = "CRON=MINUTES", value_parser = window)]
    pub(crate) windows: Vec<(String, u32)>,
    /// Start nothing between two instants
    #[arg(long = "freeze", value_name = "FROM/UNTIL", value_parser = freeze)]
    pub(crate) freezes: Vec<(Timestamp, Timestamp)>,
}

/// What a schedule starts.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Starts {
    /// Carry out this plan: its file or its digest
    #[arg(long, value_name = "PLAN")]
    pub(crate) apply: Option<String>,
    /// Look at the hosts of this plan, and change nothing: its file or its digest
    #[arg(long, value_name = "PLAN")]
    pub(crate) check: Option<String>,
    /// Report and sign what the week before cost
    #[arg(long)]
    pub(crate) cost_report: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CatchUpChoice {
    /// They are skipped
    None,
    /// The last of them is started
    Latest,
    /// Some of the last are started
    All,
}

impl CatchUpChoice {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Latest => "latest",
            Self::All => "all",
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OverlapChoice {
    /// It is skipped
    Skip,
    /// It waits
    Queue,
    /// The one before is cancelled
    Cancel,
}

impl OverlapChoice {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::Cancel => "cancel",
        }
    }
}

fn window(text: &str) -> Result<(String, u32), String> {
    let wanted = || "a window is CRON=MINUTES, such as \"0 22 * * 6=240\"".to_owned();
    let (opens, minutes) = text.rsplit_once('=').ok_or_else(wanted)?;
    Ok((opens.to_owned(), minutes.parse().map_err(|_| wanted())?))
}

fn freeze(text: &str) -> Result<(Timestamp, Timestamp), String> {
    let wanted = || "a freeze is FROM/UNTIL, such as 2026-12-20T00:00:00Z/2027-01-04T00:00:00Z".to_owned();
    let (from, until) = text.split_once('/').ok_or_else(wanted)?;
    let instant = |text| Timestamp::parse(text).map_err(|_| wanted());
    Ok((instant(from)?, instant(until)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_freezes_are_read_as_people_write_them() {
        assert_eq!(window("0 22 * * 6=240"), Ok(("0 22 * * 6".to_owned(), 240)));
        for wrong in ["0 22 * * 6", "0 22 * * 6=", "=x", "0 22 * * 6=4h"] {
            assert!(window(wrong).is_err(), "{wrong}");
        }
        let (from, until) = freeze("2026-12-20T00:00:00Z/2027-01-04T00:00:00+01:00").unwrap();
        assert_eq!(until.to_string(), "2027-01-03T23:00:00Z");
        assert!(from < until);
        for wrong in ["2026-12-20", "2026-12-20T00:00:00Z", "a/b"] {
            assert!(freeze(wrong).is_err(), "{wrong}");
        }
    }
}
