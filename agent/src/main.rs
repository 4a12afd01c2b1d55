//! The agent's process: arguments, a small runtime, and an exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use writ_agent::command::{self, Command};

/// Takes signed orders for this host, carries them out under limits, and keeps signed evidence until the ledger has it.
#[derive(Debug, Parser)]
#[command(name = "writ-agent", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Threads for what blocks: one step, the journal, and one to spare for names and files.
const BLOCKING_THREADS_MAX: usize = 4;

fn main() -> ExitCode {
    // First of all: this binary is started again to become a step, and then nothing of the agent may be there.
    writ_sandbox::maybe_run_shim();
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_stack_size(512 << 10)
        .build()?;
    let outcome = runtime.block_on(command::run(command));
    runtime.shutdown_background();
    outcome.map_err(anyhow::Error::from_boxed)
}
