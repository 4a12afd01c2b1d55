//! `cargo xtask test`: everything CI runs, from a clean clone on a machine with Rust and nothing else.

use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::check;
use crate::parts::{self, Need, Parts};
use crate::place::Place;
use crate::step::{self, Step, call};

/// The package whose tests need real servers.
const SYSTEM: &str = "writ-tests";

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these steps or groups: parts, check (fmt, tidy, supply, clippy, doc), build, tests (unit, system, doctest)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Arguments for the test runner, after `--`: a part of a test's name, for example
    #[arg(last = true)]
    runner: Vec<String>,
}

/// Runs the tests.
pub(crate) fn run(place: &Place, options: &Options) -> anyhow::Result<ExitCode> {
    let mut steps = vec![essential("parts", move || {
        let found = parts::ensure(place, Need::Test)?;
        Ok(found.summary())
    })];
    steps.extend(check::steps(place));
    steps.push(essential("build", move || {
        call(place.cargo().args(["build", "--workspace", "--all-targets"]))?;
        Ok(String::new())
    }));
    let runner = options.runner.as_slice();
    steps.push(tests("unit", move || {
        nextest(place, &["--workspace", "--exclude", SYSTEM], runner)
    }));
    steps.push(tests("system", move || {
        nextest(place, &["--package", SYSTEM], runner)
    }));
    steps.push(tests("doctest", move || {
        call(place.cargo().args(["test", "--workspace", "--doc", "--quiet"]))?;
        Ok(String::new())
    }));
    Ok(step::run_all("test", step::select(steps, &options.only)?))
}

/// Runs tests with nextest, or with cargo's own runner where nextest is not built for this machine.
fn nextest(place: &Place, packages: &[&str], runner: &[String]) -> anyhow::Result<String> {
    let found = parts::ensure(place, Need::Test).context("the tests need their parts")?;
    let mut command = command(place, &found);
    command.args(packages).args(runner);
    call(&mut command)?;
    Ok(String::new())
}

fn command(place: &Place, found: &Parts) -> Command {
    let mut command = if let Some(nextest) = &found.nextest {
        let mut command = place.command(nextest);
        command.args(["nextest", "run", "--profile", "ci"]);
        command
    } else {
        eprintln!(
            "   no cargo-nextest for this machine: cargo's own runner, one test binary after the other"
        );
        let mut command = place.cargo();
        command.args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"]);
        command
    };
    found.export(&mut command);
    command
}

fn essential<'a>(name: &'static str, act: impl FnMut() -> anyhow::Result<String> + 'a) -> Step<'a> {
    Step {
        name,
        group: name,
        essential: true,
        act: Box::new(act),
    }
}

fn tests<'a>(name: &'static str, act: impl FnMut() -> anyhow::Result<String> + 'a) -> Step<'a> {
    Step {
        name,
        group: "tests",
        essential: false,
        act: Box::new(act),
    }
}
