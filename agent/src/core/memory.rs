//! What an agent knows of its past after a start, gathered from its journal's frames, and how its state is made from that.
//!
//! Frames picked out of a damaged journal prove that something happened and never that nothing did. So orders that a damaged journal may
//! have begun are not taken up again and not started again: they are refused when they are named.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use writ_chassis::clock::BootInstant;
use writ_protocol::cost::{Grant, RateCard};
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Limits, Meter, RunMode, Usage};
use writ_protocol::frame::Frame;
use writ_protocol::id::OrderId;
use writ_protocol::manifest::{Generation, Manifest, Order, OrderKind};
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderAccepted, OrderOutcome, Record, StepResult};
use writ_protocol::time::Timestamp;

use super::running::{Running, Stop};
use super::{AgentCore, Effect, HaltWord, Held, LiftWord, Now, Settings};

/// Most applied orders remembered from the journal: those behind what is kept of them beside it, which is written right after each.
const APPLIED_MAX: usize = 64;

/// How far a step of an unfinished order had come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Attempts whose intent is durable.
    pub attempt: u32,
    /// What the last of them might use.
    pub limits: Limits,
    /// Its result, if that is durable.
    pub result: Option<StepResult>,
}

impl Progress {
    /// What attempts may have used of which no record says what they did: all that their limits allow of what has a limit. What a step writes
    /// has none, and is left out.
    pub(super) fn unknown(&self, rates: &RateCard) -> Option<u64> {
        if self.result.is_some() {
            return Some(0);
        }
        let most = Usage {
            cpu_user_us: self.limits.cpu_ms.checked_mul(1_000)?,
            wall_us: self.limits.wall_ms.checked_mul(1_000)?,
            peak_memory_bytes: self.limits.memory_bytes,
            ..Usage::none(Meter::Agent)
        };
        rates.price(&most).ok()?.checked_mul(u64::from(self.attempt))
    }
}

/// An order that was accepted and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its acceptance.
    pub accepted: OrderAccepted,
    /// Sequence number of that record.
    pub first_seq: u64,
    /// The boot clock then.
    pub accepted_boot: BootInstant,
    /// The boot id then.
    pub boot_id: String,
    /// Its steps so far.
    pub steps: BTreeMap<String, Progress>,
}

/// What the frames say.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Highest `(epoch, generation)`.
    pub high_water: Generation,
    /// Highest control epoch.
    pub control_epoch: u64,
    /// Orders that ended or were refused.
    pub done: Vec<OrderId>,
    /// Orders that did not.
    pub unfinished: BTreeMap<OrderId, Unfinished>,
    /// Lifts that were taken, in order, each with the database's life then.
    pub lifts: Vec<(LiftWord, u32)>,
    /// Orders that applied their plan to its end, each with the sequence number of the record that says so; the last of them.
    pub applied: VecDeque<(u64, OrderAccepted)>,
    boot_id: String,
}

impl Memory {
    /// Takes the next frame's record.
    pub fn take(&mut self, frame: &Frame<'_>, record: Option<Record>) {
        match record {
            Some(Record::SessionStart(start)) => self.boot_id = start.boot_id,
            Some(Record::HighWater(water)) => {
                self.high_water = self.high_water.max(water.at);
                self.control_epoch = self.control_epoch.max(water.control_epoch);
            }
            Some(Record::HaltObserved(halt)) => {
                self.control_epoch = self.control_epoch.max(halt.control_epoch);
                if halt.lifted {
                    let lift = LiftWord {
                        halt_id: halt.halt_id,
                        control_epoch: halt.control_epoch,
                    };
                    self.lifts.push((lift, self.high_water.epoch));
                }
            }
            Some(Record::OrderAccepted(accepted)) => {
                let unfinished = Unfinished {
                    first_seq: frame.seq,
                    accepted_boot: BootInstant::from_nanos(frame.boot_ns),
                    boot_id: self.boot_id.clone(),
                    steps: BTreeMap::new(),
                    accepted,
                };
                self.unfinished.insert(unfinished.accepted.order_id, unfinished);
            }
            Some(Record::OrderRefused(refused)) => self.finish(refused.order_id),
            Some(Record::OrderDone(done)) => {
                let order = self.unfinished.get(&done.order_id).map(|order| &order.accepted);
                let order = order.filter(|order| order.kind == OrderKind::Apply);
                if let Some(order) = order.filter(|_| done.outcome == OrderOutcome::Succeeded) {
                    self.applied.push_back((frame.seq, order.clone()));
                    if self.applied.len() > APPLIED_MAX {
                        self.applied.pop_front();
                    }
                }
                self.finish(done.order_id);
            }
            Some(Record::StepIntent(intent)) => {
                if let Some(step) = self.step(intent.order_id, &intent.step) {
                    step.attempt = step.attempt.max(intent.attempt);
                    step.limits = intent.limits;
                }
            }
            Some(Record::StepResult(result)) => {
                if let Some(step) = self.step(result.order_id, &result.step) {
                    step.result = Some(*result);
                }
            }
            Some(
                Record::BlobChunk(_)
                | Record::Signed(_)
                | Record::Alarm(_)
                | Record::ManifestRefused(_)
                | Record::DriftSeen(_),
            )
            | None => {}
        }
    }

    fn finish(&mut self, order_id: OrderId) {
        self.unfinished.remove(&order_id);
        #[cfg(feature = "planted")]
        if writ_protocol::planted::is(writ_protocol::planted::Bug::DoneForgotten) {
            return;
        }
        self.done.push(order_id);
    }

    fn step(&mut self, order_id: OrderId, step: &str) -> Option<&mut Progress> {
        self.unfinished
            .get_mut(&order_id)
            .map(|order| order.steps.entry(step.to_owned()).or_default())
    }
}

/// What was kept beside the journal, verified again.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Manifests by the digest of their payload.
    pub manifests: BTreeMap<Digest, Manifest>,
    /// Halts in force, and stand-ins for those that cannot be read.
    pub halts: Vec<HaltWord>,
}

impl AgentCore {
    /// The state after a start. `damaged` says that the frames were picked out of a journal that was set aside; `at` is now and the boot id.
    pub fn recover(
        settings: Settings,
        memory: Memory,
        kept: Kept,
        damaged: bool,
        at: (Now, &str),
    ) -> (Self, Vec<Effect>) {
        let (now, boot_id) = at;
        let Kept { manifests, halts } = kept;
        let mut core = Self::new(settings);
        (core.have, core.control_epoch) = (memory.high_water, memory.control_epoch);
        core.halts
            .extend(halts.into_iter().map(|word| (word.halt.halt_id, word)));
        memory
            .lifts
            .iter()
            .for_each(|(lift, epoch)| core.lifted.remember(*lift, *epoch));
        memory
            .done
            .iter()
            .for_each(|order_id| core.remember_done(*order_id));
        if damaged {
            let kept = manifests
                .values()
                .flat_map(|manifest| manifest.orders.iter().map(|order| order.order_id));
            let begun = kept.chain(memory.unfinished.keys().copied());
            core.unsure = begun
                .filter(|order_id| !core.done.contains(order_id))
                .collect::<BTreeSet<_>>();
            return (core, Vec::new());
        }
        let mut unfinished: Vec<Unfinished> = memory.unfinished.into_values().collect();
        unfinished.sort_by_key(|order| order.first_seq);
        for order in unfinished {
            core.take_up(order, &manifests, now, boot_id);
        }
        core.advance(now);
        let effects = std::mem::take(&mut core.out);
        (core, effects)
    }

    fn take_up(
        &mut self,
        unfinished: Unfinished,
        manifests: &BTreeMap<Digest, Manifest>,
        now: Now,
        boot_id: &str,
    ) {
        let accepted = &unfinished.accepted;
        let kept = manifests.get(&accepted.manifest);
        let found = kept.and_then(|manifest| {
            manifest
                .orders
                .iter()
                .find(|order| order.order_id == accepted.order_id)
        });
        let order = Arc::new(found.cloned().unwrap_or_else(|| stand_in(accepted)));
        let span = Duration::from_millis(order.lease_ms);
        let is_same_boot = unfinished.boot_id == boot_id;
        let order_id = accepted.order_id;
        self.held.insert(
            order_id,
            Held {
                at: accepted.at,
                manifest: accepted.manifest,
                fencing_token: accepted.fencing_token,
                lease_until: if is_same_boot {
                    unfinished.accepted_boot.plus(span)
                } else {
                    BootInstant::default()
                },
                lease_wait: Some(now.boot.plus(span)),
                is_cancelled: false,
                resume: unfinished.steps,
                order,
            },
        );
        if found.is_some() {
            self.queue.push_back(order_id);
            return;
        }
        let mut lost = Running::new(order_id, self.corrected(now.wall));
        lost.stop(Stop::soft(
            OrderOutcome::Aborted,
            Code::Internal,
            "the manifest that ordered this is lost",
        ));
        self.end(lost, now);
    }
}

/// What is known of an order whose manifest is lost: enough to say that it ended.
fn stand_in(accepted: &OrderAccepted) -> Order {
    Order {
        order_id: accepted.order_id,
        run_id: accepted.run_id,
        ordered_by: String::new(),
        kind: accepted.kind,
        bundle: accepted.bundle,
        mode: RunMode::Strict,
        plan_digest: None,
        rests_on: None,
        issued_at: Timestamp::default(),
        not_before: Timestamp::default(),
        expires_at: Timestamp::default(),
        lease_ms: 0,
        fencing_token: accepted.fencing_token,
        control_epoch: 0,
        grant: Grant {
            amount_micros: 0,
            rates: RateCard::default(),
        },
    }
}
