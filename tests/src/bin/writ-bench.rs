//! `cargo xtask bench`: runs benchmarks in a release build and prints a table, or one JSON object a line.

#![expect(clippy::print_stdout, reason = "figures are this program's output")]

use clap::{Parser, ValueEnum};
use writ_tests::bench::{self, Row};

/// Measures, and says beside each figure what the bare thing underneath does in the same run.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    after_help = "Examples:\n  cargo xtask bench envelope\n  cargo xtask bench --json > figures.jsonl"
)]
struct Arguments {
    /// Which benchmarks; all where none is named.
    #[arg(value_enum)]
    benches: Vec<Bench>,
    /// Print one JSON object a line: bench, case, n, value, unit and, where there is one, floor, peer, ratio.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Envelope sign and verify per second against the bare library.
    Envelope,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let all = Bench::value_variants();
    let chosen = if arguments.benches.is_empty() {
        all
    } else {
        &arguments.benches
    };
    for one in chosen {
        let report = |row: Row| print_row(&row, arguments.json);
        match one {
            Bench::Envelope => bench::envelope::run(report)?,
        }
    }
    Ok(())
}

fn print_row(row: &Row, json: bool) {
    if json {
        println!("{}", serde_json::to_string(row).unwrap_or_default());
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
