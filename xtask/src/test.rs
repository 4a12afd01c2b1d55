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
    /// Unit and system tests run on the programs that people have, without the compiler's counters; what they reach is not held to its bounds then
    #[arg(long)]
    plain: bool,
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
    // With counters, tests are a build of their own.
    let what = if options.plain { "--all-targets" } else { "--bins" };
    steps.push(essential("build", move || {
        call(place.cargo().args(["build", "--workspace", what]))?;
        Ok(String::new())
    }));
    steps.push(tests("rules", move || watched::step(place)));
    let runner = options.runner.as_slice();
    if options.plain {
        steps.push(tests("unit", move || run_plainly(place, Which::Unit, runner)));
        steps.push(tests("system", move || run_plainly(place, Which::System, runner)));
    } else {
        steps.push(tests("unit", move || run_counted(place, Which::Unit, runner)));
        steps.push(tests("system", move || run_counted(place, Which::System, runner)));
        steps.push(tests("exact", move || run_counted(place, Which::Exact, runner)));
        steps.push(tests("coverage", move || held(place, runner)));
    }
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
    /// Of one package each; what they reach is begun anew.
    Unit,
    /// Of whole systems.
    System,
    /// Those whose figures counters would change.
    Exact,
}

/// Runs tests with counters, but for those whose figures counters would change. Without nextest they run without.
fn run_counted(place: &Place, which: Which, runner: &[String]) -> anyhow::Result<String> {
    let Some(instruments) = Instruments::ready(place)? else {
        return match which {
            Which::Unit | Which::System => run_plainly(place, which, runner),
            Which::Exact => Ok("among the unit tests".to_owned()),
        };
    };
    match which {
        Which::Unit => {
            instruments.forget()?;
            instruments.run(&format!("not package({SYSTEM}) and not ({EXACT})"), runner)?;
        }
        Which::System => instruments.run(&filter(which), runner)?,
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

/// Runs tests with nextest, or with cargo's own runner where nextest is not built for this machine.
fn run_plainly(place: &Place, which: Which, runner: &[String]) -> anyhow::Result<String> {
    if let Some(instruments) = Instruments::ready(place)? {
        let mut command = instruments.plain("run");
        call(
            command
                .args(["--profile", "ci", "-E", &filter(which)])
                .args(runner),
        )?;
        return Ok(String::new());
    }
    eprintln!("   no cargo-nextest for this machine: cargo's own runner, one test binary after the other");
    let mut command = place.cargo();
    command.args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"]);
    match which {
        Which::System => command.args(["--package", SYSTEM]),
        Which::Unit | Which::Exact => command.args(["--workspace", "--exclude", SYSTEM]),
    };
    parts::ensure(place, Need::Test)?.export(&mut command);
    call(command.args(runner))?;
    Ok(String::new())
}

fn filter(which: Which) -> String {
    match which {
        Which::System => format!("package({SYSTEM})"),
        Which::Unit | Which::Exact => format!("not package({SYSTEM})"),
    }
}

/// What the unit and the system tests before this step reached, against its bounds.
fn held(place: &Place, runner: &[String]) -> anyhow::Result<String> {
    if !runner.is_empty() {
        return Ok("not held: only a part of the tests ran".to_owned());
    }
    let instruments = Instruments::ready(place)?;
    instruments.map_or_else(|| Ok(format!("not held: {NO_NEXTEST}")), |counts| counts.hold())
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
