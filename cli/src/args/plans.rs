//! Configs, plans and runs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use writ_plan::rollout::Share;

use super::{Additions, Door};
use crate::since::Since;

/// The file of a config when none is named.
pub(crate) const CONFIG: &str = "writ.yaml";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  writ init\n  writ init site --force\n  writ init site --format cue")]
pub(crate) struct Init {
    /// The folder
    #[arg(default_value = ".", value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// In which language; a config in CUE needs the cue tool
    #[arg(long, value_enum, default_value_t = ConfigFormat::Yaml)]
    pub(crate) format: ConfigFormat,
    /// Overwrite what is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// What a config is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConfigFormat {
    /// YAML
    Yaml,
    /// CUE, with its definitions beside it
    Cue,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  writ schema > config.schema.json\n  writ schema --format cue > schema.cue"
)]
pub(crate) struct Schema {
    /// In which form
    #[arg(long, value_enum, default_value_t = SchemaFormat::JsonSchema)]
    pub(crate) format: SchemaFormat,
}

/// A form of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaFormat {
    /// JSON Schema, draft 2020-12
    JsonSchema,
    /// Definitions of CUE
    Cue,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  writ validate\n  writ validate site.yaml -o json\n  writ validate site.yaml -o github\n  writ validate site.yaml --var-file prod.yaml\n  writ validate site.yaml --inventory hosts.yaml"
)]
pub(crate) struct Validate {
    /// The config
    #[arg(default_value = CONFIG, value_name = "PATH")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) values: Additions,
    /// Hosts with labels, of which the config must select some: `hosts: { web-1: { labels: { role: web } } }`
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  writ plan\n  writ plan site.yaml --out site.plan --detailed-exitcode\n  writ plan site.yaml --var-file prod.yaml --var greeting=hello\n  writ plan site.yaml --tags motd\n  writ plan site.yaml --target file:/etc/motd.d/writ\n  writ plan --local site.yaml --out site.plan\n  writ plan --ssh web-1,web-2 site.yaml --out site.plan"
)]
pub(crate) struct Plan {
    /// The config
    #[arg(default_value = CONFIG, value_name = "PATH")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) values: Additions,
    /// Keep the plan in a file, for `writ apply FILE`
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Exit 0 without changes, 2 with changes
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// With --ssh: most hosts at work at once, 8 where it is not said: 10, or 20% of them, rounded down
    #[arg(long, value_name = "N|P%", requires = "ssh")]
    pub(crate) concurrency: Option<Share>,
    #[command(flatten)]
    pub(crate) door: Door,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  writ show site.plan\n  writ show site.plan --by-host\n  writ show site.plan -o json"
)]
pub(crate) struct Show {
    /// A plan's file, or a plan's digest
    #[arg(value_name = "PLAN|DIGEST")]
    pub(crate) what: String,
    /// One block for each host, instead of one for hosts with equal changes
    #[arg(long)]
    pub(crate) by_host: bool,
    /// Only this host
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 both would do the same, resting on the same; 2 they would not.\n\n\
                  Examples:\n  writ diff old.plan new.plan\n  writ diff old.plan new.plan -o json"
)]
pub(crate) struct Diff {
    /// A plan's file, or a plan's digest
    #[arg(value_name = "OLD")]
    pub(crate) old: String,
    /// The one it is compared with
    #[arg(value_name = "NEW")]
    pub(crate) new: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  writ apply site.plan\n  writ apply site.yaml --auto-approve --detailed-exitcodes\n  \
                  writ apply site.plan --concurrency 20% --error-threshold 1\n  \
                  writ apply 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --no-wait\n  \
                  writ apply --local site.plan\n  writ apply --ssh web-1,web-2 site.plan"
)]
pub(crate) struct Apply {
    /// A plan's file, a plan's digest, or a config (which is planned first)
    #[arg(default_value = CONFIG, value_name = "PLAN|DIGEST|PATH")]
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) values: Additions,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub(crate) auto_approve: bool,
    #[command(flatten)]
    pub(crate) spread: Spread,
    /// Return when the orders are given
    #[arg(long, conflicts_with = "door")]
    pub(crate) no_wait: bool,
    /// Exit 0 nothing changed, 2 changed, 4 failed, 6 both
    #[arg(long)]
    pub(crate) detailed_exitcodes: bool,
    #[command(flatten)]
    pub(crate) door: Door,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// Which hosts of a plan an apply orders when.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Spread {
    /// Most hosts at work at once: 10, or 20% of the plan's hosts, rounded down; at most what the config allows (with --ssh 8 where it is not said)
    #[arg(long, value_name = "N|P%", conflicts_with = "local")]
    pub(crate) concurrency: Option<Share>,
    /// How many hosts may fail before no further one is begun: 1, or 5%; at most what the config allows
    #[arg(long, value_name = "N|P%", conflicts_with = "local")]
    pub(crate) error_threshold: Option<Share>,
    /// Keep to the plan's hosts also where the config selects more of them by now
    #[arg(long, conflicts_with = "door")]
    pub(crate) leave_out_new_hosts: bool,
}

/// How long a command waits for a run.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Patience {
    /// Give up waiting after this many seconds; the run goes on (with --local or --ssh it is cancelled then)
    #[arg(long, default_value_t = 3_600, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// Runs, the newest first
    #[command(after_help = "Examples:\n  writ run list\n  writ run list --limit 5 -o json")]
    List {
        /// At most so many
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
    },
    /// One run with its hosts, steps and artefacts
    #[command(after_help = "Example:\n  writ run show run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b")]
    Show {
        /// Its id
        run: String,
    },
    /// Follow a run to its end; Ctrl-C leaves it running
    #[command(after_help = "Example:\n  writ run watch run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --json-lines")]
    Watch {
        /// Its id
        run: String,
        #[command(flatten)]
        patience: Patience,
    },
    /// Output of a run's steps
    #[command(
        after_help = "Examples:\n  writ run logs run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --host web-1\n  \
                      writ run logs run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --follow --step command:compile\n  \
                      writ run logs run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --since 10m --json-lines"
    )]
    Logs {
        /// Its id
        run: String,
        /// Only this host
        #[arg(long)]
        host: Option<String>,
        /// Only this step
        #[arg(long)]
        step: Option<String>,
        /// Only steps that ended since then: 90s, 10m, 2h, 1d ago, or an RFC 3339 instant
        #[arg(long, value_name = "TIME", value_parser = Since::parse)]
        since: Option<Since>,
        /// Go on with what comes, until the run is over; Ctrl-C leaves it running
        #[arg(short, long)]
        follow: bool,
    },
    /// Go on with a run that stopped at its budget, and follow it to its end
    ///
    /// Orders the same plan again on the hosts that stopped with W0313. What is done is found done.
    #[command(
        after_help = "Examples:\n  writ run resume run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b\n  \
                      writ run resume run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --budget 2.50"
    )]
    Resume {
        /// Its id
        run: String,
        /// What it may cost from now on; as much again as its config allows when not given
        #[arg(long, value_name = "AMOUNT", value_parser = super::budget::micros)]
        budget: Option<u64>,
        /// Return when the orders are given
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        patience: Patience,
    },
    /// Cancel what has not begun and stop what runs
    #[command(
        after_help = "Example:\n  writ run cancel run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b --reason \"wrong port\""
    )]
    Cancel {
        /// Its id
        run: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
}
