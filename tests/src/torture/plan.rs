//! What goes wrong in a cycle: drawn from the run's seed and the cycle's number alone, so that one cycle can be repeated without those before it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::sim::chance::Chance;

/// Agents of a run.
pub(super) const AGENTS: usize = 3;
/// Controllers of a run.
pub(super) const CONTROLLERS: usize = 2;
/// The agent whose disk is small enough to be filled.
pub(super) const SMALL_DISK: usize = AGENTS;
/// The agent that is copied: the promises for one process of an identity are held against the others all the time.
const CLONED: usize = 2;

/// Faults of a cycle, at most.
const INJURIES_MAX: u64 = 3;
/// When a fault may begin, after the order.
const BEGIN_MAX: Duration = Duration::from_millis(2_500);
/// How long it lasts.
const LENGTH_MIN: Duration = Duration::from_millis(200);
const LENGTH_MAX: Duration = Duration::from_secs(4);
/// How long it lasts now and then: longer than a controller's lease counts.
const LONG_MAX: Duration = Duration::from_secs(9);
const LONG_PER_MILLE: u64 = 80;

/// How far back a ledger is put.
const BACK_MIN: Duration = Duration::from_millis(300);
const BACK_MAX: Duration = Duration::from_secs(60);

/// By how much a clock jumps.
const JUMP_MIN: Duration = Duration::from_secs(60);
const JUMP_MAX: Duration = Duration::from_secs(6 * 3_600);
/// By how much at most where it is to be trusted still: agent and controller bear 300 s.
const SMALL_JUMP_MAX: Duration = Duration::from_secs(280);
const SMALL_JUMP_PER_MILLE: u64 = 250;
/// How often back.
const BACK_PER_MILLE: u64 = 500;

/// What can be done to a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Harm {
    /// An agent is killed and started again.
    KillAgent,
    /// An agent stands still.
    FreezeAgent,
    /// A controller is killed and started again.
    KillController,
    /// A controller stands still; its leases may run out meanwhile.
    FreezeController,
    /// The bus is killed and started again.
    KillBus,
    /// The bus stands still.
    FreezeBus,
    /// The bus is killed and starts with an empty store.
    WipeBus,
    /// The bus is killed and starts from what its disk held when the fault began.
    RollBackBus,
    /// The database's first process is killed.
    KillLedger,
    /// All of the database's processes stand still.
    FreezeLedger,
    /// The database is restarted in immediate mode.
    RestartLedger,
    /// The database goes back to what it was as long ago as the fault lasts, and begins a new epoch.
    RestoreLedger,
    /// Bytes between an agent and the bus come late, each way by another time.
    DelayWire,
    /// Connections between an agent and the bus are closed, and new ones too.
    CutWire,
    /// Bytes between an agent and the bus come in small pieces.
    SliceWire,
    /// Connections between an agent and the bus are open and carry nothing.
    HalfOpenWire,
    /// What an agent says comes through; what it is told does not.
    DeafWire,
    /// Chunks between a controller and the bus come late.
    DelayToBus,
    /// A controller's connections to the bus are closed, and so are new ones.
    CutToBus,
    /// A controller's connections to the bus stay open, and nothing passes.
    HalfOpenToBus,
    /// Chunks between a controller and the ledger come late.
    DelayToLedger,
    /// A controller's connections to the ledger are closed, and so are new ones.
    CutToLedger,
    /// A controller's connections to the ledger stay open, and nothing passes.
    HalfOpenToLedger,
    /// An agent's disk is full.
    FillDisk,
    /// The bus's disk is full; when there is room again the server is started again, as it must be.
    FillBusDisk,
    /// The ledger's disk is full; when there is room again PostgreSQL is started again where it has ended.
    FillLedgerDisk,
    /// A copy of an agent runs beside it.
    CloneAgent,
    /// An agent's wall clock jumps while it runs, and later back.
    JumpAgentClock,
    /// A controller's wall clock jumps while it runs, and later back.
    JumpControllerClock,
}

impl Harm {
    /// Every harm, and how often it is drawn in comparison.
    pub const ALL: [(Self, u64); 29] = [
        (Self::KillAgent, 12),
        (Self::FreezeAgent, 6),
        (Self::KillController, 10),
        (Self::FreezeController, 8),
        (Self::KillBus, 8),
        (Self::FreezeBus, 5),
        (Self::WipeBus, 6),
        (Self::RollBackBus, 6),
        (Self::KillLedger, 6),
        (Self::FreezeLedger, 5),
        (Self::RestartLedger, 6),
        (Self::RestoreLedger, 2),
        (Self::DelayWire, 6),
        (Self::CutWire, 8),
        (Self::SliceWire, 5),
        (Self::HalfOpenWire, 6),
        (Self::DeafWire, 4),
        (Self::DelayToBus, 3),
        (Self::CutToBus, 4),
        (Self::HalfOpenToBus, 3),
        (Self::DelayToLedger, 3),
        (Self::CutToLedger, 4),
        (Self::HalfOpenToLedger, 3),
        (Self::FillDisk, 4),
        (Self::FillBusDisk, 4),
        (Self::FillLedgerDisk, 4),
        (Self::CloneAgent, 2),
        (Self::JumpAgentClock, 5),
        (Self::JumpControllerClock, 4),
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillAgent => "kill-agent",
            Self::FreezeAgent => "freeze-agent",
            Self::KillController => "kill-controller",
            Self::FreezeController => "freeze-controller",
            Self::KillBus => "kill-bus",
            Self::FreezeBus => "freeze-bus",
            Self::WipeBus => "wipe-bus",
            Self::RollBackBus => "roll-back-bus",
            Self::KillLedger => "kill-ledger",
            Self::FreezeLedger => "freeze-ledger",
            Self::RestartLedger => "restart-ledger",
            Self::RestoreLedger => "restore-ledger",
            Self::DelayWire => "delay-wire",
            Self::CutWire => "cut-wire",
            Self::SliceWire => "slice-wire",
            Self::HalfOpenWire => "half-open-wire",
            Self::DeafWire => "deaf-wire",
            Self::DelayToBus => "delay-to-bus",
            Self::CutToBus => "cut-to-bus",
            Self::HalfOpenToBus => "half-open-to-bus",
            Self::DelayToLedger => "delay-to-ledger",
            Self::CutToLedger => "cut-to-ledger",
            Self::HalfOpenToLedger => "half-open-to-ledger",
            Self::FillDisk => "fill-disk",
            Self::FillBusDisk => "fill-bus-disk",
            Self::FillLedgerDisk => "fill-ledger-disk",
            Self::CloneAgent => "clone-agent",
            Self::JumpAgentClock => "jump-agent-clock",
            Self::JumpControllerClock => "jump-controller-clock",
        }
    }

    /// The harm of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .map(|(harm, _)| harm)
            .find(|harm| harm.name() == name)
    }

    /// Whether a clock jumps.
    pub(super) const fn is_jump(self) -> bool {
        matches!(self, Self::JumpAgentClock | Self::JumpControllerClock)
    }

    const fn victims(self) -> usize {
        match self {
            Self::KillController
            | Self::FreezeController
            | Self::DelayToBus
            | Self::CutToBus
            | Self::HalfOpenToBus
            | Self::DelayToLedger
            | Self::CutToLedger
            | Self::HalfOpenToLedger
            | Self::JumpControllerClock => CONTROLLERS,
            Self::KillAgent
            | Self::FreezeAgent
            | Self::JumpAgentClock
            | Self::DelayWire
            | Self::CutWire
            | Self::SliceWire
            | Self::HalfOpenWire
            | Self::DeafWire => AGENTS,
            _ => 1,
        }
    }

    fn part(self, victim: usize) -> String {
        match self {
            Self::KillAgent | Self::FreezeAgent => format!("lab-{victim}"),
            Self::CloneAgent => format!("lab-{CLONED}"),
            Self::KillController | Self::FreezeController => format!("controller-{victim}"),
            Self::KillBus | Self::FreezeBus | Self::WipeBus | Self::RollBackBus | Self::FillBusDisk => {
                "nats".to_owned()
            }
            Self::KillLedger
            | Self::FreezeLedger
            | Self::RestartLedger
            | Self::RestoreLedger
            | Self::FillLedgerDisk => "postgres".to_owned(),
            Self::DelayWire | Self::CutWire | Self::SliceWire | Self::HalfOpenWire | Self::DeafWire => {
                format!("the wire of lab-{victim}")
            }
            Self::DelayToBus | Self::CutToBus | Self::HalfOpenToBus => {
                format!("controller-{victim} to the bus")
            }
            Self::DelayToLedger | Self::CutToLedger | Self::HalfOpenToLedger => {
                format!("controller-{victim} to the ledger")
            }
            Self::FillDisk => format!("the disk of lab-{SMALL_DISK}"),
            Self::JumpAgentClock => format!("the clock of lab-{victim}"),
            Self::JumpControllerClock => format!("the clock of controller-{victim}"),
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Injury {
    /// What.
    pub(super) harm: Harm,
    /// To which of its kind, from 1.
    pub(super) victim: usize,
    /// When it begins, after the order.
    pub(super) at: Duration,
    /// How long it lasts; of a ledger that is restored, how far it goes back.
    pub(super) length: Duration,
    /// By how many seconds a clock jumps; nothing where the fault is another.
    pub(super) jump: i64,
}

impl Injury {
    /// The part that it is done to. No part suffers twice in a cycle.
    pub(super) fn part(&self) -> String {
        self.harm.part(self.victim)
    }

    /// The wire that it spoils, from 1: those of agents, then those of controllers to the bus, then those to the ledger.
    pub(super) const fn wire(&self) -> usize {
        match self.harm {
            Harm::DelayToBus | Harm::CutToBus | Harm::HalfOpenToBus => AGENTS + self.victim,
            Harm::DelayToLedger | Harm::CutToLedger | Harm::HalfOpenToLedger => {
                AGENTS + CONTROLLERS + self.victim
            }
            _ => self.victim,
        }
    }

    /// Whether it ends after its length; a restore is over when it is done.
    pub(super) fn lasts(&self) -> bool {
        self.harm != Harm::RestoreLedger
    }
}

impl fmt::Display for Injury {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, length) = (self.at.as_millis(), self.length.as_millis());
        let way = if self.lasts() { '+' } else { '-' };
        write!(f, "{} {} {at}{way}{length}ms", self.harm.name(), self.part())?;
        match self.jump {
            0 => Ok(()),
            jump => write!(f, " by {jump:+}s"),
        }
    }
}

/// One cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cycle {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Which of so many orders is given.
    pub(super) order: usize,
    /// What goes wrong meanwhile.
    pub(super) injuries: Vec<Injury>,
}

impl Cycle {
    /// The cycle of a number under a seed.
    pub(super) fn draw(seed: u64, number: u64, orders: usize, without: &BTreeSet<Harm>) -> Self {
        let mut chance = Chance::new(seed ^ number.rotate_left(32), "torture");
        let order = chance.index(orders);
        let mut injuries: Vec<Injury> = Vec::new();
        for _ in 0..=chance.below(INJURIES_MAX) {
            let drawn = injury(&mut chance, without);
            let is_free = |injury: &Injury| injuries.iter().all(|other| other.part() != injury.part());
            if let Some(injury) = drawn.filter(is_free) {
                injuries.push(injury);
            }
        }
        if let Some(clone) = injuries.iter().find(|injury| injury.harm == Harm::CloneAgent) {
            // Only where both can speak must it be noticed.
            injuries = vec![clone.clone()];
        }
        Self {
            number,
            order,
            injuries,
        }
    }
}

/// A fault of those that may be drawn; none when none may.
fn injury(chance: &mut Chance, without: &BTreeSet<Harm>) -> Option<Injury> {
    let mut allowed = Harm::ALL.to_vec();
    allowed.retain(|(harm, _)| !without.contains(harm));
    let mut place = chance.below(allowed.iter().map(|(_, weight)| weight).sum());
    let (harm, _) = allowed.into_iter().find(|(_, weight)| {
        let rest = place.checked_sub(*weight);
        place = rest.unwrap_or(place);
        rest.is_none()
    })?;
    let most = if chance.hit(LONG_PER_MILLE) {
        LONG_MAX
    } else {
        LENGTH_MAX
    };
    let lasts = match harm {
        Harm::RestoreLedger => (BACK_MIN, BACK_MAX),
        _ => (LENGTH_MIN, most),
    };
    Some(Injury {
        harm,
        victim: chance.index(harm.victims()) + 1,
        at: chance.span(Duration::ZERO, BEGIN_MAX),
        length: chance.span(lasts.0, lasts.1),
        jump: if harm.is_jump() { jump(chance) } else { 0 },
    })
}

/// By how much a clock jumps: now and then by little enough to be trusted still.
fn jump(chance: &mut Chance) -> i64 {
    let most = if chance.hit(SMALL_JUMP_PER_MILLE) {
        SMALL_JUMP_MAX
    } else {
        JUMP_MAX
    };
    let secs = i64::try_from(chance.span(JUMP_MIN, most).as_secs()).unwrap_or(i64::MAX);
    if chance.hit(BACK_PER_MILLE) { -secs } else { secs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_follows_from_seed_and_number_and_every_harm_is_drawn() {
        let none = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for number in 1..=400 {
            let cycle = Cycle::draw(7, number, 3, &none);
            assert_eq!(cycle, Cycle::draw(7, number, 3, &none));
            assert!(!cycle.injuries.is_empty() && cycle.order < 3);
            let parts: BTreeSet<_> = cycle.injuries.iter().map(Injury::part).collect();
            assert_eq!(parts.len(), cycle.injuries.len(), "no part suffers twice");
            seen.extend(cycle.injuries.iter().map(|injury| injury.harm));
        }
        assert_eq!(seen.len(), Harm::ALL.len());
        assert_ne!(Cycle::draw(7, 1, 3, &none), Cycle::draw(8, 1, 3, &none));
    }

    #[test]
    fn what_is_left_out_is_never_drawn_and_names_lead_back() {
        for (harm, _) in Harm::ALL {
            assert_eq!(Harm::of(harm.name()), Some(harm));
            let without = BTreeSet::from([harm]);
            let drawn = (1..200).flat_map(|number| Cycle::draw(3, number, 1, &without).injuries);
            assert!(drawn.map(|injury| injury.harm).all(|drawn| drawn != harm));
        }
    }
}
