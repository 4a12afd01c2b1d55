//! The controller's process: arguments, a runtime, and an exit code. Everything else is in the library.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use writ_controller::app::OperatorRole;
use writ_controller::{config::Config, serve};

/// Keeps the ledger, gives signed orders to agents, and takes their evidence.
#[derive(Debug, Parser)]
#[command(name = "writ-controller", version, max_term_width = 100)]
struct Arguments {
    /// Configuration file; WRIT_CONTROLLER_… variables win over it.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until a signal says to stop.
    Serve,
    /// Bring the database's schema up to date.
    Migrate,
    /// Begin a new epoch, after the database was restored or replaced.
    RaiseEpoch,
    /// Check the configuration, the keys and the logins, and connect to nothing.
    CheckConfig,
    /// API tokens.
    #[command(subcommand)]
    Token(Token),
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Make a token; its text alone goes to standard output.
    Create {
        /// Who it stands for.
        #[arg(long)]
        name: String,
        /// viewer, operator or admin.
        #[arg(long, value_parser = |role: &str| OperatorRole::of(role).ok_or("one of viewer, operator and admin is wanted"))]
        role: OperatorRole,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(said) => {
            let written = std::io::stdout().write_all(said.as_bytes());
            if written.is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "writ-controller: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<String> {
    let config = Config::load(arguments.config.as_deref())?;
    writ_chassis::telemetry::init(config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(match arguments.command {
        Command::Serve => runtime.block_on(serve::serve(&config)).map(|()| String::new())?,
        Command::Migrate => runtime
            .block_on(serve::migrate(&config))
            .map(|()| String::new())?,
        Command::RaiseEpoch => runtime
            .block_on(serve::raise_epoch(&config))
            .map(|epoch| format!("{epoch}\n"))?,
        Command::CheckConfig => serve::check(&config).map(|()| "the configuration is fine\n".to_owned())?,
        Command::Token(Token::Create { name, role }) => runtime
            .block_on(serve::create_token(&config, &name, role))
            .map(|token| format!("{token}\n"))?,
    })
}
