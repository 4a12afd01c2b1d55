//! `writ-agent provider`: the built-in providers as a program of their own, in the protocol of external ones.

use std::path::PathBuf;

use clap::Subcommand;
use writ_provider_sdk::serve;
use writ_providers::BuiltIns;
use writ_sandbox::{CgroupBase, Config, Sandbox};

use super::Error;

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer a host's questions at standard input and output, as an external provider does; the conformance suite asks them.
    Serve {
        /// Where the host's paths begin.
        #[arg(long, default_value = "/")]
        root: PathBuf,
    },
}

/// Runs a command.
///
/// # Errors
/// Whatever kept it from its end.
pub(super) fn run(command: &Command) -> Result<(), Error> {
    let Command::Serve { root } = command;
    let sandbox = Sandbox::new(Config {
        // A cgroup of an agent that runs here is its own.
        cgroup: CgroupBase::Off,
        ..Config::default()
    })?;
    let mut built_ins = BuiltIns::new(root, sandbox)?;
    Ok(serve(&mut built_ins, std::io::stdin(), std::io::stdout())?)
}
