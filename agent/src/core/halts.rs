//! Stops that somebody signed: which of our orders they cover, and how hard.
//!
//! A halt holds until its lift comes, or until the ledger, in a signed word of a later control epoch, no longer lists it: an agent that was
//! away must be able to learn of a lift that it missed.

use writ_protocol::halt::{Halt, HaltAction, Scope};
use writ_protocol::id::{HaltId, OrderId};
use writ_protocol::reason::Code;
use writ_protocol::record::{HaltObserved, OrderOutcome, Record};

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

impl AgentCore {
    pub(super) fn take_halt(&mut self, word: HaltWord) {
        if self.halts.contains_key(&word.halt.halt_id) {
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
        self.out.push(Effect::KeepHalts(
            self.halts.values().map(|word| word.envelope.clone()).collect(),
        ));
        self.out.push(Effect::Append(Record::HaltObserved(HaltObserved {
            halt_id: halt.halt_id,
            control_epoch: halt.control_epoch,
            lifted: false,
            stopped,
        })));
        self.out.push(Effect::Sync);
    }

    pub(super) fn take_lift(&mut self, halt_id: HaltId, control_epoch: u64) {
        if self.halts.remove(&halt_id).is_none() {
            return;
        }
        self.control_epoch = self.control_epoch.max(control_epoch);
        self.out.push(Effect::Append(Record::HaltObserved(HaltObserved {
            halt_id,
            control_epoch,
            lifted: true,
            stopped: Vec::new(),
        })));
        self.out.push(Effect::Sync);
        // Only now: a crash in between leaves a halt that is lifted twice, and never one that ended without a word.
        self.out.push(Effect::KeepHalts(
            self.halts.values().map(|word| word.envelope.clone()).collect(),
        ));
    }

    /// Takes the ledger's list of halts in force as of a control epoch.
    pub(super) fn settle_halts(&mut self, control_epoch: u64, listed: Vec<HaltWord>) {
        let gone: Vec<HaltId> = self
            .halts
            .values()
            .map(|word| &word.halt)
            .filter(|halt| {
                halt.control_epoch < control_epoch
                    && listed.iter().all(|word| word.halt.halt_id != halt.halt_id)
            })
            .map(|halt| halt.halt_id)
            .collect();
        for word in listed {
            self.take_halt(word);
        }
        for halt_id in gone {
            self.take_lift(halt_id, control_epoch);
        }
        self.control_epoch = self.control_epoch.max(control_epoch);
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
