//! `cargo xtask torture`: real processes, real faults, and a checker; tells what must not have happened, with the command that repeats it.

#![expect(clippy::print_stdout, reason = "findings are this program's output")]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use writ_cli::interrupt::Interrupt;
use writ_tests::torture::{self, Harm, Options, Tally};

/// Worlds at once, at most: each is a dozen processes.
const WORLDS_MAX: u64 = 64;

/// Hurts a whole system of real processes again and again, lets it heal, and checks that nothing happened that must not.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask torture",
    after_help = "Examples:\n  cargo xtask torture --cycles 20 --seed 7 --json\n  cargo xtask torture --cycles 10000 --worlds 8 --within 10h\n  cargo xtask torture --seed 7 --first 12 --cycles 1"
)]
struct Arguments {
    /// What everything is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many cycles.
    #[arg(long, default_value_t = 10)]
    cycles: u64,
    /// How many worlds beside each other, each with the next seed; the cycles are spread over them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=WORLDS_MAX))]
    worlds: u64,
    /// The first cycle's number: to repeat one without those before it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    first: u64,
    /// Begin no more cycles after this long: `120s`.
    #[arg(long, value_parser = span)]
    within: Option<Duration>,
    /// Check everything after so many cycles, and at the end.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    check_every: u64,
    /// Faults to leave out, by name.
    #[arg(long, value_delimiter = ',', value_parser = harm)]
    without: Vec<Harm>,
    /// Only these faults, by name.
    #[arg(long, value_delimiter = ',', value_parser = harm, conflicts_with = "without")]
    only: Vec<Harm>,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span; write 120s, 10m or 3h");
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3_600))),
        _ => Err(wrong()),
    }
}

fn harm(name: &str) -> Result<Harm, String> {
    Harm::of(name).ok_or_else(|| {
        let all: Vec<&str> = Harm::ALL.iter().map(|(harm, _)| harm.name()).collect();
        format!("there is no fault {name:?}; there are {}", all.join(", "))
    })
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    // One Ctrl-C is heard by every wait, and everything is taken down.
    let interrupt = Interrupt::install()?;
    let tell_line = &mut |line: &str| println!("{line}");
    match torture::many(&options(&arguments), arguments.worlds, &interrupt, tell_line) {
        Ok(tally) => {
            tell(&tally, &arguments);
            Ok(if tally.violations == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Err(error) => {
            println!("the rig stopped: {error:#}");
            if arguments.json {
                println!(
                    "{}",
                    json!({ "error": format!("{error:#}"), "seed": arguments.seed })
                );
            }
            Ok(ExitCode::from(writ_cli::fault::exit(&error).code()))
        }
    }
}

fn options(arguments: &Arguments) -> Options {
    let mut without: BTreeSet<Harm> = arguments.without.iter().copied().collect();
    if !arguments.only.is_empty() {
        let all = Harm::ALL.iter().map(|(harm, _)| *harm);
        without.extend(all.filter(|harm| !arguments.only.contains(harm)));
    }
    Options {
        seed: arguments.seed,
        first: arguments.first,
        cycles: arguments.cycles,
        within: arguments.within,
        check_every: arguments.check_every,
        without,
    }
}

/// The choice of faults as it is written on the command line: other faults are another draw.
fn choice(arguments: &Arguments) -> String {
    let of = |option: &str, harms: &[Harm]| {
        let names: Vec<&str> = harms.iter().map(|harm| harm.name()).collect();
        format!(" --{option} {}", names.join(","))
    };
    match (arguments.only.as_slice(), arguments.without.as_slice()) {
        ([], []) => String::new(),
        ([], without) => of("without", without),
        (only, _) => of("only", only),
    }
}

fn tell(tally: &Tally, arguments: &Arguments) {
    for (harm, why) in &tally.skipped {
        println!("skipped: {}: {why}", harm.name());
    }
    for finding in &tally.kept {
        let (after, with) = finding.cycles;
        println!("{}: {}", finding.violation.rule, finding.violation.what);
        println!(
            "  repeat: cargo xtask torture --seed {} --first {} --cycles {}{}",
            finding.seed,
            after + 1,
            (with - after).max(1),
            choice(arguments),
        );
    }
    let rests = tally
        .rests
        .checked_div(u32::try_from(tally.cycles.max(1)).unwrap_or(u32::MAX));
    println!(
        "{} cycles in {:.0?}, {} violations; orders: {:?}; {} steps started, {} records read; at rest after {:.1?} on average, {:.1?} at most; \
         ended by themselves: {:?}; faults: {:?}",
        tally.cycles,
        tally.took,
        tally.violations,
        tally.orders,
        tally.starts,
        tally.records,
        rests.unwrap_or_default(),
        tally.slowest,
        tally.revived,
        tally.faults,
    );
    if arguments.json {
        let skipped: Vec<&str> = tally.skipped.iter().map(|(harm, _)| harm.name()).collect();
        println!(
            "{}",
            json!({
                "cycles": tally.cycles,
                "violations": tally.violations,
                "seed": arguments.seed,
                "worlds": arguments.worlds,
                "seconds": tally.took.as_secs(),
                "slowest_rest_ms": u64::try_from(tally.slowest.as_millis()).unwrap_or(u64::MAX),
                "orders": tally.orders,
                "faults": tally.faults,
                "steps_started": tally.starts,
                "records": tally.records,
                "revived": tally.revived,
                "skipped": skipped,
            })
        );
    }
}
