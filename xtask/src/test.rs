//! `cargo xtask test`: everything CI runs, from a clean clone on a machine with Rust and nothing else.

use std::process::ExitCode;

use crate::check;
use crate::coverage::{EXACT, Instruments, NO_NEXTEST};
use crate::fuzz;
use crate::parts::{self, Need};
use crate::place::Place;
use crate::sim;
use crate::step::{self, Step, call};
use crate::torture;
use crate::watched;

/// The package whose tests need real servers.
const SYSTEM: &str = "writ-tests";

/// How long each fuzz target runs here, seconds; `cargo xtask fuzz` runs them longer.
const FUZZ_SECONDS: u32 = 5;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these steps or groups: parts, check (fmt, tidy, supply, clippy, doc), build, tests (rules, unit, system, exact, coverage, doctest, fuzz, sim,
    /// torture, swarm)
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
        call(place.cargo().args(["build", "--workspace", "--bins"]))?;
        Ok(String::new())
    }));
    steps.push(tests("rules", move || watched::step(place)));
    let runner = options.runner.as_slice();
    steps.push(tests("unit", move || run_tests(place, Which::Unit, runner)));
    steps.push(tests("system", move || run_tests(place, Which::System, runner)));
    steps.push(tests("exact", move || run_tests(place, Which::Exact, runner)));
    steps.push(tests("coverage", move || held(place, runner)));
    steps.push(tests("doctest", move || {
        call(place.cargo().args(["test", "--workspace", "--doc", "--quiet"]))?;
        Ok(String::new())
    }));
    steps.push(tests("fuzz", move || fuzz::step(place, FUZZ_SECONDS)));
    steps.push(tests("sim", move || sim::step(place)));
    steps.push(tests("torture", move || torture::step(place)));
    steps.push(tests("swarm", move || torture::fleet(place)));
    Ok(step::run_all("test", step::select(steps, &options.only)?))
}

/// Which tests a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Of one package each, with counters; what they reach is begun anew.
    Unit,
    /// Of whole systems, with counters.
    System,
    /// Those whose figures counters would change.
    Exact,
}

/// Runs tests with nextest, or with cargo's own runner where nextest is not built for this machine; then there are no counters.
fn run_tests(place: &Place, which: Which, runner: &[String]) -> anyhow::Result<String> {
    let Some(instruments) = Instruments::ready(place)? else {
        return run_plainly(place, which, runner);
    };
    match which {
        Which::Unit => {
            instruments.forget()?;
            instruments.run(&format!("not package({SYSTEM}) and not ({EXACT})"), runner)?;
        }
        Which::System => instruments.run(&format!("package({SYSTEM})"), runner)?,
        Which::Exact => {
            let mut command = instruments.plain("run");
            call(
                command
                    .args(["--profile", "ci", "--test", "sandbox", "-E", EXACT])
                    .args(runner),
            )?;
        }
    }
    Ok(String::new())
}

fn run_plainly(place: &Place, which: Which, runner: &[String]) -> anyhow::Result<String> {
    let mut command = place.cargo();
    command.args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"]);
    match which {
        Which::Unit => command.args(["--workspace", "--exclude", SYSTEM]),
        Which::System => command.args(["--package", SYSTEM]),
        Which::Exact => return Ok("ran with the unit tests".to_owned()),
    };
    parts::ensure(place, Need::Test)?.export(&mut command);
    call(command.args(runner))?;
    Ok("no cargo-nextest for this machine: one test binary after the other".to_owned())
}

/// What the unit and the system tests before this step reached, against its bounds.
fn held(place: &Place, runner: &[String]) -> anyhow::Result<String> {
    if !runner.is_empty() {
        return Ok("not held: only a part of the tests ran".to_owned());
    }
    match Instruments::ready(place)? {
        Some(instruments) => instruments.hold(),
        None => Ok(format!("not held: {NO_NEXTEST}")),
    }
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
