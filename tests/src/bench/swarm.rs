//! A fleet on one machine: real agent cores with real connections, credentials and TLS, disks in memory, a step that does nothing. One order
//! to each of them at once, then the bus is killed and started again.
//!
//! Servers, controller and agents share the machine's processors here, so these are figures of the whole, not of the controller alone.

use std::collections::BTreeMap;
use std::time::Duration;

use writ_chassis::clock::{Clock as _, SystemClock};

use super::bed::{Bed, Plan, tell};
use super::fleet::{self, HEARD_SINCE};
use super::stopwatch::Stopwatch;
use super::{Row, percentile};

const BENCH: &str = "swarm";
/// Fleets where nobody names a size.
pub const SIZES: [usize; 2] = [1_000, 10_000];
/// Longest wait for one order to each agent, or for their return.
const PATIENCE: Duration = Duration::from_secs(300);
/// Orders to each that warm caches and pools before the one that counts.
const WARM_UP: usize = 1;
/// Files beside the agents' connections.
const OTHER_FILES: u64 = 1_000;

/// Measures a fleet of a size.
///
/// # Errors
/// When the stage does not come up, an order does not end well or an agent does not come back.
pub fn run(agents: usize, mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    let n = agents as u64;
    let mut bed = Bed::set(Plan {
        agents: 0,
        files: n + OTHER_FILES,
    })?;
    let watch = Stopwatch::start();
    fleet::start(&bed, agents, |_| {
        BTreeMap::from([("swarm".to_owned(), "true".to_owned())])
    })?;
    tell(&format!("{agents} agents after {:?}", watch.elapsed()));
    for _ in 0..WARM_UP {
        let run = bed.order("swarm")?;
        bed.end_of(&run.id, PATIENCE)?;
    }
    let run = bed.order("swarm")?;
    bed.end_of(&run.id, PATIENCE)?;
    let mut waited = bed.acceptances(&run.id)?;
    anyhow::ensure!(waited.len() == agents, "{} of {agents} accepted", waited.len());
    report(Row::new(BENCH, "accepted", n, seconds(&mut waited, 1.0), "s"));
    report(Row::new(BENCH, "accepted-p50", n, seconds(&mut waited, 0.5), "s"));

    tell("killing the bus and starting it again");
    bed.stack().kill("nats")?;
    let (killed, watch) = (SystemClock.now().to_string(), Stopwatch::start());
    bed.stack().start("nats")?;
    let listening = watch.elapsed();
    bed.until("agents that came back", PATIENCE, n, |bed| {
        bed.count(HEARD_SINCE, &killed)
    })?;
    let back = watch.elapsed().saturating_sub(listening).as_secs_f64();
    report(Row::new(BENCH, "back", n, back, "s"));
    Ok(())
}

fn seconds(waited: &mut [Duration], p: f64) -> f64 {
    percentile(waited, p) / 1e3
}
