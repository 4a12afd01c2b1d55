//! The rules of the agent, and nothing else: which orders it takes, what it does next, when it stops. No IO, no clock, nothing
//! asynchronous: `apply(input, now)` answers with effects, and the shell carries them out **in order**.
//!
//! The one promise that the shell makes: what stands before an [`Effect::Sync`] is durable before anything behind it is done. On that rest
//! "high water before acting", "intent before start" and "result before report".

mod effect;
mod grant;
mod halts;
mod input;
mod memory;
mod orders;
mod rehearsal;
mod results;
mod running;
mod steps;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use writ_chassis::clock::BootInstant;
use writ_protocol::digest::Digest;
use writ_protocol::exec::StepMode;
use writ_protocol::hello::LeaseHeld;
use writ_protocol::id::{HaltId, OrderId};
use writ_protocol::limits::{CLOCK_SKEW_MAX, CLOCK_SLACK};
use writ_protocol::manifest::{Generation, Identity, Order, OrderKind};
use writ_protocol::reason::Code;
use writ_protocol::record::{ManifestRefused, OrderOutcome, Record};
use writ_protocol::time::Timestamp;

pub use effect::{Blob, Effect, Ending, StepRef};
pub use halts::{HaltWord, LiftWord};
pub use input::{Failure, HelloWord, Input, Ran, Seen, StepPlan, Taken};
pub use memory::{Kept, Memory, Progress, Unfinished};
pub use running::Stage;

/// Orders held at once, accepted and not done.
pub const HELD_MAX: usize = 128;
/// Done orders remembered, so that none is carried out twice.
pub const DONE_MAX: usize = 100_000;
/// Refused manifests remembered, so that each is recorded once.
const REFUSED_MAX: usize = 64;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, uncorrected.
    pub wall: Timestamp,
    /// The boot clock.
    pub boot: BootInstant,
}

/// What the agent is told about itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who it is.
    pub identity: Identity,
    /// Its environment, where the host's configuration names it.
    pub environment: Option<String>,
}

/// An order that was accepted and is not done.
#[derive(Clone, Debug)]
struct Held {
    order: Arc<Order>,
    at: Generation,
    manifest: Digest,
    fencing_token: u64,
    lease_until: BootInstant,
    /// After a restart: wait until then for the ledger to renew a lease that ran out meanwhile.
    lease_wait: Option<BootInstant>,
    is_cancelled: bool,
    resume: BTreeMap<String, Progress>,
}

/// The state of one agent.
#[derive(Clone, Debug)]
pub struct AgentCore {
    settings: Settings,
    have: Generation,
    control_epoch: u64,
    held: BTreeMap<OrderId, Held>,
    queue: VecDeque<OrderId>,
    running: Option<running::Running>,
    done: BTreeSet<OrderId>,
    done_order: VecDeque<OrderId>,
    unsure: BTreeSet<OrderId>,
    halts: BTreeMap<HaltId, HaltWord>,
    /// Halts that the ledger's last answer neither listed nor lifted.
    unlisted: BTreeSet<HaltId>,
    lifted: halts::Lifted,
    refused: VecDeque<Digest>,
    regressions: u64,
    /// Ledger's clock minus ours, microseconds.
    offset_us: i64,
    /// The time that the ledger last told, or a later one that a manifest named since: our clock cannot be much before it.
    floor: Timestamp,
    is_quarantined: bool,
    is_draining: bool,
    is_tight: bool,
    /// What the present input asks for; empty between inputs.
    out: Vec<Effect>,
}

/// What a hello says about the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The highest `(epoch, generation)` taken.
    pub have: Generation,
    /// The highest control epoch taken.
    pub control_epoch: u64,
    /// Orders accepted and not done.
    pub running: Vec<LeaseHeld>,
    /// Manifests refused because they went back.
    pub regressions: u64,
    /// It takes nothing new.
    pub draining: bool,
    /// Envelopes of halts that the ledger is asked about.
    pub halts: Vec<Vec<u8>>,
}

impl AgentCore {
    /// An agent that remembers nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            have: Generation::default(),
            control_epoch: 0,
            held: BTreeMap::new(),
            queue: VecDeque::new(),
            running: None,
            done: BTreeSet::new(),
            done_order: VecDeque::new(),
            unsure: BTreeSet::new(),
            halts: BTreeMap::new(),
            unlisted: BTreeSet::new(),
            lifted: halts::Lifted::default(),
            refused: VecDeque::new(),
            regressions: 0,
            offset_us: 0,
            floor: Timestamp::default(),
            is_quarantined: false,
            is_draining: false,
            is_tight: false,
            out: Vec::new(),
        }
    }

    /// Takes one input and says what to do. Inputs that are late or repeated change nothing.
    pub fn apply(&mut self, input: Input, now: Now) -> Vec<Effect> {
        match input {
            Input::Manifest(taken) => self.take_manifest(*taken, now),
            Input::Refused { bytes, code, detail } => self.note_refusal(bytes, code, detail),
            Input::Hello(word) => self.take_hello(*word, now),
            Input::Halt(word) => self.hear_halt(word),
            Input::Lift(lift) => self.take_lift(lift),
            Input::Disk { tight } => self.is_tight = tight,
            Input::Drain => self.drain(),
            Input::BundleReady {
                order_id,
                project,
                steps,
            } => self.begin_steps(order_id, project, steps, now),
            Input::BundleFailed { order_id, failure } => self.bundle_failed(order_id, failure),
            Input::Observed {
                order_id,
                index,
                result,
            } => self.observed(order_id, index, result, now),
            Input::Applied { order_id, index, ran } => self.applied(order_id, index, *ran),
            Input::Metered {
                order_id,
                index,
                usage,
            } => self.metered(order_id, index, usage),
            Input::Tick => {}
        }
        self.advance(now);
        std::mem::take(&mut self.out)
    }

    /// The next moment at which [`Input::Tick`] can change something.
    pub fn deadline(&self, now: Now) -> Option<BootInstant> {
        let waits = self.running.as_ref().filter(|r| r.stage == Stage::Waiting);
        let lease = waits
            .and_then(|r| self.held.get(&r.order_id))
            .and_then(|held| held.lease_wait);
        let idle = self.running.is_none() && !self.is_draining && !self.is_quarantined;
        let start = if idle {
            self.queue
                .iter()
                .filter_map(|id| self.held.get(id))
                .map(|h| h.order.not_before)
                .min()
        } else {
            None
        };
        let start = start.map(|at| now.boot.plus(at.since(self.corrected(now.wall))));
        lease.into_iter().chain(start).min()
    }

    /// What a hello says.
    pub fn view(&self) -> View {
        View {
            have: self.have,
            control_epoch: self.control_epoch,
            running: self
                .held
                .iter()
                .map(|(order_id, held)| LeaseHeld {
                    order_id: *order_id,
                    fencing_token: held.fencing_token,
                })
                .collect(),
            regressions: self.regressions,
            draining: self.is_draining,
            halts: self.halts_in_question(),
        }
    }

    /// Whether nothing runs.
    pub const fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// Whether the host is being changed, or nothing at all is to be started on it.
    pub fn is_changing(&self) -> bool {
        let order = self.running().and_then(|order_id| self.held.get(&order_id));
        self.is_quarantined
            || self.is_draining
            || order.is_some_and(|held| held.order.kind == OrderKind::Apply)
    }

    /// Whether the running order only looks for now: it is a check, or an apply that has not begun to change anything.
    pub fn is_looking(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            let held = self.held.get(&running.order_id);
            running.rehearsal.is_under_way() || held.is_some_and(|held| held.order.kind == OrderKind::Check)
        })
    }

    /// The step whose turn comes after one that is being carried out, to be looked at right behind it. None after one that must not be repeated: how
    /// that ended is written before anything else is done.
    pub fn following(&self, index: usize) -> Option<StepRef> {
        let running = self.running.as_ref()?;
        let held = self.held.get(&running.order_id)?;
        let is_plain = |step: &&StepPlan| step.mode != StepMode::Once;
        running.steps.get(index).filter(is_plain)?;
        let next = index.checked_add(1)?;
        let is_open = running.ended.get(next) == Some(&None);
        let step = running
            .steps
            .get(next)
            .filter(|step| is_open && !step.only_when_notified)?;
        Some(steps::step_ref(held, running, next, step, 1))
    }

    /// The order that is being carried out.
    pub fn running(&self) -> Option<OrderId> {
        self.running.as_ref().map(|running| running.order_id)
    }

    /// When the first lease runs out, if an order is held: before that the ledger should be asked.
    pub fn lease_until(&self) -> Option<BootInstant> {
        self.held.values().map(|held| held.lease_until).min()
    }

    /// The highest `(epoch, generation)` taken.
    pub const fn have(&self) -> Generation {
        self.have
    }

    /// Whether an order is held and not done.
    pub fn holds(&self, order_id: OrderId) -> bool {
        self.held.contains_key(&order_id)
    }

    /// Digests of the manifests that held orders came in.
    pub fn manifests(&self) -> BTreeSet<Digest> {
        self.held.values().map(|held| held.manifest).collect()
    }

    /// The wall clock as the ledger would read it.
    pub fn corrected(&self, wall: Timestamp) -> Timestamp {
        Timestamp::from_micros(wall.as_micros().saturating_add(self.offset_us))
    }

    /// Why expiry cannot be judged; nothing where it can.
    fn clock_doubt(&self, now: Now) -> Option<String> {
        if Duration::from_micros(self.offset_us.unsigned_abs()) > CLOCK_SKEW_MAX {
            return Some(format!(
                "the host's clock is {} s off; set it",
                self.offset_us / 1_000_000
            ));
        }
        let here = self.corrected(now.wall);
        (here.plus(CLOCK_SKEW_MAX) < self.floor).then(|| {
            format!(
                "it is {here} here, and the controllers wrote at {}; set the host's clock",
                self.floor
            )
        })
    }

    fn note_refusal(&mut self, bytes: Digest, code: Code, detail: String) {
        if code == Code::Regressed {
            self.regressions += 1;
        }
        if self.refused.contains(&bytes) {
            return;
        }
        if self.refused.len() == REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(bytes);
        self.out
            .push(Effect::Append(Record::ManifestRefused(ManifestRefused {
                bytes,
                code,
                detail,
            })));
        self.out.push(Effect::Sync);
    }

    #[cfg(feature = "planted")]
    fn unsync(&mut self, bug: writ_protocol::planted::Bug) {
        if writ_protocol::planted::is(bug) {
            self.out.pop();
        }
    }

    fn remember_done(&mut self, order_id: OrderId) {
        if self.done.insert(order_id) {
            self.done_order.push_back(order_id);
        }
        if self.done_order.len() > DONE_MAX
            && let Some(oldest) = self.done_order.pop_front()
        {
            self.done.remove(&oldest);
        }
    }

    fn drain(&mut self) {
        self.is_draining = true;
        if let Some(running) = &mut self.running {
            running.stop(running::Stop::soft(
                OrderOutcome::Stopped,
                Code::Draining,
                "the agent stops",
            ));
        }
    }

    fn take_hello(&mut self, word: HelloWord, now: Now) {
        // By the boot clock: somebody may have set the wall clock since we asked.
        let half = now.boot.since(word.sent.boot) / 2;
        let half = i64::try_from(half.as_micros()).unwrap_or(i64::MAX);
        let ours = now.wall.as_micros().saturating_sub(half);
        self.offset_us = word.server_time.as_micros().saturating_sub(ours);
        // Nobody can play an old answer again, so this is the time, also where somebody said a later one before.
        self.floor = word.server_time;
        self.is_quarantined = word.quarantined;
        for lease in &word.leases {
            if let Some(held) = self.held.get_mut(&lease.order_id) {
                let is_ours = held.fencing_token == lease.fencing_token;
                let span = Duration::from_millis(lease.lease_ms);
                held.lease_until = if is_ours {
                    word.sent.boot.plus(span)
                } else {
                    BootInstant::default()
                };
                held.lease_wait = held
                    .lease_wait
                    .filter(|_| !is_ours && held.fencing_token > lease.fencing_token);
            }
        }
        let named = word.halts.iter().map(|halt| halt.halt.halt_id).collect();
        self.settle_halts(&halts::Listed {
            at: word.at,
            control_epoch: word.control_epoch,
            halts: word.halts,
            lifts: word.lifts,
        });
        self.ask_about_halts(&named);
        if word.at > self.have {
            self.out.push(Effect::ReadManifest);
        }
    }

    /// Whether a wall-clock instant has come.
    fn has_come(&self, at: Timestamp, now: Now) -> bool {
        self.corrected(now.wall) >= at
    }

    fn is_expired(&self, at: Timestamp, now: Now) -> bool {
        self.corrected(now.wall) > at.plus(CLOCK_SLACK)
    }
}

#[cfg(test)]
mod tests;
