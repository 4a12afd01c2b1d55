//! Stops that somebody signed: which of our orders they cover, and how hard.
//!
//! A halt holds until its lift comes, signed as a lift must be. That the ledger lists it no more ends nothing, for that takes one signature and a
//! lift takes two. What is held and not listed is named in the next hello: who answers has the lift, or learns of a halt that it lost.

use std::collections::{BTreeSet, VecDeque};

use uuid::Uuid;
use writ_protocol::halt::{Halt, HaltAction, Scope};
use writ_protocol::id::{HaltId, OrderId};
use writ_protocol::limits::{LIFTS_BYTES_MAX, LIFTS_MAX};
use writ_protocol::manifest::Generation;
use writ_protocol::reason::Code;
use writ_protocol::record::{HaltObserved, OrderOutcome, Record};
use writ_protocol::time::Timestamp;

use super::running::Stop;
use super::{AgentCore, Effect};

/// A verified halt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaltWord {
    /// What it says.
    pub halt: Halt,
    /// Its envelope as it came, to be kept.
    pub envelope: Vec<u8>,
    /// Whether it was sent to this very agent, by subject or inside a word of the ledger to it; else to everybody.
    pub addressed: bool,
}

/// Lifts remembered, so that a halt that comes after its lift stops nothing.
pub(super) const LIFTED_MAX: usize = 256;

/// A verified lift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiftWord {
    /// Which halt ends.
    pub halt_id: HaltId,
    /// The control epoch that the lift begins.
    pub control_epoch: u64,
}

/// What a word of the ledger says of halts.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// The newest manifest's place when it was said.
    pub at: Generation,
    /// How many halts and lifts there had been.
    pub control_epoch: u64,
    /// Halts in force, verified.
    pub halts: Vec<HaltWord>,
    /// Lifts, verified.
    pub lifts: Vec<LiftWord>,
}

/// The lifts that came last.
#[derive(Clone, Debug, Default)]
pub(super) struct Lifted(VecDeque<(LiftWord, u32)>);

impl Lifted {
    /// Remembers a lift that came in this life of the database.
    pub(super) fn remember(&mut self, lift: LiftWord, epoch: u32) {
        self.0.retain(|(known, _)| known.halt_id != lift.halt_id);
        if self.0.len() == LIFTED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((lift, epoch));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn find(&self, halt_id: HaltId) -> Option<&(LiftWord, u32)> {
        self.0.iter().find(|(lift, _)| lift.halt_id == halt_id)
    }

    /// Whether a list is from before the lift of a halt that it names. A restored database may have lost the lift: then its word counts.
    fn is_newer_than(&self, halt_id: HaltId, listed: &Listed) -> bool {
        self.find(halt_id).is_some_and(|(lift, epoch)| {
            *epoch == listed.at.epoch && lift.control_epoch > listed.control_epoch
        })
    }
}

impl HaltWord {
    /// Stands for what was kept of a halt and cannot be read or verified any more: it stops everything, softly would be a guess. Where at least
    /// the name can be read, its lift ends it.
    pub fn unreadable(kept: Vec<u8>, claimed: Option<HaltId>) -> Self {
        let halt = Halt {
            tenant: String::new(),
            halt_id: claimed.unwrap_or(HaltId::from_uuid(Uuid::nil())),
            scope: Scope::All,
            action: HaltAction::Hard,
            control_epoch: 0,
            reason: "what this agent kept of a halt cannot be read".to_owned(),
            set_by: "the agent itself (W0318)".to_owned(),
            issued_at: Timestamp::default(),
        };
        Self {
            halt,
            envelope: kept,
            addressed: true,
        }
    }

    /// Whether it is such a stand-in.
    pub fn is_unreadable(&self) -> bool {
        self.halt.tenant.is_empty()
    }
}

impl AgentCore {
    /// Takes a halt that came by itself.
    pub(super) fn hear_halt(&mut self, word: HaltWord) {
        if self.lifted.find(word.halt.halt_id).is_none() {
            self.take_halt(word);
        }
    }

    fn take_halt(&mut self, word: HaltWord) {
        if let Some(known) = self.halts.get_mut(&word.halt.halt_id) {
            if known.is_unreadable() {
                // The same halt, and now it is known what it says.
                *known = word;
                self.keep_halts();
            }
            return;
        }
        if !self.concerns(&word) {
            // Sent to everybody and perhaps meant for us: the ledger knows.
            if matches!(word.halt.scope, Scope::Environment(_)) && self.settings.environment.is_none() {
                self.out.push(Effect::Hello);
            }
            return;
        }
        let halt = word.halt.clone();
        self.control_epoch = self.control_epoch.max(halt.control_epoch);
        self.halts.insert(halt.halt_id, word);
        let stopped = self.covered(&halt);
        self.keep_halts();
        self.out.push(Effect::Append(Record::HaltObserved(HaltObserved {
            halt_id: halt.halt_id,
            control_epoch: halt.control_epoch,
            lifted: false,
            stopped,
        })));
        self.out.push(Effect::Sync);
    }

    pub(super) fn take_lift(&mut self, lift: LiftWord) {
        self.lifted.remember(lift, self.have.epoch);
        self.unlisted.remove(&lift.halt_id);
        if self.halts.remove(&lift.halt_id).is_none() {
            return;
        }
        self.control_epoch = self.control_epoch.max(lift.control_epoch);
        self.out.push(Effect::Append(Record::HaltObserved(HaltObserved {
            halt_id: lift.halt_id,
            control_epoch: lift.control_epoch,
            lifted: true,
            stopped: Vec::new(),
        })));
        self.out.push(Effect::Sync);
        // Only now: a crash in between leaves a halt that is lifted twice, and never one that ended without a word.
        self.keep_halts();
    }

    fn keep_halts(&mut self) {
        let kept = self.halts.values().map(|word| word.envelope.clone()).collect();
        self.out.push(Effect::KeepHalts(kept));
    }

    /// Takes the halts and lifts that a word of the ledger carries.
    pub(super) fn settle_halts(&mut self, listed: &Listed) {
        #[cfg(feature = "planted")]
        self.drop_unlisted(listed);
        for lift in &listed.lifts {
            self.take_lift(*lift);
        }
        self.control_epoch = self.control_epoch.max(listed.control_epoch);
        let news = listed
            .halts
            .iter()
            .filter(|word| !self.lifted.is_newer_than(word.halt.halt_id, listed))
            .cloned()
            .collect::<Vec<_>>();
        for word in news {
            self.take_halt(word);
        }
    }

    /// Finds what is held and was not listed in the ledger's answer, which lists everything that concerns us. What is new is asked about at once.
    pub(super) fn ask_about_halts(&mut self, listed: &BTreeSet<HaltId>) {
        let is_unlisted = |id: &&HaltId| !listed.contains(*id) && !id.as_uuid().is_nil();
        let unlisted: BTreeSet<HaltId> = self.halts.keys().filter(is_unlisted).copied().collect();
        if unlisted.difference(&self.unlisted).next().is_some() {
            self.out.push(Effect::Hello);
        }
        self.unlisted = unlisted;
    }

    /// The envelopes of the halts that the next hello asks about.
    pub(super) fn halts_in_question(&self) -> Vec<Vec<u8>> {
        let envelopes = self.unlisted.iter().filter_map(|id| self.halts.get(id));
        let mut bytes = 0;
        let fits = |envelope: &&Vec<u8>| {
            bytes += envelope.len().div_ceil(3) * 4;
            bytes <= LIFTS_BYTES_MAX
        };
        let envelopes = envelopes.map(|word| &word.envelope).take(LIFTS_MAX);
        envelopes.take_while(fits).cloned().collect()
    }

    /// What agents did before a lift was asked for.
    #[cfg(feature = "planted")]
    fn drop_unlisted(&mut self, listed: &Listed) {
        if !writ_protocol::planted::is(writ_protocol::planted::Bug::HaltDroppedUnlifted) {
            return;
        }
        let is_named = |id: HaltId| listed.halts.iter().any(|word| word.halt.halt_id == id);
        let gone = |halt: &&Halt| halt.control_epoch < listed.control_epoch && !is_named(halt.halt_id);
        let gone: Vec<HaltId> = self
            .halts
            .values()
            .map(|word| &word.halt)
            .filter(gone)
            .map(|halt| halt.halt_id)
            .collect();
        for halt_id in gone {
            self.take_lift(LiftWord {
                halt_id,
                control_epoch: listed.control_epoch,
            });
        }
    }

    /// The hardest halt that covers an order; `project` is known once its bundle is.
    pub(super) fn halt_over(&self, order_id: OrderId, project: Option<&str>) -> Option<&Halt> {
        #[cfg(feature = "planted")]
        if writ_protocol::planted::is(writ_protocol::planted::Bug::HaltIgnored) {
            return None;
        }
        let halts = self.halts.values().map(|word| &word.halt);
        halts
            .filter(|halt| self.covers(halt, order_id, project))
            .max_by_key(|halt| halt.action)
    }

    /// How a halt stops an order.
    pub(super) fn stop_by(halt: &Halt) -> Stop {
        let detail = format!("halt {} by {}: {}", halt.halt_id, halt.set_by, halt.reason);
        match halt.action {
            HaltAction::Soft => Stop::soft(OrderOutcome::Stopped, Code::Halted, &detail),
            HaltAction::Hard | HaltAction::Lockdown => {
                Stop::hard(OrderOutcome::Aborted, Code::Halted, &detail)
            }
        }
    }

    /// Whether a halt can be about us at all.
    fn concerns(&self, word: &HaltWord) -> bool {
        match &word.halt.scope {
            Scope::All | Scope::Project(_) | Scope::Run(_) => true,
            Scope::Agent(agent_id) => *agent_id == self.settings.identity.agent_id,
            Scope::Environment(name) => match &self.settings.environment {
                Some(ours) => ours == name,
                None => word.addressed,
            },
        }
    }

    fn covers(&self, halt: &Halt, order_id: OrderId, project: Option<&str>) -> bool {
        match &halt.scope {
            Scope::All | Scope::Agent(_) | Scope::Environment(_) => true,
            Scope::Project(name) => project == Some(name),
            Scope::Run(run_id) => self
                .held
                .get(&order_id)
                .is_some_and(|held| held.order.run_id == *run_id),
        }
    }

    fn covered(&self, halt: &Halt) -> Vec<OrderId> {
        let project = |id: OrderId| {
            self.running
                .as_ref()
                .filter(|r| r.order_id == id)
                .and_then(|r| r.project.as_deref())
        };
        self.held
            .keys()
            .copied()
            .filter(|id| self.covers(halt, *id, project(*id)))
            .collect()
    }
}
