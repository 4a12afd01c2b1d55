//! What happens in a run, drawn from its seed before it begins: what operators ask for and what goes wrong, each with its time. A run can be
//! repeated without some of it, which is how a failure is made small.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use writ_domain::rollout::{Rollout, Share};

use super::bus::Weather;
use super::chance::Chance;
use super::host::Boundary;
use super::store::Trouble;

/// How a run spreads over its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Most at work at once.
    at_once: u32,
    /// How many may fail.
    may_fail: u32,
    /// How many are begun first, before the others.
    first: Option<u32>,
}

impl Spread {
    /// As a config says it.
    pub fn rollout(self) -> Rollout {
        Rollout {
            concurrency: Some(Share::Count(self.at_once)),
            error_threshold: Some(Share::Count(self.may_fail)),
            waves: self.first.map(Share::Count).into_iter().collect(),
        }
    }

    fn draw(chance: &mut Chance) -> Option<Self> {
        let some = |n: u64| u32::try_from(n).unwrap_or(1);
        let drawn = Self {
            at_once: 1 + some(chance.below(3)),
            may_fail: some(chance.below(2)),
            first: chance.hit(300).then_some(1),
        };
        chance.hit(350).then_some(drawn)
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// An operator orders a run.
    Order {
        /// It only looks.
        check: bool,
        /// How long it may wait.
        ttl: Duration,
        /// What each order may cost.
        grant: u64,
        /// How it spreads over its hosts.
        spread: Option<Spread>,
    },
    /// An operator cancels the run before.
    Cancel,
    /// An operator halts everything, softly or hard, and lifts it after a while.
    Halt {
        /// Kills what runs.
        hard: bool,
        /// Until it is lifted.
        length: Duration,
        /// Half way the director leaves it out of manifests and answers, without a lift.
        dropped: bool,
    },
    /// An agent's process is killed, or its machine loses power.
    Kill {
        /// The machine too.
        with_power: bool,
        /// How long it stays away.
        away: Duration,
    },
    /// An agent's process dies at a point of a step.
    DieAt(Boundary),
    /// The power fails at some operation of the disk.
    CrashDisk {
        /// Which.
        at: u64,
    },
    /// The disk is full for a while.
    FullDisk {
        /// How long.
        length: Duration,
    },
    /// A flush fails once.
    FailSync {
        /// Which.
        at: u64,
    },
    /// A bit turns on the disk.
    Rot {
        /// Which.
        draw: u64,
    },
    /// An agent is asked to stop, and starts again.
    Drain,
    /// A wall clock goes wrong.
    Clock {
        /// By how many seconds.
        wrong: i64,
    },
    /// An agent is cut from the bus.
    Cut {
        /// How long.
        length: Duration,
    },
    /// A machine is copied while it runs; the copy starts and lives for a while.
    Clone {
        /// How long.
        length: Duration,
    },
    /// A machine goes back to an older copy of its disk.
    PutBack {
        /// How old.
        age: Duration,
    },
    /// The bus works badly for a while.
    Storm {
        /// How badly.
        weather: Weather,
        /// How long.
        length: Duration,
    },
    /// Nobody reaches the bus.
    BusDown {
        /// How long.
        length: Duration,
    },
    /// The bus loses everything.
    Wipe,
    /// The bus goes back to an older state.
    RollBack {
        /// How old.
        age: Duration,
    },
    /// The bus loses what it acknowledged last.
    LoseTail {
        /// How many messages.
        count: usize,
    },
    /// The database works badly for a while.
    Strain {
        /// How badly.
        trouble: Trouble,
        /// How long.
        length: Duration,
    },
    /// Nobody reaches the database.
    StoreDown {
        /// How long.
        length: Duration,
    },
    /// The database is restored to an earlier point, or fails over with a lost tail, and its epoch is raised.
    Restore {
        /// How old.
        age: Duration,
    },
    /// A controller is killed.
    KillController {
        /// How long it stays away.
        away: Duration,
    },
    /// A controller stands still, and goes on.
    Pause {
        /// How long.
        length: Duration,
    },
    /// Somebody who may publish sends an agent an older manifest of its own.
    Replay,
    /// Somebody who may publish sends an agent another agent's manifest.
    Misdirect,
    /// Somebody who may publish sends an agent a manifest signed by a wrong key.
    Forge,
    /// Somebody sends an agent a watermark that no controller signed.
    ForgeMark,
}

/// A deed with its time and its victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Duration,
    /// Which machine or controller, among those there are.
    pub victim: usize,
    /// What.
    pub deed: Deed,
}

/// A run's plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Agents.
    pub agents: usize,
    /// Controllers.
    pub controllers: usize,
    /// What happens, in order of time.
    pub entries: Vec<Entry>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8.3} s  {:?} (victim {})",
            self.at.as_secs_f64(),
            self.deed,
            self.victim
        )
    }
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Plan {
    /// The plan of a seed over a span of time, without some of its entries.
    pub fn draw(seed: u64, span: Duration, without: &BTreeSet<usize>) -> Self {
        let mut chance = Chance::new(seed, "plan");
        // Drawn apart, so that seeds are what they were before there were rollouts.
        let mut apart = Chance::new(seed, "spread");
        let more = if apart.hit(150) { 1 + apart.index(2) } else { 0 };
        let agents = 1 + usize::from(chance.hit(350)) + more;
        let controllers = 1 + usize::from(chance.hit(500)) + usize::from(chance.hit(250));
        let mut entries = Vec::new();
        for _ in 0..2 + chance.below(5) {
            let deed = order(&mut chance, Spread::draw(&mut apart));
            entries.push(entry(&mut chance, span, deed));
            if chance.hit(120) {
                entries.push(entry(&mut chance, span, Deed::Cancel));
            }
        }
        // Some seeds break much, some little: a rare pair needs both.
        let faults = chance.below(10);
        let mild = chance.hit(150);
        for _ in 0..if mild { 0 } else { faults } {
            let deed = fault(&mut chance);
            entries.push(entry(&mut chance, span, deed));
        }
        entries.sort_by_key(|entry| entry.at);
        let kept = entries
            .into_iter()
            .enumerate()
            .filter(|(at, _)| !without.contains(at));
        Self {
            agents,
            controllers,
            entries: kept.map(|(_, entry)| entry).collect(),
        }
    }
}

fn entry(chance: &mut Chance, span: Duration, deed: Deed) -> Entry {
    Entry {
        at: chance.span(secs(1), span.max(secs(2))),
        victim: chance.index(12),
        deed,
    }
}

fn order(chance: &mut Chance, spread: Option<Spread>) -> Deed {
    let check = chance.hit(150);
    Deed::Order {
        check,
        // A check asks all hosts at once.
        spread: spread.filter(|_| !check),
        ttl: chance.span(secs(60), secs(900)),
        grant: 50 + chance.below(1_500),
    }
}

fn fault(chance: &mut Chance) -> Deed {
    match chance.below(5) {
        0 | 1 => agent_fault(chance),
        2 => bus_fault(chance),
        3 => ledger_fault(chance),
        _ => rare(chance),
    }
}

fn agent_fault(chance: &mut Chance) -> Deed {
    let long = chance.span(secs(1), secs(120));
    match chance.below(11) {
        0 => Deed::Kill {
            with_power: false,
            away: chance.span(Duration::ZERO, secs(20)),
        },
        1 | 2 => Deed::Kill {
            with_power: true,
            away: chance.span(Duration::ZERO, secs(150)),
        },
        3 => Deed::DieAt(Boundary::BeforeStart),
        4 => Deed::DieAt(Boundary::AfterEnd),
        5 | 6 => Deed::CrashDisk {
            at: 1 + chance.below(60),
        },
        7 => Deed::FullDisk { length: long },
        8 => Deed::Drain,
        9 => Deed::Clock {
            wrong: i64::try_from(chance.below(172_800)).unwrap_or(0) - 86_400,
        },
        // Some are away for so long that the ledger gives their orders up.
        _ => Deed::Cut {
            length: if long > secs(60) { long * 4 } else { long },
        },
    }
}

fn bus_fault(chance: &mut Chance) -> Deed {
    let long = chance.span(secs(1), secs(120));
    match chance.below(8) {
        0 => Deed::BusDown { length: long },
        1 => Deed::Wipe,
        2 => Deed::RollBack { age: long },
        3 => Deed::LoseTail {
            count: 1 + chance.index(6),
        },
        _ => Deed::Storm {
            weather: weather(chance),
            length: long,
        },
    }
}

fn weather(chance: &mut Chance) -> Weather {
    let mut some = |most: u64| if chance.hit(400) { chance.below(most) } else { 0 };
    Weather {
        loss: some(400),
        ack_loss: some(400),
        twice: some(500),
        stale: some(900),
        hint_loss: some(1_000),
        lies: some(400),
        shuffle: some(1_000),
        slow: Duration::from_millis(some(90_000)),
    }
}

fn ledger_fault(chance: &mut Chance) -> Deed {
    let long = chance.span(secs(1), secs(90));
    match chance.below(7) {
        0 => Deed::StoreDown { length: long },
        1 | 2 => Deed::Strain {
            trouble: Trouble {
                fails: chance.below(300),
                unknown: chance.below(300),
            },
            length: long,
        },
        3 => Deed::Restore {
            age: chance.span(Duration::from_millis(1), secs(120)),
        },
        4 => Deed::KillController { away: long / 4 },
        _ => Deed::Pause {
            length: chance.span(secs(1), secs(30)),
        },
    }
}

fn rare(chance: &mut Chance) -> Deed {
    let long = chance.span(secs(1), secs(120));
    match chance.below(12) {
        // Half of them live for long enough to be noticed for certain.
        0 => Deed::Clone { length: long * 3 },
        1 => Deed::PutBack { age: long },
        2 => Deed::FailSync {
            at: 1 + chance.below(20),
        },
        3 => Deed::Rot { draw: chance.draw() },
        4 => Deed::Replay,
        5 => Deed::Misdirect,
        6 => Deed::Forge,
        7 => Deed::ForgeMark,
        8 | 9 => Deed::Restore { age: long },
        _ => Deed::Halt {
            hard: chance.hit(500),
            length: long,
            dropped: chance.hit(500),
        },
    }
}
