//! Does harm to a world and takes it back. Every harm has one function that begins it and one that ends it; after a cycle everything runs again,
//! as a host's service manager would see to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use writ_cli::clock::Stopwatch;
use writ_cli::interrupt::Interrupt;

use super::Violation;
use super::plan::{AGENTS, CONTROLLERS, Cycle, Harm, Injury, SMALL_DISK};
use super::proxy::{Proxies, Server, Weather};
use crate::world::World;

/// Twice the reserve that an agent keeps, and room for a long run.
const AGENT_DISK_MEBIBYTES: u32 = 256;
/// Many times what the streams of a world come to.
const BUS_DISK_MEBIBYTES: u32 = 128;
/// The cluster, its base backup and what it has archived since.
const LEDGER_DISK_MEBIBYTES: u32 = 640;
/// How long a copy may speak beside its original before it must be noticed: two hellos of both, and room for a busy machine.
const CLONE_PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A world and the means to hurt it.
#[derive(Debug)]
pub(super) struct Ward {
    /// The world.
    pub(super) world: World,
    proxies: Proxies,
    interrupt: Interrupt,
    /// Harms that cannot be done here, and why.
    pub(super) skipped: Vec<(Harm, String)>,
    /// Agents that had a copy: not every promise holds for them any more.
    pub(super) cloned: BTreeSet<String>,
    /// How often each part had ended by itself and was started again.
    pub(super) revived: BTreeMap<String, u64>,
    /// How often the ledger was restored.
    pub(super) restores: u64,
    /// Copies that nobody noticed, and that nobody was told of yet.
    unseen: Vec<Violation>,
}

enum Act<'a> {
    Begin(&'a Injury),
    End(&'a Injury),
}

impl Ward {
    /// A world that nothing was done to yet.
    ///
    /// # Errors
    /// When there is no port for a proxy.
    pub(super) fn of(world: World, interrupt: Interrupt, seed: u64) -> anyhow::Result<Self> {
        let bus = Server::Port(world.bus_port()?);
        let ledger = Server::Socket(world.ledger_socket()?);
        let mut servers = vec![bus; AGENTS + CONTROLLERS];
        servers.resize(AGENTS + 2 * CONTROLLERS, ledger);
        let proxies = Proxies::before(&servers, seed)?;
        Ok(Self {
            world,
            proxies,
            interrupt,
            skipped: Vec::new(),
            cloned: BTreeSet::new(),
            revived: BTreeMap::new(),
            restores: 0,
            unseen: Vec::new(),
        })
    }

    /// Puts proxies before every agent and controller and small disks under servers and one agent, and has the ledger archive what a restore needs.
    ///
    /// # Errors
    /// When an agent does not come up again.
    pub(super) fn prepare(&mut self, restores: bool) -> anyhow::Result<()> {
        if restores {
            self.world.archive_ledger()?;
        }
        for number in 1..=AGENTS {
            let agent = format!("lab-{number}");
            self.world.stop(&agent)?;
            self.world.aim(&agent, self.proxies.port(number)?)?;
        }
        for number in 1..=CONTROLLERS {
            let controller = format!("controller-{number}");
            let (bus, ledger) = (AGENTS + number, AGENTS + CONTROLLERS + number);
            self.world.stop(&controller)?;
            self.world
                .aim_controller(&controller, self.proxies.port(bus)?, self.proxies.port(ledger)?)?;
        }
        self.world.never_reuse_log()?;
        let small = format!("lab-{SMALL_DISK}");
        for (harm, part, mebibytes) in [
            (Harm::FillDisk, small.as_str(), AGENT_DISK_MEBIBYTES),
            (Harm::FillBusDisk, "nats", BUS_DISK_MEBIBYTES),
            (Harm::FillLedgerDisk, "postgres", LEDGER_DISK_MEBIBYTES),
        ] {
            if let Err(error) = self.world.shrink_disk(part, mebibytes) {
                let why = format!("no small disk can be mounted: {error:#}");
                self.skipped.push((harm, why));
            }
        }
        if let Err(why) = self.world.can_jump() {
            for harm in [Harm::JumpAgentClock, Harm::JumpControllerClock] {
                self.skipped.push((harm, why.clone()));
            }
        }
        self.revive()
    }

    /// Harms that are not to be drawn.
    pub(super) fn without(&self) -> BTreeSet<Harm> {
        self.skipped.iter().map(|(harm, _)| *harm).collect()
    }

    /// Does what a cycle says at the times it says, and ends with everything running again.
    ///
    /// # Errors
    /// When a part cannot be hurt or does not come up again, or the run is interrupted.
    pub(super) fn suffer(&mut self, cycle: &Cycle) -> anyhow::Result<()> {
        let mut acts: Vec<(Duration, Act<'_>)> = Vec::new();
        for injury in &cycle.injuries {
            acts.push((injury.at, Act::Begin(injury)));
            if injury.lasts() {
                acts.push((injury.at + injury.length, Act::End(injury)));
            }
        }
        acts.sort_by_key(|(at, _)| *at);
        let clock = Stopwatch::start();
        for (at, act) in acts {
            self.pause(at.saturating_sub(clock.elapsed()))?;
            match act {
                Act::Begin(injury) => self.begin(injury),
                Act::End(injury) => self.end(injury),
            }
            .with_context(|| format!("during {}", cycle_words(cycle)))?;
        }
        self.revive()
    }

    fn begin(&mut self, injury: &Injury) -> anyhow::Result<()> {
        let part = injury.part();
        match injury.harm {
            Harm::KillAgent | Harm::KillController | Harm::KillBus | Harm::WipeBus | Harm::KillLedger => {
                self.note_gone(&part);
                self.world.kill(&part)
            }
            Harm::FreezeAgent | Harm::FreezeController | Harm::FreezeBus => {
                self.world.freeze(&part);
                Ok(())
            }
            Harm::RollBackBus => self.world.snapshot_bus(),
            Harm::FreezeLedger => self.world.signal_postgres(Signal::STOP),
            Harm::RestartLedger => self.world.restart_postgres_at_once(),
            Harm::RestoreLedger => self.restore_ledger(injury.length),
            Harm::FillDisk => self.world.fill_disk(&format!("lab-{SMALL_DISK}")),
            Harm::FillBusDisk => self.world.fill_disk(&part),
            Harm::FillLedgerDisk => self.world.fill_ledger_disk(),
            Harm::CloneAgent => self.clone_agent(&part),
            harm if harm.is_jump() => self.world.set_clock(&clock_owner(injury), injury.jump),
            harm => self.proxies.set(injury.wire(), weather(harm)),
        }
    }

    fn end(&mut self, injury: &Injury) -> anyhow::Result<()> {
        let part = injury.part();
        match injury.harm {
            // A controller waits at its start for bus and ledger, which may be down still: at the end, with all that is missing.
            Harm::KillController | Harm::RestartLedger | Harm::RestoreLedger | Harm::CloneAgent => Ok(()),
            Harm::KillAgent | Harm::KillBus | Harm::KillLedger => self.world.start_part(&part),
            Harm::FreezeAgent | Harm::FreezeController | Harm::FreezeBus => {
                self.world.thaw(&part);
                Ok(())
            }
            Harm::WipeBus => self.world.wipe_bus(),
            Harm::RollBackBus => self.world.roll_bus_back(),
            Harm::FreezeLedger => self.world.signal_postgres(Signal::CONT),
            Harm::FillDisk => self.world.clear_disk(&format!("lab-{SMALL_DISK}")),
            Harm::FillBusDisk => {
                // Room alone brings no stream back that could not be written.
                self.world.clear_disk(&part)?;
                self.world.kill(&part)?;
                self.world.start_part(&part)
            }
            Harm::FillLedgerDisk => {
                self.world.clear_disk(&part)?;
                self.note_gone(&part);
                self.world.start_part(&part)
            }
            harm if harm.is_jump() => self.world.set_clock(&clock_owner(injury), 0),
            _ => self.proxies.set(injury.wire(), Weather::Fair),
        }
    }

    /// Puts the ledger back by so much, as its operators do: nobody works with it before its epoch is raised.
    fn restore_ledger(&mut self, back: Duration) -> anyhow::Result<()> {
        self.world.restore_ledger(back)?;
        self.restores += 1;
        self.world.raise_epoch()
    }

    /// Starts whatever does not run, servers first.
    ///
    /// # Errors
    /// When a part does not come up.
    pub(super) fn revive(&mut self) -> anyhow::Result<()> {
        for part in self.world.parts() {
            self.note_gone(&part);
            self.world.start_part(&part)?;
        }
        Ok(())
    }

    /// Counts a part that ended although nobody ended it.
    fn note_gone(&mut self, part: &str) {
        if self.world.has_ended(part) {
            *self.revived.entry(part.to_owned()).or_default() += 1;
        }
    }

    /// Runs a copy beside an agent until both are put in quarantine, ends the copy, and releases whom the ledger believes.
    fn clone_agent(&mut self, agent: &str) -> anyhow::Result<()> {
        self.cloned.insert(agent.to_owned());
        self.world.clone_agent(agent)?;
        let noticed = self.until(CLONE_PATIENCE, |world| {
            let seen = world.client().and_then(|client| client.agent(agent));
            seen.is_ok_and(|seen| seen.state == "quarantined")
        })?;
        self.world.end_clones();
        if !noticed {
            let what = format!("{agent} and its copy spoke for {CLONE_PATIENCE:?} and nobody noticed");
            self.unseen.push(Violation { rule: "I9", what });
            return Ok(());
        }
        self.settle_twin(agent)
    }

    /// Releases agents that are in quarantine although nobody speaks beside them, and says which never had a copy, and why they are there; and
    /// which copies nobody noticed.
    ///
    /// # Errors
    /// When the ledger or a controller does not answer.
    pub(super) fn release_wronged(&mut self) -> anyhow::Result<Vec<Violation>> {
        let rows = self.world.db(
            "SELECT name, coalesce((SELECT detail FROM alarm WHERE agent_id = a.agent_id AND code IN ('W0209', 'W0211') \
             ORDER BY alarm_id DESC LIMIT 1), a.state_reason, '') FROM agent a WHERE a.state = 'quarantined'",
        )?;
        let mut wronged = std::mem::take(&mut self.unseen);
        for row in rows {
            let (agent, why) = row.split_once('|').context("a strange row")?;
            let client = self.world.client()?;
            client.change_agent(agent, "release", "it has no copy")?;
            // What a copy had sent may be read after it has ended.
            if !self.cloned.contains(agent) {
                let what = format!("{agent} is in quarantine and has no copy: {why}");
                wronged.push(Violation { rule: "I9", what });
            }
        }
        Ok(wronged)
    }

    /// Looks until something is so; whether it was within the patience.
    ///
    /// # Errors
    /// An interrupt.
    pub(super) fn until(&self, patience: Duration, is_so: impl Fn(&World) -> bool) -> anyhow::Result<bool> {
        let clock = Stopwatch::start();
        loop {
            if is_so(&self.world) {
                return Ok(true);
            }
            if clock.elapsed() >= patience {
                return Ok(false);
            }
            self.pause(LOOK)?;
        }
    }

    /// Waits, unless somebody asks us to end.
    ///
    /// # Errors
    /// An interrupt.
    pub(super) fn pause(&self, span: Duration) -> anyhow::Result<()> {
        if span.is_zero() {
            return self.interrupt.check();
        }
        self.interrupt.wait(span);
        self.interrupt.check()
    }
}

impl Drop for Ward {
    /// What stands still would not hear that it is to end.
    fn drop(&mut self) {
        for part in self.world.parts() {
            self.world.thaw(&part);
        }
        self.world.signal_postgres(Signal::CONT).ok();
    }
}

/// The part whose clock jumps.
fn clock_owner(injury: &Injury) -> String {
    match injury.harm {
        Harm::JumpControllerClock => format!("controller-{}", injury.victim),
        _ => format!("lab-{}", injury.victim),
    }
}

const fn weather(harm: Harm) -> Weather {
    match harm {
        Harm::DelayWire | Harm::DelayToBus | Harm::DelayToLedger => Weather::Delay,
        Harm::CutWire | Harm::CutToBus | Harm::CutToLedger => Weather::Cut,
        Harm::SliceWire => Weather::Slice,
        Harm::HalfOpenWire | Harm::HalfOpenToBus | Harm::HalfOpenToLedger => Weather::HalfOpen,
        Harm::DeafWire => Weather::Deaf,
        _ => Weather::Fair,
    }
}

fn cycle_words(cycle: &Cycle) -> String {
    let injuries: Vec<String> = cycle.injuries.iter().map(ToString::to_string).collect();
    format!("cycle {} ({})", cycle.number, injuries.join(", "))
}
