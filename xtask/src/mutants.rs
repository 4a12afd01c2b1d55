//! `cargo xtask mutants`: the code that everything rests on broken by a program (`cargo-mutants`), one small change at a time, and whether a test of
//! its package notices. A long command: it builds and tests once for each of some thousand changes, so `--shard` takes a part of them. Changes that
//! cannot matter are named in `xtask/mutants.toml` with the reason, and not made.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;

use crate::place::Place;
use crate::step::call;

/// The version of the tool that is installed below the build folder.
const VERSION: &str = "27.1.0";
/// Where its reports go, below the build folder.
const FOLDER: &str = "mutants";
/// What is not to be changed, and why.
const LEFT_OUT: &str = "xtask/mutants.toml";
/// Most seconds that the tests take of a change that makes something last for ever.
const SECONDS_MAX: &str = "60";
/// How many of a hundred changes must be noticed.
const BOUND: f64 = 90.0;
/// Exit status of the tool where some were not noticed, and where some made a test last too long: both are told by its report.
const TOLD: [i32; 3] = [0, 2, 3];

/// What can be broken: its name, its package, its files, and the words for `cargo test` where not all tests of the package speak of it.
struct Part {
    name: &'static str,
    package: &'static str,
    files: &'static [&'static str],
    tests: &'static [&'static str],
}

const PARTS: [Part; 4] = [
    Part {
        name: "domain",
        package: "writ-domain",
        files: &["controller/domain/src/**"],
        tests: &[],
    },
    Part {
        name: "protocol",
        package: "writ-protocol",
        files: &["protocol/src/**"],
        tests: &[],
    },
    Part {
        name: "journal",
        package: "writ-agent",
        files: &["agent/src/journal.rs", "agent/src/journal/**"],
        tests: &["--lib", "journal::"],
    },
    Part {
        name: "signing",
        package: "writ-protocol",
        files: &[
            "protocol/src/envelope*",
            "protocol/src/key*",
            "protocol/src/statement*",
            "protocol/src/trust*",
        ],
        tests: &[],
    },
];

/// What of it to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these: domain, protocol, journal, signing (which is a part of protocol)
    #[arg(long = "of", value_delimiter = ',', value_name = "PART")]
    parts: Vec<String>,
    /// Only the K-th of N parts of the changes, the first being 0
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Prints one JSON object, the last line of the output
    #[arg(long)]
    json: bool,
}

/// What the tool reports, as far as it is read.
#[derive(Debug, Default, Deserialize)]
struct Outcomes {
    total_mutants: usize,
    missed: usize,
    caught: usize,
    timeout: usize,
    unviable: usize,
}

impl Outcomes {
    /// How many of a hundred were noticed, of those that compiled.
    fn share(&self) -> f64 {
        let noticed = self.caught + self.timeout;
        let all = noticed + self.missed;
        if all == 0 {
            return 100.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share, of some thousands")]
        let share = noticed as f64 * 100.0 / all as f64;
        share
    }
}

/// Breaks, tests and tells.
///
/// # Errors
/// A part that is not known, a tool that cannot be installed, or tests that fail before anything is broken.
pub(crate) fn run(place: &Place, options: &Options) -> anyhow::Result<ExitCode> {
    let unknown = |name: &&String| !PARTS.iter().any(|part| part.name == name.as_str());
    if let Some(name) = options.parts.iter().find(unknown) {
        let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        bail!("there is no part `{name}`; parts are: {}", names.join(", "));
    }
    let tool = tool(place)?;
    let mut rows = Vec::new();
    // What is a part of another is only done where it is named.
    let asked = |part: &&Part| match options.parts.as_slice() {
        [] => part.name != "signing",
        names => names.iter().any(|name| name == part.name),
    };
    for part in PARTS.iter().filter(asked) {
        let (outcomes, missed) = one(place, &tool, part, options.shard.as_deref())?;
        for change in missed.lines() {
            println!("not noticed: {change}");
        }
        rows.push((part.name, outcomes));
    }
    print!("{}", table(&rows));
    if options.json {
        println!("{}", summary(&rows));
    }
    let is_held = rows.iter().all(|(_, outcomes)| outcomes.share() >= BOUND);
    Ok(if is_held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The tool, installed where it is missing.
fn tool(place: &Place) -> anyhow::Result<PathBuf> {
    let root = place
        .target
        .join("parts")
        .join(format!("cargo-mutants-{VERSION}"));
    let program = root.join("bin/cargo-mutants");
    if !program.is_file() {
        eprintln!("   installing: cargo-mutants {VERSION}");
        let mut install = place.cargo();
        install.args([
            "install",
            "cargo-mutants",
            "--locked",
            "--version",
            VERSION,
            "--root",
        ]);
        call(install.arg(&root))?;
    }
    Ok(program)
}

fn one(place: &Place, tool: &Path, part: &Part, shard: Option<&str>) -> anyhow::Result<(Outcomes, String)> {
    let out = place.target.join(FOLDER).join(part.name);
    fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
    let mut command = Command::new(tool);
    // Hundreds of builds of one package, each a line apart from the one before.
    command
        .env("CARGO_INCREMENTAL", "1")
        .env_remove("CARGO_TARGET_DIR");
    command.arg("mutants").current_dir(&place.root);
    command.args([
        "--package",
        part.package,
        "--no-shuffle",
        "--timeout",
        SECONDS_MAX,
    ]);
    command.arg("--config").arg(place.root.join(LEFT_OUT));
    command.arg("--output").arg(&out);
    for file in part.files {
        command.args(["--file", file]);
    }
    if let Some(shard) = shard {
        command.args(["--shard", shard]);
    }
    if !part.tests.is_empty() {
        command.arg("--").args(part.tests);
    }
    let ended = command
        .status()
        .with_context(|| format!("starting {}", tool.display()))?;
    if !ended.code().is_some_and(|code| TOLD.contains(&code)) {
        bail!("cargo-mutants on {} ended with {ended}", part.name);
    }
    let report = out.join("mutants.out");
    let read = |name: &str| {
        let file = report.join(name);
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    };
    let outcomes =
        serde_json::from_str(&read("outcomes.json")?).context("reading what cargo-mutants found")?;
    Ok((outcomes, read("missed.txt")?))
}

fn table(rows: &[(&str, Outcomes)]) -> String {
    let mut out = String::from("part        changes  noticed  not  no build\n");
    for (name, found) in rows {
        let noticed = found.caught + found.timeout;
        let _ = writeln!(
            out,
            "{name:<10} {:>8} {noticed:>8} {:>4} {:>9}   {:.1} %",
            found.total_mutants,
            found.missed,
            found.unviable,
            found.share()
        );
    }
    out
}

fn summary(rows: &[(&str, Outcomes)]) -> serde_json::Value {
    let parts = rows.iter().map(|(name, found)| {
        let row = json!({
            "changes": found.total_mutants,
            "noticed": found.caught + found.timeout,
            "missed": found.missed,
            "unviable": found.unviable,
        });
        ((*name).to_owned(), row)
    });
    json!({ "mutants": parts.collect::<serde_json::Map<_, _>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_what_compiles_and_of_nothing_it_is_whole() {
        let found = Outcomes {
            total_mutants: 30,
            missed: 5,
            caught: 14,
            timeout: 1,
            unviable: 10,
        };
        assert!((found.share() - 75.0).abs() < 1e-9);
        assert!((Outcomes::default().share() - 100.0).abs() < 1e-9);
        assert!(table(&[("domain", found)]).contains("75.0 %"));
    }
}
