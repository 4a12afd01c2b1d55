//! `cargo xtask sim`: runs seeds of the simulator and tells what must not have happened, with the command that repeats it.

#![expect(clippy::print_stdout, reason = "findings are this program's output")]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use writ_tests::sim::{self, Options};

/// Runs whole worlds in virtual time, each from a seed, and checks that nothing happened that must not.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim")]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after another.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// How long things go wrong in each: `10m`, `90s`.
    #[arg(long = "for", value_parser = span, default_value = "10m")]
    span: Duration,
    /// Parts of the plan to leave out, by number.
    #[arg(long, value_delimiter = ',')]
    without: Vec<usize>,
    /// Tell the history.
    #[arg(long)]
    trace: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no span; write 10m or 90s"))?;
    match unit {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => Err(format!("{text:?} is no span; write 10m or 90s")),
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut failures = 0;
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        let options = Options {
            seed,
            span: arguments.span,
            without: arguments.without.iter().copied().collect::<BTreeSet<_>>(),
            keep: arguments.trace,
        };
        let outcome = sim::run(&options)?;
        for line in &outcome.lines {
            println!("{line}");
        }
        if arguments.trace || !outcome.violations.is_empty() {
            println!("seed {seed}: {:016x} {:?}", outcome.hash, outcome.counts);
        }
        for violation in &outcome.violations {
            println!("seed {seed}: {} {}", violation.rule, violation.what);
        }
        failures += u64::from(!outcome.violations.is_empty());
    }
    println!("{} seeds, {failures} failures", arguments.seeds);
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
