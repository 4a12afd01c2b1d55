//! How soon drift is seen by schedule, over a whole fleet: hosts that nobody tells anything look at themselves every interval, each at a moment of its
//! own, and one after the other begins to differ. Beside that stands what it costs while nothing differs.
//!
//! Agents are the product's core with real connections, credentials and TLS; their hosts are a flag each, and their disks are in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use writ_agent::core::{Failure, Ran, Seen};
use writ_agent::drift::Settings;
use writ_agent::executor::survey::Found;
use writ_agent::executor::{Executor, Job, OnOutput};
use writ_chassis::clock::{Clock as _, SystemClock};
use writ_protocol::graph::Graph;
use writ_protocol::id::OrderId;
use writ_protocol::record::Change;
use writ_protocol::time::Timestamp;

use super::bed::{Bed, Plan, tell};
use super::drift::{COUNT, SEEN};
use super::fleet::{self, Idle, Kit};
use super::{Row, load, percentile};

const BENCH: &str = "drift";
const LABEL: &str = "patrol";
/// Longest wait for a run of the whole fleet, and for a record beyond the interval.
const PATIENCE: Duration = Duration::from_secs(300);
/// Files beside the agents' connections.
const OTHER_FILES: u64 = 1_000;

/// A fleet to measure.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Agents.
    pub agents: usize,
    /// Between two looks of each.
    pub interval: Duration,
}

/// Fleets where nobody names a size, with the product's interval.
pub const SIZES: [Size; 2] = [Size::of(1_000), Size::of(10_000)];

impl Size {
    /// So many agents, with the product's interval.
    pub const fn of(agents: usize) -> Self {
        let interval = Duration::from_secs(180);
        Self { agents, interval }
    }
}

/// Measures a fleet of a size: one interval in which nothing differs, and one in which each of its hosts begins to.
///
/// # Errors
/// When the stage does not come up, or a change is not seen.
pub fn run(size: Size, mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    let bed = Bed::set(Plan {
        agents: 0,
        files: size.agents as u64 + OTHER_FILES,
        ..Plan::default()
    })?;
    let hosts: Vec<Arc<Host>> = (0..size.agents).map(|_| Arc::default()).collect();
    let labels = |_| BTreeMap::from([(LABEL.to_owned(), "true".to_owned())]);
    let _fleet = fleet::start_with(&bed, size.agents, labels, |number| {
        let own = hosts.get(number).map(Arc::clone).unwrap_or_default();
        Ok(Kit {
            executor: own,
            drift: Some(Settings {
                interval: size.interval,
                events: false,
            }),
            ..Kit::idle()?
        })
    })?;
    let n = size.agents as u64;
    let client = bed.client()?;
    tell("applying a plan at all of them");
    let check = bed.order(LABEL)?;
    bed.end_of(&check.id, PATIENCE)?;
    let run = client.submit_apply(&client.plan_of(&check.id)?.digest)?;
    bed.end_of(&run.id, PATIENCE)?;
    let told = |bed: &Bed| bed.count(COUNT, "");
    bed.until("first looks", PATIENCE, n, told)?;

    tell("an interval in which nothing differs");
    let meter = load::meter(&bed)?;
    bed.pause(size.interval)?;
    load::rows((BENCH, "quiet", n), meter.end(), &mut report);
    ensure!(told(&bed)? == n, "a host that did not change told of something");

    tell("an interval in which each host begins to differ");
    let meter = load::meter(&bed)?;
    let mut changed = BTreeMap::new();
    let pace = size.interval / u32::try_from(size.agents.max(1))?;
    for (number, host) in hosts.iter().enumerate() {
        changed.insert(fleet::name(number), SystemClock.now());
        host.differs.store(true, Ordering::SeqCst);
        bed.pause(pace)?;
    }
    bed.until("changes that are seen", size.interval + PATIENCE, 2 * n, told)?;
    load::rows((BENCH, "scheduled", n), meter.end(), &mut report);
    let mut times = times(&bed, &changed)?;
    for (name, rank) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        let seconds = percentile(&mut times, rank) / 1e3;
        report(Row::new(BENCH, format!("scheduled-{name}"), n, seconds, "s"));
    }
    Ok(())
}

/// How long each change took until it was committed as seen.
fn times(bed: &Bed, changed: &BTreeMap<String, Timestamp>) -> anyhow::Result<Vec<Duration>> {
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    // In the order of each journal: the first was told after the plan was applied.
    last.extend(bed.named_instants(SEEN)?);
    let of = |(name, at): (&String, &Timestamp)| {
        let seen = last.get(name).map(|micros| Timestamp::from_micros(*micros));
        let seen = seen.filter(|seen| seen >= at);
        seen.map(|seen| seen.since(*at))
            .ok_or_else(|| anyhow::anyhow!("{name} told nothing after its host began to differ"))
    };
    changed.iter().map(of).collect()
}

/// A host that does nothing but differ.
#[derive(Debug, Default)]
struct Host {
    differs: AtomicBool,
}

impl Executor for Host {
    fn is_inline(&self) -> bool {
        true
    }

    fn observe(&self, job: &Job) -> Result<Seen, Failure> {
        Idle.observe(job)
    }

    fn apply(&self, job: &Job, on_output: &mut OnOutput<'_>) -> Ran {
        Idle.apply(job, on_output)
    }

    fn survey(&self, _graph: &Graph, which: &[usize]) -> Vec<(usize, Found)> {
        let changes = if self.differs.load(Ordering::SeqCst) {
            vec![Change {
                attribute: "content".to_owned(),
                want: "x".to_owned(),
                got: "y".to_owned(),
            }]
        } else {
            Vec::new()
        };
        which.iter().map(|index| (*index, Ok(changes.clone()))).collect()
    }

    fn stop(&self, _order_id: OrderId, _hard: bool, _reason: &str) {}
}
