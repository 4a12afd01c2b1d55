//! Agents, halts and evidence.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// All agents
    #[command(after_help = "Examples:\n  writ agent list\n  writ agent list -o yaml")]
    List,
    /// One agent
    #[command(after_help = "Example:\n  writ agent show web-1")]
    Show {
        /// Its name or id
        agent: String,
    },
    /// Print a one-time join token for a new agent
    #[command(
        after_help = "Examples:\n  writ agent enroll --name web-1 --label role=web --label env=prod\n  writ agent enroll --ttl 600 > join.token"
    )]
    Enroll {
        /// The agent's name; its hostname when not given
        #[arg(long)]
        name: Option<String>,
        /// A label of the agent; may be given more than once
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// Seconds for which the token counts
        #[arg(long, default_value_t = 3_600, value_name = "SECONDS")]
        ttl: u64,
    },
    /// Let an agent start nothing
    #[command(after_help = "Example:\n  writ agent quarantine web-1 --reason \"disk replaced\"")]
    Quarantine {
        /// Its name or id
        agent: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// End an agent's quarantine
    #[command(after_help = "Example:\n  writ agent release web-1 --reason \"checked\"")]
    Release {
        /// Its name or id
        agent: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Remove an agent for good
    #[command(after_help = "Example:\n  writ agent rm web-1 --reason decommissioned")]
    Rm {
        /// Its name or id
        agent: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE is wanted".to_owned()),
    }
}

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("what").required(true).args(["scope", "release", "list"])),
    group(ArgGroup::new("how").args(["soft", "hard", "lockdown"])),
    after_help = "Examples:\n  writ halt --scope all --hard --reason \"wrong config everywhere\"\n  \
                  writ halt --scope env:prod --soft --reason \"incident 7\"\n  writ halt --list\n  \
                  writ halt --release halt_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --reason \"incident 7 is over\""
)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line are bools")]
pub(crate) struct Halt {
    /// What to stop: all, project:NAME, env:NAME, run:ID or agent:NAME
    #[arg(long, requires_all = ["reason", "how"])]
    pub(crate) scope: Option<String>,
    /// Running steps end by themselves, no further one starts
    #[arg(long)]
    pub(crate) soft: bool,
    /// Running steps are killed now
    #[arg(long)]
    pub(crate) hard: bool,
    /// As --hard, and nothing may write until it is lifted
    #[arg(long)]
    pub(crate) lockdown: bool,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Lift a halt; signed by you, the controller adds the second signature
    #[arg(long, value_name = "ID", requires = "reason")]
    pub(crate) release: Option<String>,
    /// Your signing key, instead of the context's
    #[arg(long, value_name = "FILE", requires = "release")]
    pub(crate) key: Option<PathBuf>,
    /// Halts and how far they have come
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Evidence {
    /// Fetch a run's evidence pack
    #[command(
        after_help = "Example:\n  writ evidence export run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --out run.pack"
    )]
    Export {
        /// The run's id
        run: String,
        /// Where to
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Check a pack offline, and say in words what it proves
    #[command(after_help = "Examples:\n  writ evidence verify run.pack\n  \
                      writ evidence verify run.pack --root 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --extract out")]
    Verify {
        /// The pack
        pack: PathBuf,
        /// Fingerprint of the root of trust, instead of the context's
        #[arg(long, value_name = "SHA256")]
        root: Option<String>,
        /// Also write the artefacts into this folder
        #[arg(long, value_name = "DIR")]
        extract: Option<PathBuf>,
    },
}
