//! Drift.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use writ_protocol::time::Timestamp;

use crate::since::Since;

#[derive(Debug, Subcommand)]
pub(crate) enum Drift {
    /// Where hosts are not as their last applied plans want them; exit code 2 where any is not
    #[command(
        after_help = "Findings that are cleared, or differ as somebody said that they may, are shown with --state alone.\n\n\
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
    /// Take just what a finding says, for a time: a signed baseline
    #[command(
        after_help = "It is open again when its time is over, or it differs in another way.\n\n\
                      Example:\n  writ drift accept drift_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --for 14d --reason \"until the next image\""
    )]
    Accept {
        /// Its id
        finding: String,
        #[command(flatten)]
        signed: SignedWord,
    },
    /// Say that something may differ for a time: a signed suppression
    #[command(
        after_help = "What nobody can see stays unknown, and what is critical stays open without --critical.\n\n\
                      Examples:\n  writ drift suppress --project web --resource \"file:/etc/app/*\" --for 2h --reason release\n  \
                      writ drift suppress --project web --resource user:ann --critical --for 1d --reason moves"
    )]
    Suppress(Suppress),
    /// Suppressions and baselines that count
    #[command(after_help = "Examples:\n  writ drift suppressions\n  writ drift suppressions --all -o json")]
    Suppressions(ListSuppressions),
    /// Take a suppression or baseline back: what differs so is open again
    #[command(
        after_help = "Example:\n  writ drift unsuppress suppression_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --reason \"it was for the wrong host\""
    )]
    Unsuppress {
        /// Its id
        suppression: String,
        /// Why; it stands in the audit
        #[arg(long)]
        reason: String,
    },
    /// Have hosts look now, wait for them, and list what differs; exit code 2 where anything does
    #[command(
        after_help = "A look changes nothing on a host. One that cannot look now is named with the reason, and ends the command with 2 as well.\n\n\
                      Examples:\n  writ drift scan --host web-1\n  writ drift scan --env staging --timeout 30\n  \
                      writ drift scan --project web --no-wait"
    )]
    Scan(Scan),
    /// Have findings of one project on one host put right: what would change is checked, and proposed
    #[command(
        after_help = "It heads for the last plan that was applied there, of these resources alone, and counts as done when a look shows it.\n\n\
                      Example:\n  writ drift remediate drift_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --reason \"it was changed by hand\""
    )]
    Remediate(super::Remediate),
    /// Remediations, the newest first
    #[command(
        after_help = "Examples:\n  writ drift remediations --state proposed\n  writ drift remediations --host web-1 -o json"
    )]
    Remediations(super::ListRemediations),
    /// One remediation, with what it would change
    #[command(after_help = "Example:\n  writ drift remediation remediation_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b")]
    Remediation {
        /// Its id
        remediation: String,
    },
    /// Have a proposed remediation carried out, after a look at what it would change
    #[command(
        after_help = "Examples:\n  writ drift approve remediation_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b\n  \
                      writ drift approve remediation_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --auto-approve"
    )]
    Approve {
        /// Its id
        remediation: String,
        /// Do not ask
        #[arg(long)]
        auto_approve: bool,
    },
    /// Say no to a remediation that is checked or proposed
    #[command(
        after_help = "Example:\n  writ drift decline remediation_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --reason \"it is right so\""
    )]
    Decline {
        /// Its id
        remediation: String,
        /// Why; it stands in the audit
        #[arg(long)]
        reason: String,
    },
    /// What environments let happen without a person
    #[command(subcommand)]
    Policy(super::Policy),
    /// Whether a pipeline may go on: exit code 2 where something differs too severely, or where nobody can see
    #[command(
        after_help = "A host whose last look is old, or did not see everything, lets nobody pass.\n\n\
                      Examples:\n  writ drift gate\n  writ drift gate --project web --fail-on critical"
    )]
    Gate(Gate),
}

/// Until when something counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Life {
    /// For so long.
    For(Duration),
    /// Until an instant.
    Until(Timestamp),
}

fn life(text: &str) -> Result<Life, String> {
    Ok(match Since::parse(text)? {
        Since::Ago(span) => Life::For(span),
        Since::At(at) => Life::Until(at),
    })
}

/// What is said under a signature.
#[derive(Debug, Args)]
pub(crate) struct SignedWord {
    /// For how long, or until when: 2h, 14d, 2026-01-31T12:00:00Z; at most 90 days
    #[arg(long = "for", value_name = "TIME", value_parser = life)]
    pub(crate) life: Life,
    /// Why; it is signed with the rest
    #[arg(long)]
    pub(crate) reason: String,
    /// Your signing key, instead of the context's
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Suppress {
    /// The project
    #[arg(long, value_name = "NAME")]
    pub(crate) project: String,
    /// A resource's id, or the beginning of ids with * behind it
    #[arg(long, value_name = "PATTERN")]
    pub(crate) resource: String,
    /// Only on this host: its agent's name
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Only on hosts with this label env
    #[arg(long = "env", value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// Also what is critical
    #[arg(long)]
    pub(crate) critical: bool,
    #[command(flatten)]
    pub(crate) signed: SignedWord,
}

#[derive(Debug, Args)]
pub(crate) struct ListSuppressions {
    /// Only of this project
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Also those that do not count any more
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gate {
    #[command(flatten)]
    pub(crate) of: OfDrift,
    /// How severe it must be to stop the pipeline
    #[arg(long, value_enum, default_value = "warn", value_name = "SEVERITY")]
    pub(crate) fail_on: SeverityChoice,
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) of: OfDrift,
    /// Only hosts with this label env
    #[arg(long = "env", value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// Return when the hosts are asked
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Give up waiting after this many seconds; the hosts look all the same
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) timeout: u64,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
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
    /// Somebody said that it may
    Expected,
    /// Nobody can see
    Unknown,
    /// It is as it should be again
    Cleared,
}
