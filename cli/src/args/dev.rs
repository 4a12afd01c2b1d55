//! `writ dev`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Where a stack keeps its data.
#[derive(Debug, Clone, Args)]
pub(crate) struct Data {
    /// The stack's folder
    #[arg(long, default_value = ".writ/dev", value_name = "DIR")]
    pub(crate) data: PathBuf,
}

/// What a stack is to be.
#[derive(Debug, Clone, Args)]
pub(crate) struct Stack {
    #[command(flatten)]
    pub(crate) data: Data,
    /// How many agents
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) agents: usize,
    /// How many controllers
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) controllers: usize,
    /// Agents as plain processes, not on lab hosts: they change this machine
    #[arg(long)]
    pub(crate) plain: bool,
    /// Use this PostgreSQL instead of a private one (or WRIT_PG, which keeps a password off the command line)
    #[arg(long, value_name = "URL", env = "WRIT_PG", hide_env_values = true)]
    pub(crate) pg: Option<String>,
    /// Use this bus instead of a private one; may be given more than once
    #[arg(long, value_name = "URL", requires = "nats_keys")]
    pub(crate) nats: Vec<String>,
    /// Keys of that bus: seeds as in DATA/keys/nats, and ca.pem
    #[arg(long, value_name = "DIR", requires = "nats")]
    pub(crate) nats_keys: Option<PathBuf>,
    /// Folder of PostgreSQL's programs (or WRIT_PG_BIN)
    #[arg(long, value_name = "DIR")]
    pub(crate) pg_bin: Option<PathBuf>,
}

/// What the demo is to do.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  writ dev demo\n  writ dev demo --json\n  writ dev demo --keep --agents 5",
    mut_arg("data", |arg| arg.default_value(".writ/demo"))
)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) stack: Stack,
    /// One JSON object a line; the last names the run and the verified pack
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave everything up
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dev {
    /// Carry out a real config on real hosts and prove it
    Demo(Demo),
    /// Bring the stack up; Ctrl-C takes it down
    #[command(
        after_help = "Examples:\n  writ dev up\n  writ dev up --agents 5 --detach\n  writ dev up --pg postgres://localhost/writ\n  \
                      writ dev up --nats tls://nats.example:4222 --nats-keys keys/nats"
    )]
    Up {
        #[command(flatten)]
        stack: Stack,
        /// Leave it running and return
        #[arg(long)]
        detach: bool,
    },
    /// What runs
    #[command(after_help = "Examples:\n  writ dev status\n  writ dev status -o json")]
    Status {
        #[command(flatten)]
        data: Data,
    },
    /// The log of a part
    #[command(after_help = "Examples:\n  writ dev logs controller-1\n  writ dev logs -f lab-1")]
    Logs {
        #[command(flatten)]
        data: Data,
        /// Go on with what is written
        #[arg(short, long)]
        follow: bool,
        /// Which part: `writ dev status` lists them
        part: String,
    },
    /// psql on the private database
    #[command(after_help = "Examples:\n  writ dev psql\n  writ dev psql -- --command \"TABLE agent\"")]
    Psql {
        #[command(flatten)]
        data: Data,
        /// Arguments of psql
        #[arg(last = true)]
        rest: Vec<std::ffi::OsString>,
    },
    /// Take everything down; the data stays
    #[command(after_help = "Example:\n  writ dev down")]
    Down {
        #[command(flatten)]
        data: Data,
    },
    /// Take everything down and remove the data
    #[command(after_help = "Example:\n  writ dev reset")]
    Reset {
        #[command(flatten)]
        data: Data,
    },
}
