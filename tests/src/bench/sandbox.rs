//! What strictness costs: a strict step beside a bare process in the same namespaces, asked for by a small process and by a large one.
//!
//! The floor has no limit, no new root, no filter, and nobody who watches or counts; it is one clone and one exec. What is left above it is the
//! price of all that.
//!
//! The product keeps everything that does not depend on the step ready for the next one, and makes it when the last one is over. In these cases that
//! is done before the clock starts, as it is for a step that is asked for after a pause, and never while the floor is measured, which it would slow.
//! `strict-back-to-back` is what a step costs when there is no pause.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use writ_cli::dev::programs::Programs;
use writ_protocol::exec::Isolation;
use writ_sandbox::{Config, Sandbox};

use super::spawn::{BALLAST_BYTES, step};
use super::stopwatch::Stopwatch;
use super::{Row, percentile};

const BENCH: &str = "sandbox";
const PEER: &str = "one clone and exec in the same namespaces";
/// Runs before the first that counts.
const WARM_UP: usize = 20;

/// How often each case is run.
pub const RUNS: usize = 500;

/// Measures `strict`, `strict-large` with 256 MiB held by the process that asks, and `strict-back-to-back` with nothing between one step and the next;
/// the floor is always that of the small process.
///
/// # Errors
/// When there is no agent beside this program, or this host gives no strict isolation.
pub fn run(runs: usize, mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(Config {
        shim: Programs::agent()?,
        ..Config::default()
    })?;
    let ours = || step(&sandbox, Isolation::Strict).context("a strict step; does this host give one?");
    for _ in 0..WARM_UP.min(runs) {
        ours()?;
        sandbox.settle();
        bare()?;
    }
    let (mut times, mut floors): (Vec<Duration>, Vec<Duration>) = Default::default();
    for _ in 0..runs {
        let watch = Stopwatch::start();
        ours()?;
        times.push(watch.elapsed());
        sandbox.settle();
        let watch = Stopwatch::start();
        bare()?;
        floors.push(watch.elapsed());
    }
    let floor = percentile(&mut floors, 0.5);
    tell("strict", &mut times, floor, &mut report);

    let ballast = std::hint::black_box(vec![1_u8; BALLAST_BYTES]);
    let mut times = Vec::new();
    for _ in 0..runs {
        let watch = Stopwatch::start();
        ours()?;
        times.push(watch.elapsed());
        sandbox.settle();
    }
    drop(ballast);
    tell("strict-large", &mut times, floor, &mut report);

    let mut times = Vec::new();
    for _ in 0..runs {
        let watch = Stopwatch::start();
        ours()?;
        times.push(watch.elapsed());
    }
    tell("strict-back-to-back", &mut times, floor, &mut report);
    Ok(())
}

fn tell(case: &str, times: &mut [Duration], floor: f64, report: &mut impl FnMut(Row)) {
    let (n, value) = (times.len() as u64, percentile(times, 0.5));
    report(Row::new(BENCH, format!("{case}-p50"), n, value, "ms").over(floor, PEER));
    report(Row::new(BENCH, case, n, value / floor, "ratio"));
}

fn bare() -> anyhow::Result<()> {
    let status = writ_sandbox::run_bare(c"/bin/true").context("starting the floor")?;
    ensure!(status == 0, "/bin/true ended with {status}");
    Ok(())
}
