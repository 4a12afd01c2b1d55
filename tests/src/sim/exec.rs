//! Steps without a host: they take virtual time, have effects that outlive the process, and die with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use uuid::Uuid;
use writ_agent::core::{Failure, Ran, Seen, StepPlan};
use writ_agent::executor::{Executor, Job, OnOutput};
use writ_chassis::clock::Clock as _;
use writ_protocol::cost::RateCard;
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Limits, Meter, StepMode, Usage};
use writ_protocol::id::OrderId;
use writ_protocol::manifest::Order;
use writ_protocol::reason::Code;
use writ_protocol::record::Change;

use super::chance::Chance;
use super::host::{Boundary, Host};
use super::world::{World, lock};

/// Most steps of one order.
const STEPS_MAX: u64 = 4;

/// Prices of the simulation: a micro-unit for a microsecond of processor time, and nothing else.
pub fn rates() -> RateCard {
    RateCard {
        version: 1,
        currency: "USD".to_owned(),
        cpu_second_micros: 1_000_000,
        memory_gib_second_micros: 0,
        written_gib_micros: 0,
        network_gib_micros: 0,
    }
}

/// What a step of an order is like; follows from its name.
#[derive(Clone, Copy, Debug)]
struct Nature {
    lasts: Duration,
    cpu_us: u64,
    fails: bool,
    /// Its effect is there when it starts, not when it ends.
    early: bool,
}

fn chance_of(order_id: OrderId, name: &str) -> Chance {
    let (high, low) = Uuid::as_u64_pair(&order_id.as_uuid());
    Chance::new(high ^ low, name)
}

fn nature(order_id: OrderId, step: &str) -> Nature {
    let mut chance = chance_of(order_id, step);
    let most = match chance.below(10) {
        0..=5 => Duration::from_millis(500),
        6..=8 => Duration::from_secs(8),
        _ => Duration::from_secs(240),
    };
    Nature {
        lasts: chance.span(Duration::from_millis(1), most),
        cpu_us: 20 + chance.below(200),
        fails: chance.hit(60),
        early: chance.hit(500),
    }
}

/// What a step may use: more than any does, and little enough for what is not known of an attempt to fit into many a grant.
const LIMITS: Limits = Limits {
    cpu_ms: 1,
    memory_bytes: 0,
    wall_ms: 300_000,
    processes: 256,
    open_files: 1_024,
    file_bytes: 1 << 30,
    output_bytes: 64 << 10,
};

/// The steps of an order.
pub fn steps_of(order_id: OrderId) -> Vec<StepPlan> {
    let mut chance = chance_of(order_id, "steps");
    let count = 1 + chance.below(STEPS_MAX);
    let mut step = |index: u64| {
        let mode = match chance.below(3) {
            0 => StepMode::Once,
            1 => StepMode::Checked,
            _ => StepMode::Idempotent,
        };
        let after = index.checked_sub(1).filter(|_| chance.hit(300));
        StepPlan {
            id: format!("s{index}"),
            depends_on: after.and_then(|n| usize::try_from(n).ok()).into_iter().collect(),
            notify: Vec::new(),
            mode,
            limits: LIMITS,
            only_when_notified: false,
        }
    };
    (0..count).map(&mut step).collect()
}

/// The mode of a step.
pub fn mode_of(order_id: OrderId, step: &str) -> Option<StepMode> {
    steps_of(order_id)
        .into_iter()
        .find(|plan| plan.id == step)
        .map(|plan| plan.mode)
}

/// The executor of one life of an agent.
#[derive(Debug)]
pub struct SimExec {
    /// The world, to be told.
    pub world: Arc<World>,
    /// The machine.
    pub host: Arc<Host>,
    /// Whether the process lives.
    pub alive: Arc<AtomicBool>,
}

impl SimExec {
    fn is_dead(&self) -> bool {
        !self.alive.load(Ordering::SeqCst)
    }

    /// What must hold at every start.
    fn check_start(&self, job: &Job, mode: StepMode) {
        let (order, step) = (&job.step.order, job.step.id.as_str());
        let agent_id = self.host.who.name.agent_id;
        let place = format!("{} of {} on host {}", step, order.order_id, self.host.number);
        let is_exempt = lock(&self.world.witness).is_exempt(agent_id);
        lock(&self.world.witness).counts.starts += 1;
        if mode == StepMode::Once {
            let before = lock(&self.world.witness).starts_once(agent_id, order.order_id, step);
            if before > 0 && !is_exempt {
                self.world.accuse("I1", format!("once step {place} starts again"));
            }
        }
        if mode == StepMode::Checked && self.host.has_effect(order.order_id, step) {
            self.world.accuse(
                "I1",
                format!("checked step {place} starts though nothing differs"),
            );
        }
        let spent = self.host.spent(order.order_id);
        if spent >= order.grant.amount_micros && !is_exempt {
            self.world.accuse(
                "I5",
                format!(
                    "{place} starts after {spent} of {} are spent",
                    order.grant.amount_micros
                ),
            );
        }
        let now = self.world.now();
        match self.host.horizon(order.order_id) {
            Some(until) if now <= until => {}
            until => self.world.accuse(
                "lease",
                format!("{place} starts without a lease, which held until {until:?}"),
            ),
        }
    }
}

impl Executor for SimExec {
    fn plan(&self, order: &Order) -> Option<(String, Vec<StepPlan>)> {
        Some(("web".to_owned(), steps_of(order.order_id)))
    }

    fn is_inline(&self) -> bool {
        true
    }

    fn begin(&self, job: &Job) -> Duration {
        let (order_id, step) = (job.step.order.order_id, job.step.id.as_str());
        if self.is_dead() || self.host.dies_at(&self.world, Boundary::BeforeStart) {
            return Duration::ZERO;
        }
        let Some(mode) = mode_of(order_id, step) else {
            return Duration::ZERO;
        };
        self.world.note(format_args!(
            "host {} begins {step} of {order_id}, attempt {}",
            self.host.number, job.step.attempt
        ));
        self.check_start(job, mode);
        self.host.forget_stop(order_id);
        let nature = nature(order_id, step);
        if nature.early {
            self.host.take_effect(order_id, step);
        }
        nature.lasts
    }

    fn observe(&self, job: &Job) -> Result<Seen, Failure> {
        let (order_id, step) = (job.step.order.order_id, job.step.id.as_str());
        let is_there =
            mode_of(order_id, step) != Some(StepMode::Once) && self.host.has_effect(order_id, step);
        let change = Change {
            attribute: "content".to_owned(),
            want: "there".to_owned(),
            got: "not".to_owned(),
        };
        Ok(Seen {
            digest: Digest::of(if is_there { b"there" } else { b"not" }),
            changes: if is_there { Vec::new() } else { vec![change] },
            usage: Usage::none(Meter::Agent),
        })
    }

    fn apply(&self, job: &Job, _on_output: &mut OnOutput<'_>) -> Ran {
        let (order_id, step) = (job.step.order.order_id, job.step.id.as_str());
        let ended_at = self.host.clock.now();
        if self.is_dead() {
            return Ran::nothing(ended_at);
        }
        let nature = nature(order_id, step);
        let is_stopped = self.host.is_stopped(order_id);
        if !is_stopped && !nature.fails {
            self.host.take_effect(order_id, step);
        }
        if self.host.dies_at(&self.world, Boundary::AfterEnd) {
            return Ran::nothing(ended_at);
        }
        self.world.note(format_args!(
            "host {} ends {step} of {order_id}, stopped {is_stopped}",
            self.host.number
        ));
        self.host.spend(order_id, nature.cpu_us);
        let failure = (is_stopped || nature.fails).then(|| Failure {
            code: Code::StepFailed,
            detail: "the simulation says so".to_owned(),
        });
        let usage = Usage {
            cpu_user_us: nature.cpu_us,
            ..Usage::none(Meter::Agent)
        };
        Ran {
            failure,
            was_stopped: is_stopped,
            usage,
            ..Ran::nothing(ended_at)
        }
    }

    fn stop(&self, order_id: OrderId, hard: bool, _reason: &str) {
        self.world.note(format_args!(
            "host {} stops {order_id}, hard {hard}",
            self.host.number
        ));
        self.host.tell_stop(order_id);
    }
}
