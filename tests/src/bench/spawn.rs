//! What it costs to run a step: from the decision to run `/bin/true` in the product's sandbox until its end is known and nothing of it is left.
//!
//! The floor is the bare library's `Command` of the same program, each measurement beside one of ours. The sandbox starts the agent's own program
//! as its shim, as the agent does; what is measured is the process that takes a step, not a copy of it in the bench.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use writ_cli::dev::programs::Programs;
use writ_protocol::exec::{Exit, Isolation, Limits};
use writ_sandbox::{Config, Control, Network, Sandbox, Spec};

use super::stopwatch::Stopwatch;
use super::{Row, percentile};

const BENCH: &str = "spawn";
const PEER: &str = "std::process::Command of the same program";
/// What is run.
const PROGRAM: &str = "/bin/true";
/// Memory held by the process that asks, in the last case: a fork of it would have to copy its tables.
pub(super) const BALLAST_BYTES: usize = 256 << 20;
/// Runs before the first that counts.
const WARM_UP: usize = 10;

/// How often each case is run.
pub const RUNS: usize = 500;

/// Measures a step with and without namespaces, then one asked for by a large process, and last the first step after a pause.
///
/// # Errors
/// When there is no agent beside this program, or a step does not end well.
pub fn run(runs: usize, mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    let config = Config {
        shim: Programs::agent()?,
        ..Config::default()
    };
    let sandbox = Sandbox::new(config.clone())?;
    for (case, isolation) in [("none", Isolation::None), ("namespaces", Isolation::Namespaces)] {
        measure(runs, case, || step(&sandbox, isolation), &mut report)?;
    }
    let ballast = std::hint::black_box(vec![1_u8; BALLAST_BYTES]);
    measure(
        runs,
        "large-asker",
        || step(&sandbox, Isolation::None),
        &mut report,
    )?;
    drop(ballast);
    // A sandbox that was not used for a while starts its shim anew, as a new one does.
    let first = || step(&Sandbox::new(config.clone())?, Isolation::None);
    measure(runs, "first", first, &mut report)
}

/// Times `ours` and the floor in turn, so that both see the same machine.
fn measure(
    runs: usize,
    case: &str,
    mut ours: impl FnMut() -> anyhow::Result<()>,
    report: &mut impl FnMut(Row),
) -> anyhow::Result<()> {
    for _ in 0..WARM_UP.min(runs) {
        ours()?;
        bare()?;
    }
    let (mut times, mut floors): (Vec<Duration>, Vec<Duration>) = Default::default();
    for _ in 0..runs {
        let watch = Stopwatch::start();
        ours()?;
        times.push(watch.elapsed());
        let watch = Stopwatch::start();
        bare()?;
        floors.push(watch.elapsed());
    }
    for (name, rank) in [("p50", 0.5), ("p99", 0.99)] {
        let (value, floor) = (percentile(&mut times, rank), percentile(&mut floors, rank));
        let row = Row::new(BENCH, format!("{case}-{name}"), runs as u64, value, "ms");
        report(row.over(floor, PEER));
    }
    Ok(())
}

pub(super) fn step(sandbox: &Sandbox, isolation: Isolation) -> anyhow::Result<()> {
    let spec = Spec {
        argv: vec![PROGRAM.to_owned()],
        cwd: "/".to_owned(),
        env: BTreeMap::new(),
        limits: Limits::default(),
        isolation,
        input: None,
        looks: false,
        asks: false,
        user: None,
        network: Network::Own,
        grace: writ_sandbox::TERMINATE_GRACE,
    };
    let outcome = sandbox.run(&spec, &Control::new()?, &mut |_, _| {})?;
    ensure!(
        outcome.exit == Exit::Code(0),
        "{PROGRAM} ended with {:?}",
        outcome.exit
    );
    Ok(())
}

fn bare() -> anyhow::Result<()> {
    let status = Command::new(PROGRAM)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("starting the floor")?;
    ensure!(status.success(), "{PROGRAM} ended with {status}");
    Ok(())
}
