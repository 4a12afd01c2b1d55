//! A fleet on one machine: real agent cores with real connections, credentials and TLS, disks in memory, a step that does nothing. One order
//! to each of them at once; then the bus is killed and started again; then the controller. Beside each figure stands what every part cost
//! meanwhile.
//!
//! Servers, controller and agents share the machine's processors here, so these are figures of the whole, not of the controller alone.

use std::collections::BTreeMap;
use std::time::Duration;

use writ_chassis::clock::{Clock as _, SystemClock};

use super::bed::{Bed, Plan, tell};
use super::fleet::{self, Fleet};
use super::stopwatch::Stopwatch;
use super::usage::{Meter, Usage};
use super::{Row, load, percentile};

const BENCH: &str = "swarm";
/// Longest wait for one order to each agent.
const PATIENCE: Duration = Duration::from_secs(300);
/// Orders to each that warm caches and pools before the one that counts.
const WARM_UP: usize = 1;
/// Files beside the agents' connections.
const OTHER_FILES: u64 = 1_000;
/// A fleet to measure.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Agents.
    pub agents: usize,
    /// Time between hellos; the controller's default when absent.
    pub hello_interval: Option<Duration>,
}

/// Fleets where nobody names a size.
pub const SIZES: [Size; 2] = [Size::of(1_000), Size::of(10_000)];

impl Size {
    /// So many agents.
    pub const fn of(agents: usize) -> Self {
        Self {
            agents,
            hello_interval: None,
        }
    }
}

/// Measures a fleet of a size.
///
/// # Errors
/// When the stage does not come up, an order does not end well or an agent does not come back.
pub fn run(size: Size, mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    let mut bed = Bed::set(Plan {
        agents: 0,
        files: size.agents as u64 + OTHER_FILES,
        hello_interval: size.hello_interval,
    })?;
    let watch = Stopwatch::start();
    let fleet = fleet::start(&bed, size.agents, |_| {
        BTreeMap::from([("swarm".to_owned(), "true".to_owned())])
    })?;
    tell(&format!("{} agents after {:?}", size.agents, watch.elapsed()));
    for _ in 0..WARM_UP {
        let run = bed.order("swarm")?;
        bed.end_of(&run.id, PATIENCE)?;
    }
    let mut swarm = Swarm {
        bed: &mut bed,
        fleet: &fleet,
        n: size.agents as u64,
        report: &mut report,
    };
    swarm.order()?;
    swarm.restart_bus()?;
    swarm.restart_controller()
}

/// A fleet that is up.
struct Swarm<'a> {
    bed: &'a mut Bed,
    fleet: &'a Fleet,
    n: u64,
    report: &'a mut dyn FnMut(Row),
}

impl Swarm<'_> {
    /// One order to each.
    fn order(&mut self) -> anyhow::Result<()> {
        self.bed.count_statements()?;
        let meter = load::meter(self.bed)?;
        let run = self.carry_out()?;
        let costs = meter.end();
        self.bed.tell_statements()?;
        let mut waited = self.accepted(&run)?;
        self.say("accepted", seconds(&mut waited, 1.0), "s");
        self.say("accepted-p50", seconds(&mut waited, 0.5), "s");
        self.costs("accepted", costs);
        Ok(())
    }

    /// The bus ends as in a power cut and is started again.
    fn restart_bus(&mut self) -> anyhow::Result<()> {
        tell("killing the bus and starting it again");
        let meter = load::meter(self.bed)?;
        let (killed, watch) = self.again("nats", &meter)?;
        let listening = watch.elapsed();
        self.fleet.all_heard(self.bed, &killed)?;
        let back = watch.elapsed().saturating_sub(listening);
        self.say("back", back.as_secs_f64(), "s");
        self.costs("back", meter.end());
        Ok(())
    }

    /// So does the controller; an order is given as soon as it serves.
    fn restart_controller(&mut self) -> anyhow::Result<()> {
        tell("killing the controller and starting it again");
        let meter = load::meter(self.bed)?;
        let (killed, watch) = self.again("controller-1", &meter)?;
        self.say("restart-serving", watch.elapsed().as_secs_f64(), "s");
        let run = self.carry_out()?;
        let costs = meter.end();
        let mut waited = self.accepted(&run)?;
        self.say("restart-accepted", seconds(&mut waited, 1.0), "s");
        self.costs("restart-accepted", costs);
        self.fleet.all_heard(self.bed, &killed)?;
        self.say("restart-heard", watch.elapsed().as_secs_f64(), "s");
        Ok(())
    }

    /// Orders every agent and waits until all has ended; the run.
    fn carry_out(&self) -> anyhow::Result<String> {
        let run = self.bed.order("swarm")?;
        self.bed.end_of(&run.id, PATIENCE)?;
        Ok(run.id)
    }

    /// How long each acceptance of a run took. A large question to the database: what it costs is not part of what is measured.
    fn accepted(&self, run: &str) -> anyhow::Result<Vec<Duration>> {
        let waited = self.bed.acceptances(run)?;
        anyhow::ensure!(
            waited.len() as u64 == self.n,
            "{} of {} accepted",
            waited.len(),
            self.n
        );
        Ok(waited)
    }

    /// Kills a server and starts it again: the instant of its end, and a watch that runs since.
    fn again(&mut self, name: &str, meter: &Meter) -> anyhow::Result<(String, Stopwatch)> {
        meter.look();
        self.bed.stack().kill(name)?;
        let (killed, watch) = (SystemClock.now().to_string(), Stopwatch::start());
        self.bed.stack().start(name)?;
        for (part, server) in load::SERVERS.into_iter().filter(|(_, server)| *server == name) {
            meter.add(load::part(self.bed, part, server)?);
        }
        Ok((killed, watch))
    }

    fn costs(&mut self, case: &str, costs: impl IntoIterator<Item = (&'static str, Usage)>) {
        load::rows((BENCH, case, self.n), costs, self.report);
    }

    fn say(&mut self, case: &str, value: f64, unit: &'static str) {
        (self.report)(Row::new(BENCH, case, self.n, value, unit));
    }
}

fn seconds(waited: &mut [Duration], p: f64) -> f64 {
    percentile(waited, p) / 1e3
}
