//! Remediations: drift that is put right.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct Remediate {
    /// Findings of one project on one host
    #[arg(required = true, value_name = "FINDING")]
    pub(crate) findings: Vec<String>,
    /// Why; it stands in the audit
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListRemediations {
    #[command(flatten)]
    pub(crate) of: super::OfDrift,
    /// Only in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<RemediationState>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RemediationState {
    /// Its host is asked what would change
    Checking,
    /// Somebody must say yes
    Proposed,
    /// It is carried out
    Remediating,
    /// A look must show it
    Verifying,
    /// A look found it as it should be
    Resolved,
    /// It did not come to that
    Failed,
    /// Somebody said no, or it is not needed any more
    Declined,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// What environments let happen without a person; one that is not named lets nothing happen
    #[command(after_help = "Examples:\n  writ drift policy list\n  writ drift policy list -o json")]
    List,
    /// Say what an environment lets happen without a person
    #[command(
        after_help = "audit tells of drift and nothing else; propose checks what would put it right and asks people; autocorrect carries it out within\n\
                      the bounds, and proposes beyond them. Production proposes at most.\n\n\
                      Examples:\n  writ drift policy set staging --mode autocorrect --hosts-at-once 5 --reason \"agreed on Monday\"\n  \
                      writ drift policy set prod --mode propose --reason \"people decide\"\n  \
                      writ drift policy set staging --mode audit --reason \"release week\""
    )]
    Set(SetPolicy),
}

#[derive(Debug, Args)]
pub(crate) struct SetPolicy {
    /// The environment: the label env of its hosts
    pub(crate) environment: String,
    /// What becomes of drift
    #[arg(long, value_enum)]
    pub(crate) mode: PolicyMode,
    /// Most of its hosts that are worked on at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) hosts_at_once: u32,
    /// Most remediations within an hour that nobody asked for
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) per_hour: u32,
    /// So many that failed within a day stop it until it is set again
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) failures_max: u32,
    /// Why; it stands in the audit
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PolicyMode {
    /// Drift is told, and nothing else
    Audit,
    /// What would put it right is checked and proposed
    Propose,
    /// It is put right within the bounds
    Autocorrect,
}
