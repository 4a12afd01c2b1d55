//! What an agent costs the host that it lives on while nothing is ordered: the real program, enrolled and connected, doing its hellos.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use writ_chassis::clock::{Clock as _, SystemClock};

use super::bed::{Bed, Plan, tell};
use super::fleet::HEARD_SINCE;
use super::stopwatch::Stopwatch;
use super::{Row, percentile};

const BENCH: &str = "footprint";
/// The agent of the stage.
const AGENT: &str = "lab-1";
/// Longest wait for a hello.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a start and its first hello leave to do: pages are touched, the journal is trimmed, watermarks come.
const SETTLE: Duration = Duration::from_secs(3);

/// How long and how often it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How long it idles.
    pub idle: Duration,
    /// How often it is started.
    pub starts: usize,
}

/// What is measured: a minute, which holds one hello.
pub const SIZE: Size = Size {
    idle: Duration::from_secs(60),
    starts: 20,
};

/// Measures start-up, resident memory and processor time.
///
/// # Errors
/// When the stage does not come up or the agent does not say hello.
pub fn run(size: Size, mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    let mut bed = Bed::set(Plan {
        agents: 1,
        ..Plan::default()
    })?;
    tell(&format!("starting the agent {} times", size.starts));
    let mut starts = Vec::new();
    for _ in 0..size.starts {
        bed.stack().stop(AGENT)?;
        starts.push(start(&mut bed)?);
    }
    let n = size.starts as u64;
    report(Row::new(BENCH, "start", n, percentile(&mut starts, 0.5), "ms"));

    bed.pause(SETTLE)?;
    tell(&format!("watching it for {:?}", size.idle));
    let part = bed.stack().state().part(AGENT).cloned();
    let pid = part.and_then(|part| part.process).context("the agent runs")?.pid;
    let process = Path::new("/proc").join(pid.to_string());
    let (before, watch) = (on_processor(&process)?, Stopwatch::start());
    bed.pause(size.idle)?;
    let used = on_processor(&process)?.saturating_sub(before);
    let share = used.as_secs_f64() / watch.elapsed().as_secs_f64() * 100.0;
    let seconds = size.idle.as_secs().max(1);
    report(Row::new(BENCH, "cpu", seconds, share, "%"));
    report(Row::new(BENCH, "rss", 1, resident(&process, "VmRSS:")?, "MiB"));
    report(Row::new(
        BENCH,
        "rss-anon",
        1,
        resident(&process, "RssAnon:")?,
        "MiB",
    ));
    Ok(())
}

/// From just before the process is made to the moment at which the controller heard its hello: by then its journal is read, its connection
/// stands over TLS with its credentials, and it takes orders.
fn start(bed: &mut Bed) -> anyhow::Result<Duration> {
    let before = SystemClock.now();
    bed.stack().start(AGENT)?;
    let since = before.to_string();
    bed.until("the agent's hello", PATIENCE, 1, |bed| {
        bed.count(HEARD_SINCE, &since)
    })?;
    let heard =
        "SELECT (extract(epoch FROM seen_at - $1::text::timestamptz) * 1e6)::bigint FROM agent_liveness";
    Ok(Duration::from_micros(bed.count(heard, &since)?))
}

/// Time on a processor, of all threads, by the scheduler's own count.
fn on_processor(process: &Path) -> anyhow::Result<Duration> {
    let mut total = 0_u64;
    for thread in fs::read_dir(process.join("task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanos = text.split_whitespace().next().context("a number")?;
        total += nanos.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}

/// A line of `/proc/PID/status`, MiB.
fn resident(process: &Path, name: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(process.join("status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    Ok(kib.context("a line of the kernel's")?.parse::<f64>()? / 1024.0)
}
