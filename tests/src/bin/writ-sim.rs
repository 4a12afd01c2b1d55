//! `cargo xtask sim`: runs seeds of the simulator and tells what must not have happened, with the command that repeats it.

#![expect(clippy::print_stdout, reason = "findings are this program's output")]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use writ_tests::sim::many::{Tally, Wanted, many};
use writ_tests::sim::plan::Plan;
use writ_tests::sim::shrink::shrink;
use writ_tests::sim::{self, Options, Outcome};

/// Failures that are made small and told at length; the others are counted.
const TOLD_MAX: usize = 5;

/// Runs whole worlds in virtual time, each from a seed, and checks that nothing happened that must not.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask sim",
    after_help = "Examples:\n  cargo xtask sim --seed 7 --for 10m --trace\n  cargo xtask sim --seeds 20000 --json\n  cargo xtask sim --planted --json"
)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, from the first on.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Begin no more seeds after this long, real time: `60s`.
    #[arg(long, value_parser = span)]
    within: Option<Duration>,
    /// How long things go wrong in each, virtual time: `10m`, `90s`.
    #[arg(long = "for", value_parser = span, default_value = "10m")]
    span: Duration,
    /// Parts of the plan to leave out, by number.
    #[arg(long, value_delimiter = ',')]
    without: Vec<usize>,
    /// Tell the plan and the history of the seed.
    #[arg(long)]
    trace: bool,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// How many at once; all cores where it is 0.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Hunt the planted bugs instead, all or those named.
    #[arg(long, num_args = 0.., value_name = "BUG")]
    planted: Option<Vec<String>>,
    /// Run with a planted bug chosen, to look at what it does.
    #[arg(long, value_name = "BUG", conflicts_with = "planted")]
    with_bug: Option<String>,
}

fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span; write 10m or 90s");
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(wrong()),
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(names) = &arguments.planted {
        return planted(names, arguments.json);
    }
    let first = Options {
        seed: arguments.seed,
        span: arguments.span,
        without: arguments.without.iter().copied().collect::<BTreeSet<_>>(),
        keep: false,
    };
    let bug = chosen(arguments.with_bug.as_deref())?;
    if arguments.trace {
        bug();
        return trace(&first);
    }
    let wanted = Wanted {
        first: first.clone(),
        seeds: arguments.seeds,
        until_failure: false,
        within: arguments.within,
        threads: arguments.threads,
    };
    let tally = many(&wanted, &bug);
    bug();
    for (seed, outcome) in tally.failed.iter().take(TOLD_MAX) {
        let options = Options {
            seed: *seed,
            ..first.clone()
        };
        tell(&options, outcome, arguments.with_bug.as_deref())?;
    }
    for (seed, outcome) in tally.failed.iter().skip(TOLD_MAX) {
        for violation in &outcome.violations {
            println!("seed {seed}: {}: {}", violation.rule, violation.what);
        }
    }
    sum_up(&tally, arguments.json);
    Ok(verdict(tally.failed.is_empty()))
}

fn verdict(is_well: bool) -> ExitCode {
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn sum_up(tally: &Tally, is_json: bool) {
    let millis = u64::try_from(tally.took.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_second = tally.seeds.saturating_mul(1_000) / millis;
    println!(
        "{} seeds, {} failures; {} lives of agents, {} steps started, {} records committed, {} orders of rollouts begun; {per_second} seeds/s",
        tally.seeds,
        tally.failed.len(),
        tally.lives,
        tally.starts,
        tally.frames,
        tally.released,
    );
    if is_json {
        println!(
            "{}",
            json!({ "seeds": tally.seeds, "failures": tally.failed.len() })
        );
    }
}

fn trace(options: &Options) -> anyhow::Result<ExitCode> {
    show_plan(options);
    let outcome = sim::run(&Options {
        keep: true,
        ..options.clone()
    })?;
    for line in &outcome.lines {
        println!("{line}");
    }
    println!("trace {:016x}, {:?}", outcome.hash, outcome.counts);
    for violation in &outcome.violations {
        println!("{}: {}", violation.rule, violation.what);
    }
    Ok(verdict(outcome.violations.is_empty()))
}

fn show_plan(options: &Options) {
    let whole = Plan::draw(options.seed, options.span, &BTreeSet::new());
    println!(
        "seed {}: {} agents, {} controllers",
        options.seed, whole.agents, whole.controllers
    );
    let kept = whole
        .entries
        .iter()
        .enumerate()
        .filter(|(place, _)| !options.without.contains(place));
    for (place, entry) in kept {
        println!("  {place:>2} {entry}");
    }
}

/// Makes a failure small and says how to repeat it.
fn tell(options: &Options, outcome: &Outcome, bug: Option<&str>) -> anyhow::Result<()> {
    let (small, outcome) = shrink(options, outcome.clone())?;
    show_plan(&small);
    for violation in &outcome.violations {
        println!("  {}: {}", violation.rule, violation.what);
    }
    let without: Vec<String> = small.without.iter().map(ToString::to_string).collect();
    let without = if without.is_empty() {
        String::new()
    } else {
        format!(" --without {}", without.join(","))
    };
    let bug = bug.map_or_else(String::new, |name| format!(" --with-bug {name}"));
    println!(
        "  repeat: cargo xtask sim --seed {} --for {}s{without}{bug} --trace",
        small.seed,
        small.span.as_secs()
    );
    Ok(())
}

#[cfg(feature = "planted")]
fn chosen(name: Option<&str>) -> anyhow::Result<impl Fn() + Sync> {
    use writ_protocol::planted::choose;
    let bug = name.map(bug_of).transpose()?;
    Ok(move || choose(bug))
}

#[cfg(not(feature = "planted"))]
fn chosen(name: Option<&str>) -> anyhow::Result<impl Fn() + Sync> {
    anyhow::ensure!(
        name.is_none(),
        "this program was built without planted bugs; ask `cargo xtask sim` for them"
    );
    Ok(|| {})
}

#[cfg(feature = "planted")]
fn bug_of(name: &str) -> anyhow::Result<writ_protocol::planted::Bug> {
    use writ_protocol::planted::Bug;
    let name = format!("planted-{}", name.trim_start_matches("planted-"));
    let found = Bug::ALL.iter().find(|bug| bug.name() == name);
    found
        .copied()
        .ok_or_else(|| anyhow::anyhow!("there is no planted bug {name:?}"))
}

#[cfg(feature = "planted")]
fn planted(names: &[String], is_json: bool) -> anyhow::Result<ExitCode> {
    use writ_protocol::planted::Bug;
    use writ_tests::sim::planted::hunt;
    let named = names
        .iter()
        .map(|name| bug_of(name))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let bugs = if named.is_empty() {
        Bug::ALL.to_vec()
    } else {
        named
    };
    let mut missed = 0;
    for bug in &bugs {
        let hunt = hunt(*bug);
        let (name, within) = (bug.name(), hunt.within);
        if let Some((seed, rule)) = hunt.found {
            println!("{name:<32} found by seed {seed:>4} of {within:>5} ({rule})");
        } else {
            println!("{name:<32} MISSED in {within} seeds; repeat: cargo xtask sim --planted {name}");
            missed += 1;
        }
    }
    if is_json {
        println!("{}", json!({ "planted": bugs.len(), "missed": missed }));
    }
    Ok(verdict(missed == 0))
}

#[cfg(not(feature = "planted"))]
fn planted(_names: &[String], _is_json: bool) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this program was built without planted bugs; ask `cargo xtask sim` for them")
}
