//! Developer commands: one tool, in Rust, the same on a desk and in CI.
//!
//! `main.rs` holds the command line and nothing else; each command has its own file. The tool names none of our other
//! packages, so that it builds when they do not. Progress goes to stderr, results (findings, JSON) to stdout.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer tool talks to the terminal; it has no log"
)]

mod check;
mod coverage;
mod fuzz;
mod launch;
mod mutants;
mod parts;
mod place;
mod rules;
mod sbom;
mod sim;
mod step;
mod supply;
mod test;
mod tidy;
mod torture;
mod watched;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::place::Place;

/// Developer commands of Writ.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Real servers, a controller and three agents carry out a real config and prove it. Installs what is missing
    #[command(disable_help_flag = true)]
    Demo(PassThrough),
    /// The same parts, started and left to you (`writ dev up`)
    #[command(disable_help_flag = true)]
    Dev(PassThrough),
    /// Everything CI runs: parts, check, build, tests
    Test(test::Options),
    /// Formatting, lints, tidy, documentation, licences, bans, advisories and the bill of materials
    Check(check::Options),
    /// Writes the bill of materials (docs/sbom.cdx.json), which `check` holds to what is built
    Sbom(sbom::Options),
    /// Arrows between packages and rooms, tokens, sizes, names, migrations, lists against their documents
    Tidy(tidy::Options),
    /// Tests on an instrumented build: which lines they reach, and whether these are enough
    Coverage(coverage::Options),
    /// Every decoder under libFuzzer, for a bounded time
    Fuzz(fuzz::Options),
    /// Breaks the code that everything rests on, one change at a time, and looks whether a test notices; an hour and more
    Mutants(mutants::Options),
    /// Measures, on a release build. Arguments go to `writ-bench`
    #[command(disable_help_flag = true)]
    Bench(PassThrough),
    /// Whole worlds in virtual time, each from a seed; planted bugs with `--planted`. Arguments go to `writ-sim`
    #[command(disable_help_flag = true)]
    Sim(PassThrough),
    /// Real processes killed, cut off, wiped and rolled back, then everything compared. Arguments go to `writ-torture`
    #[command(disable_help_flag = true)]
    Torture(PassThrough),
    /// A fleet on this machine (`bench swarm`): one order to each agent, and the way back after the bus was killed
    #[command(disable_help_flag = true)]
    Swarm(PassThrough),
    /// Finds the servers and tools that tests and the demo use, and installs what is missing
    Parts(parts::Options),
}

/// Arguments that belong to the command we start.
#[derive(Debug, clap::Args)]
struct PassThrough {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

fn main() -> ExitCode {
    if let Some(code) = coverage::as_compiler() {
        return code;
    }
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let place = Place::find()?;
    match args.command {
        Command::Demo(args) => launch::demo(&place, &args.rest),
        Command::Dev(args) => launch::dev(&place, &args.rest),
        Command::Sim(args) => sim::run(&place, &args.rest),
        Command::Bench(args) => launch::bench(&place, &args.rest),
        Command::Torture(args) => torture::run(&place, &args.rest),
        Command::Swarm(args) => launch::swarm(&place, &args.rest),
        Command::Coverage(options) => coverage::run(&place, &options),
        Command::Fuzz(options) => fuzz::run(&place, &options),
        Command::Mutants(options) => mutants::run(&place, &options),
        Command::Test(options) => test::run(&place, &options),
        Command::Check(options) => check::run(&place, &options),
        Command::Sbom(options) => sbom::run(&place, &options),
        Command::Tidy(options) => tidy::run(&place, &options),
        Command::Parts(options) => parts::run(&place, &options),
    }
}
