//! The controller's process: arguments, a runtime, and an exit code. Everything else is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use writ_controller::command::{Arguments, Command, Token};
use writ_controller::{config::Config, serve};

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
