//! Drift.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Drift {
    /// Where hosts are not as their last applied plans want them; exit code 2 where any is not
    #[command(
        after_help = "Findings that are cleared are shown with --state cleared alone.\n\n\
                      Examples:\n  writ drift list\n  writ drift list --host web-1 --severity critical\n  \
                      writ drift list --project web --json-lines"
    )]
    List(ListDrift),
    /// One finding, with what became of it
    #[command(after_help = "Example:\n  writ drift show drift_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b")]
    Show {
        /// Its id
        finding: String,
    },
    /// What became of a finding, the latest first
    #[command(
        after_help = "Examples:\n  writ drift history drift_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b\n  \
                      writ drift history drift_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --json-lines"
    )]
    History {
        /// Its id
        finding: String,
    },
    /// What is watched on which hosts, and when they were last looked at
    #[command(after_help = "Examples:\n  writ drift hosts\n  writ drift hosts --project web -o json")]
    Hosts(OfDrift),
    /// Say that you know of a finding, until it differs otherwise or clears
    #[command(
        after_help = "Example:\n  writ drift acknowledge drift_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --reason \"release week\""
    )]
    Acknowledge {
        /// Its id
        finding: String,
        /// Why it may be so; it stands in the audit
        #[arg(long)]
        reason: String,
    },
}

/// Of which host and project.
#[derive(Debug, Args)]
pub(crate) struct OfDrift {
    /// Only of this host: its agent's name
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Only of this project
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListDrift {
    #[command(flatten)]
    pub(crate) of: OfDrift,
    /// Only of this class
    #[arg(long, value_enum)]
    pub(crate) class: Option<ClassChoice>,
    /// Only of this severity
    #[arg(long, value_enum)]
    pub(crate) severity: Option<SeverityChoice>,
    /// Only in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateChoice>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ClassChoice {
    /// Something is set up otherwise
    Configuration,
    /// Who may do what is otherwise; for operators
    Security,
    /// Something that should work does not
    Availability,
    /// The host has no room to be looked at
    Capacity,
    /// Nobody could see, or nobody knows what it means
    Unknown,
    /// Somebody has said beforehand that there will be one
    Expected,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SeverityChoice {
    /// Nothing depends on it
    Info,
    /// Somebody should look
    Warn,
    /// Somebody should look now
    Critical,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StateChoice {
    /// Nobody has said that they know
    Open,
    /// Somebody knows
    Acknowledged,
    /// Nobody can see
    Unknown,
    /// It is as it should be again
    Cleared,
}
