//! The torture rig: one world of real processes, and cycle after cycle of orders and faults. After each the world must come to rest within a
//! bound; every few cycles, and at the end, a checker compares ledger, disks, bus and side effects.
//!
//! What goes wrong follows from a seed and the cycle's number. When exactly a process is hit within its work does not: a repeat does the same
//! things at the same times, and may have to be repeated more than once.

mod check;
mod effects;
mod lost;
mod many;
mod plan;
pub mod proxy;
mod quiet;
mod twin;
mod ward;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use uuid::Uuid;
use writ_cli::clock::Stopwatch;
use writ_cli::interrupt::Interrupt;
use writ_protocol::digest::Digest;
use writ_protocol::id::OrderId;

use self::check::Checker;
use self::lost::Jumps;
use self::plan::{AGENTS, CONTROLLERS, Cycle};
use self::quiet::{Bus, Depth};
use self::ward::Ward;
use crate::world::{self, World};

pub use self::many::many;
pub use self::plan::Harm;

/// A new base backup of the ledger is taken after so many cycles: replay begins there.
const BACK_UP_EVERY: u64 = 50;
/// Findings that are kept; the others are counted.
const KEPT_MAX: usize = 100;

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// What everything is drawn from.
    pub seed: u64,
    /// The first cycle's number, from 1.
    pub first: u64,
    /// How many cycles.
    pub cycles: u64,
    /// No cycle begins after this.
    pub within: Option<Duration>,
    /// The world must come to rest completely, and the checker looks, after so many cycles and at the end.
    pub check_every: u64,
    /// Harms that are not to be done.
    pub without: BTreeSet<Harm>,
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The promise that it breaks, such as `I1`.
    pub rule: &'static str,
    /// What.
    pub what: String,
}

/// A violation and when it was seen.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The seed of its world.
    pub seed: u64,
    /// Cycles after which it was not there yet, and with which it was: `(4, 8)`.
    pub cycles: (u64, u64),
    /// What.
    pub violation: Violation,
}

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Cycles that were run.
    pub cycles: u64,
    /// Violations, kept or not.
    pub violations: u64,
    /// The first of them.
    pub kept: Vec<Finding>,
    /// Faults by their harm.
    pub faults: BTreeMap<&'static str, u64>,
    /// Orders by how they ended.
    pub orders: BTreeMap<String, u64>,
    /// Harms that could not be done, and why.
    pub skipped: Vec<(Harm, String)>,
    /// Records that the checker read.
    pub records: u64,
    /// Steps that were started.
    pub starts: u64,
    /// Parts that had ended by themselves and were started again.
    pub revived: BTreeMap<String, u64>,
    /// How long the cycles took, world and last check included.
    pub took: Duration,
    /// The longest way back to rest.
    pub slowest: Duration,
    /// All ways back to rest together.
    pub rests: Duration,
}

/// Runs cycles in a world of their own. `tell` hears of each when it is over.
///
/// # Errors
/// When a world does not come up, a part cannot be hurt or healed, or somebody asks us to end.
pub fn run(options: &Options, interrupt: &Interrupt, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Tally> {
    let mut rig = Rig::start(options, interrupt)?;
    let ended = rig.prepare().and_then(|()| rig.cycles(tell));
    if !interrupt.happened() && (ended.is_err() || rig.tally.violations > 0) {
        rig.ward.world.tell_logs();
    }
    ended?;
    Ok(rig.tally)
}

/// The orders that were given.
#[derive(Debug, Default)]
struct Given {
    /// All of them, also those that a restored ledger does not know any more.
    all: BTreeSet<OrderId>,
    /// Those that two copies of an agent may both have carried out.
    strangers: BTreeSet<OrderId>,
}

/// A world, what is done to it, and what was found. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Rig {
    options: Options,
    clock: Stopwatch,
    ward: Ward,
    bus: Bus,
    plans: Vec<Digest>,
    checker: Checker,
    orders: Given,
    jumps: Jumps,
    checked: u64,
    tally: Tally,
}

impl Rig {
    /// Brings a world up.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let clock = Stopwatch::start();
        let wanted = world::Options {
            agents: AGENTS,
            controllers: CONTROLLERS,
            clocks: true,
            ..world::Options::default()
        };
        let world = World::start_unless(wanted, interrupt)?;
        Ok(Self {
            options: options.clone(),
            clock,
            ward: Ward::of(world, interrupt.clone(), options.seed)?,
            bus: Bus::default(),
            plans: Vec::new(),
            checker: Checker::default(),
            orders: Given::default(),
            jumps: Jumps::default(),
            checked: options.first.saturating_sub(1),
            tally: Tally::default(),
        })
    }

    /// Puts proxies and a small disk in, and plans the orders.
    ///
    /// # Errors
    /// When the world does not come to rest, or a check does not succeed.
    pub fn prepare(&mut self) -> anyhow::Result<()> {
        let restores = !self.options.without.contains(&Harm::RestoreLedger);
        self.ward.prepare(restores)?;
        self.tally.skipped.clone_from(&self.ward.skipped);
        let rest = quiet::wait(&mut self.ward, &mut self.bus, Depth::Everything)?;
        rest.map_err(|violation| anyhow::anyhow!(violation.what))?;
        self.plans = effects::plans(&self.ward.world).context("planning the orders")?;
        if restores {
            // A ledger that did not know the plans could not order them.
            self.ward.world.back_ledger_up()?;
        }
        Ok(())
    }

    /// The world.
    pub const fn world(&self) -> &World {
        &self.ward.world
    }

    /// What was done and found so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What a checker that has seen nothing yet finds now.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn look(&self) -> anyhow::Result<Vec<Violation>> {
        Checker::default().look(&self.ward, &self.orders)
    }

    /// Runs the cycles, checks in between and at the end.
    ///
    /// # Errors
    /// When a part cannot be hurt or healed, or somebody asks us to end.
    pub fn cycles(&mut self, tell: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
        let options = self.options.clone();
        tell(&format!("the world is ready after {:.1?}", self.clock.elapsed()));
        let mut without = self.ward.without();
        without.extend(&options.without);
        let mut is_calm = true;
        for number in (options.first..).take(usize::try_from(options.cycles)?) {
            if options
                .within
                .is_some_and(|within| self.clock.elapsed() >= within)
            {
                break;
            }
            let cycle = Cycle::draw(options.seed, number, self.plans.len(), &without);
            let is_due = number.saturating_sub(self.checked) >= options.check_every;
            let depth = if is_due { Depth::Everything } else { Depth::Orders };
            let is_at_rest = self.cycle(&cycle, depth, tell)?;
            if is_due || !is_at_rest {
                self.check(number)?;
            }
            if !is_at_rest {
                // What comes after would say nothing.
                is_calm = false;
                break;
            }
            if number % BACK_UP_EVERY == 0 && !without.contains(&Harm::RestoreLedger) {
                self.ward.world.back_ledger_up()?;
            }
        }
        let last = options.first + self.tally.cycles - u64::from(self.tally.cycles > 0);
        // After what never came to rest nothing more is waited for.
        if is_calm && let Err(violation) = quiet::wait(&mut self.ward, &mut self.bus, Depth::Everything)? {
            self.keep((self.checked, last), violation);
        }
        // From the first record on: what was right once must still be.
        self.checker = Checker::default();
        self.check(last)?;
        self.sum_up()
    }

    /// One cycle; whether the world came to rest.
    fn cycle(&mut self, cycle: &Cycle, depth: Depth, tell: &mut dyn FnMut(&str)) -> anyhow::Result<bool> {
        let plan = self.plans.get(cycle.order).context("there is such an order")?;
        let run = self.ward.world.client()?.submit_apply(plan)?;
        let began = Stopwatch::start();
        let orders = run.orders.iter().map(|order| order.id.parse::<OrderId>());
        let orders = orders.collect::<Result<Vec<_>, _>>()?;
        self.orders.all.extend(&orders);
        if cycle
            .injuries
            .iter()
            .any(|injury| injury.harm == Harm::CloneAgent)
        {
            self.orders.strangers.extend(orders);
        }
        for injury in &cycle.injuries {
            *self.tally.faults.entry(injury.harm.name()).or_default() += 1;
        }
        self.ward.suffer(cycle)?;
        let hurt = began.elapsed();
        let rest = quiet::wait(&mut self.ward, &mut self.bus, depth)?;
        self.tally.cycles += 1;
        let injuries: Vec<String> = cycle.injuries.iter().map(ToString::to_string).collect();
        let (rested, last) = match &rest {
            Ok(rest) => (rest.took, rest.last.as_str()),
            Err(violation) => (quiet::PATIENCE, violation.what.as_str()),
        };
        tell(&format!(
            "cycle {}: order {}; {}; {hurt:.1?} of faults, at rest {rested:.1?} later; last: {last}",
            cycle.number,
            cycle.order + 1,
            injuries.join(", "),
        ));
        self.tally.slowest = self.tally.slowest.max(rested);
        self.tally.rests += rested;
        let is_at_rest = rest.is_ok();
        let mut violations = self.ward.release_wronged()?;
        violations.extend(rest.err());
        violations.extend(self.jumps.look(&self.ward.world, &run.id, cycle)?);
        for violation in violations {
            tell(&format!("  {}: {}", violation.rule, violation.what));
            self.keep((cycle.number - 1, cycle.number), violation);
        }
        Ok(is_at_rest)
    }

    fn check(&mut self, number: u64) -> anyhow::Result<()> {
        let found = self.checker.look(&self.ward, &self.orders)?;
        let known: BTreeSet<String> = self
            .tally
            .kept
            .iter()
            .map(|kept| kept.violation.what.clone())
            .collect();
        for violation in found
            .into_iter()
            .filter(|violation| !known.contains(&violation.what))
        {
            self.keep((self.checked, number), violation);
        }
        self.checked = number;
        Ok(())
    }

    fn keep(&mut self, cycles: (u64, u64), violation: Violation) {
        self.tally.violations += 1;
        if self.tally.kept.len() < KEPT_MAX {
            let seed = self.options.seed;
            self.tally.kept.push(Finding {
                seed,
                cycles,
                violation,
            });
        }
    }

    fn sum_up(&mut self) -> anyhow::Result<()> {
        self.tally.records = self.checker.records;
        self.tally.revived.clone_from(&self.ward.revived);
        let starts = effects::starts(&self.ward.world)?;
        self.tally.took = self.clock.elapsed();
        self.tally.starts = starts.values().map(|times| u64::from(*times)).sum();
        let sql = "SELECT o.state, count(*) FROM run_order o JOIN run USING (run_id) WHERE kind = 'apply' GROUP BY o.state";
        for row in self.ward.world.db(sql)? {
            let (state, count) = row.split_once('|').context("a strange row")?;
            self.tally.orders.insert(state.to_owned(), count.parse()?);
        }
        Ok(())
    }
}

fn uuid(text: &str) -> anyhow::Result<Uuid> {
    Uuid::try_parse(text).with_context(|| format!("no id: {text:?}"))
}
