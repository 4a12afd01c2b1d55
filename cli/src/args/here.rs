//! `writ run [PATH]`: a config carried out on this machine, or by ssh on others, with no controller.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use writ_plan::rollout::Share;
use writ_protocol::exec::RunMode;

use super::{Additions, BySsh, CONFIG, RunCommand};

/// `writ run`: a config on this machine or by ssh on others, or something about a controller's runs.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "A word that is a command is taken for it: for a config of such a name write ./list.\n\n\
                  Modes:\n  strict    asks before anything is changed; looks at everything once more at the end\n  \
                  dev-fast  a trial: does not ask, may spend half as much again; its artefacts are named *_devfast.*, and no strict config takes one\n\n\
                  Examples:\n  writ run site.yaml\n  writ run site.yaml --mode dev-fast\n  writ run site.yaml --auto-approve -o json\n  writ run site.yaml --ssh web-1,admin@db-1\n  writ run site.yaml --ssh @hosts.yaml --concurrency 20%\n  writ run list"
)]
pub(crate) struct Run {
    #[command(subcommand)]
    pub(crate) command: Option<RunCommand>,
    #[command(flatten)]
    pub(crate) here: Here,
}

/// A config on this machine.
#[derive(Debug, Args)]
pub(crate) struct Here {
    /// The config, which is carried out on this machine whatever its targets are, or where --ssh says
    #[arg(default_value = CONFIG, value_name = "PATH")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) values: Additions,
    /// How it is carried out, instead of what the config says; strict where neither says anything
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) mode: Option<Mode>,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub(crate) auto_approve: bool,
    /// Exit 0 nothing changed, 2 changed, 4 failed, 6 both
    #[arg(long)]
    pub(crate) detailed_exitcodes: bool,
    #[command(flatten)]
    pub(crate) ssh: BySsh,
    /// With --ssh: most hosts at work at once, 8 where it is not said: 10, or 20% of them, rounded down
    #[arg(long, value_name = "N|P%", requires = "ssh")]
    pub(crate) concurrency: Option<Share>,
    /// Where keys, records and packs are kept; /var/lib/writ/local for root, else below the user's own state (or WRIT_LOCAL_STATE)
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Cancel what still runs after this many seconds
    #[arg(long, default_value_t = 3_600, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// A mode, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Everything that counts
    Strict,
    /// A trial
    DevFast,
}

impl From<Mode> for RunMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Strict => Self::Strict,
            Mode::DevFast => Self::DevFast,
        }
    }
}
