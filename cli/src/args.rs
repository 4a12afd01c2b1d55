//! The command line: every command, flag and example. Examples stand in one list so that a test can parse them all.

mod dev;
mod fleet;
mod plans;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use dev::*;
pub(crate) use fleet::*;
pub(crate) use plans::*;

use crate::output::Format;

/// Signs an order, carries it out on the right hosts under hard limits, and proves what happened.
#[derive(Debug, Parser)]
#[command(name = "writ", version, disable_help_subcommand = true, after_help = "Examples:\n  writ dev demo\n  writ plan site.yaml\n  writ help exit-codes")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Form of data on stdout
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// One JSON object a line, for streams
    #[arg(long, global = true)]
    pub(crate) json_lines: bool,
    /// Say nothing but errors on stderr
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Which context of the configuration file
    #[arg(long, global = true, env = "WRIT_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Address of the controller's API
    #[arg(long, global = true, env = "WRIT_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// File with the API token (or WRIT_TOKEN)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A private PostgreSQL, nats-server, controller and agents on this machine
    #[command(subcommand)]
    Dev(Dev),
    /// Shell completion
    #[command(after_help = "Example:\n  writ completion bash")]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Help on a command or a topic
    #[command(after_help = "Examples:\n  writ help exit-codes\n  writ help dev")]
    Help {
        /// A command, or `exit-codes`
        words: Vec<String>,
    },
}
