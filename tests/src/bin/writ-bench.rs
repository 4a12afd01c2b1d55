//! `cargo xtask bench`: runs benchmarks in a release build and prints a table, or one JSON object a line.

#![expect(clippy::print_stdout, reason = "figures are this program's output")]

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use writ_cli::exit::Exit;
use writ_cli::fault;
use writ_tests::bench::bed::tell;
use writ_tests::bench::footprint::{SIZE, Size};
use writ_tests::bench::latency::{CASES, Case};
use writ_tests::bench::patrol::{SIZES as PATROLS, Size as Patrol};
use writ_tests::bench::swarm::{SIZES, Size as Swarm};
use writ_tests::bench::{self, Row, target};

/// Measures, and says beside each figure what the bare thing underneath does in the same run.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    after_help = "Examples:\n  cargo xtask bench latency ingest\n  cargo xtask bench swarm --agents 500\n  cargo xtask bench patrol --agents 1000\n  cargo xtask bench --markdown\n  cargo xtask bench --json > figures.jsonl"
)]
struct Arguments {
    /// Which benchmarks; all where none is named.
    #[arg(value_enum)]
    benches: Vec<Bench>,
    /// Print one JSON object a line: bench, case, n, value, unit and, where there is one, floor, peer, ratio.
    #[arg(long)]
    json: bool,
    /// Print the rows of the table in docs/benchmarks.md, each beside its target.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// The size of the swarm and of `patrol`, instead of 1,000 and 10,000; the largest case of `latency`; the agents of `halt`, instead of 200, and of `drift`, instead of 20.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    agents: Option<u32>,
    /// The files of `converge`, instead of 100, 1,000 and 10,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    files: Option<u32>,
    /// How long `footprint` watches the idle agent, instead of a minute; the interval of `patrol`, instead of 180; how long a peer of `converge` may take, instead of 120.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Envelope sign and verify per second against the bare library.
    Envelope,
    /// From the commit of a run to the commit of its acceptance, at 1, 100 and 1,000 agents.
    Latency,
    /// A fleet on one machine: one order to each, the way back after the bus was killed, and an order after the controller was.
    Swarm,
    /// Stops of a fleet whose agents each run a step: from the call of the API to each agent's confirmation in the ledger.
    Halt,
    /// Files written beside applied plans, until the ledger has what was found.
    Drift,
    /// A fleet that looks at itself by schedule: what that costs while nothing differs, and how soon each host is seen that begins to.
    Patrol,
    /// Event batches into the ledger, against a bare insert of the same rows.
    Ingest,
    /// What an idle agent costs its host: start, processor, memory.
    Footprint,
    /// What it costs to run a step, against a bare process.
    Spawn,
    /// One host, N files: our local apply against the bare loop, and against other people's tools where they are installed.
    Converge,
    /// What it costs to run a strict step, against a bare process in the same namespaces.
    Sandbox,
}

fn main() -> anyhow::Result<ExitCode> {
    match measure(&Arguments::parse()) {
        Err(error) if fault::exit(&error) == Exit::Interrupted => {
            tell("interrupted; everything that was started is taken down");
            Ok(ExitCode::from(Exit::Interrupted.code()))
        }
        done => done.map(|()| ExitCode::SUCCESS),
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let all = Bench::value_variants();
    let chosen = if arguments.benches.is_empty() {
        all
    } else {
        &arguments.benches
    };
    if arguments.markdown {
        println!("{}", target::HEAD);
    }
    for one in chosen {
        let report = |row: Row| print_row(&row, arguments);
        match one {
            Bench::Envelope => bench::envelope::run(report)?,
            Bench::Latency => bench::latency::run(&latencies(arguments.agents), report)?,
            Bench::Halt => {
                let named = arguments.agents.map(|agents| agents as usize);
                let agents = named.unwrap_or(bench::halt::SIZE.agents);
                bench::halt::run(
                    bench::halt::Size {
                        agents,
                        ..bench::halt::SIZE
                    },
                    report,
                )?;
            }
            Bench::Drift => {
                let named = arguments.agents.map(|agents| agents as usize);
                let agents = named.unwrap_or(bench::drift::SIZE.agents);
                bench::drift::run(
                    bench::drift::Size {
                        agents,
                        ..bench::drift::SIZE
                    },
                    report,
                )?;
            }
            Bench::Patrol => {
                let named = arguments.agents.map(|agents| Patrol::of(agents as usize));
                for mut size in named.map_or_else(|| PATROLS.to_vec(), |size| vec![size]) {
                    size.interval = arguments.seconds.map_or(size.interval, Duration::from_secs);
                    bench::patrol::run(size, report)?;
                }
            }
            Bench::Ingest => bench::ingest::run(bench::ingest::SIZE, report)?,
            Bench::Footprint => {
                let idle = arguments.seconds.map_or(SIZE.idle, Duration::from_secs);
                bench::footprint::run(Size { idle, ..SIZE }, report)?;
            }
            Bench::Spawn => bench::spawn::run(bench::spawn::RUNS, report)?,
            Bench::Sandbox => bench::sandbox::run(bench::sandbox::RUNS, report)?,
            Bench::Converge => bench::converge::run(&converge(arguments), report)?,
            Bench::Swarm => {
                let named = arguments.agents.map(|agents| Swarm::of(agents as usize));
                for size in named.map_or_else(|| SIZES.to_vec(), |size| vec![size]) {
                    bench::swarm::run(size, &report)?;
                }
            }
        }
    }
    Ok(())
}

/// The cases of `latency` up to a size.
fn latencies(most: Option<u32>) -> Vec<Case> {
    let most = most.map_or(usize::MAX, |agents| agents as usize);
    CASES.into_iter().filter(|case| case.agents <= most).collect()
}

/// Which sizes of `converge`, and for how long it waits for a peer.
fn converge(arguments: &Arguments) -> bench::converge::Size {
    let mut size = bench::converge::Size::default();
    if let Some(files) = arguments.files {
        size.files = vec![files as usize];
    }
    size.patience = arguments.seconds.map_or(size.patience, Duration::from_secs);
    size
}

fn print_row(row: &Row, arguments: &Arguments) {
    if arguments.json {
        println!("{}", serde_json::to_string(row).unwrap_or_default());
        return;
    }
    if arguments.markdown {
        println!("{}", target::line(row));
        return;
    }
    if let Some(why) = &row.not_run {
        let peer = row.peer.unwrap_or_default();
        println!(
            "{:<12} {:<24} n={:<8} NOT_RUN ({peer}): {why}",
            row.bench, row.case, row.n
        );
        return;
    }
    let floor = row
        .floor
        .map(|floor| format!("  floor {floor:.1} {}", row.unit))
        .unwrap_or_default();
    let ratio = row
        .ratio
        .map(|ratio| format!("  ratio {ratio:.2}"))
        .unwrap_or_default();
    let peer = row.peer.map(|peer| format!("  ({peer})")).unwrap_or_default();
    println!(
        "{:<12} {:<24} n={:<8} {:>12.2} {}{floor}{ratio}{peer}",
        row.bench, row.case, row.n, row.value, row.unit
    );
}
