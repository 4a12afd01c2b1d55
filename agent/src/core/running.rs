//! The order that is being carried out: its steps, what became of them, and why it stops.

use std::collections::BTreeMap;

use writ_protocol::evidence::{STEPS_MAX, StepSummary};
use writ_protocol::exec::Usage;
use writ_protocol::id::OrderId;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, StepOutcome, StepResult};
use writ_protocol::time::Timestamp;

use super::rehearsal::Rehearsal;
use super::{Progress, Seen, StepPlan};

/// Where the running order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its bundle is on the way.
    Fetching,
    /// Nothing is under way; the next step may start.
    Between,
    /// After a restart, until the ledger renews the lease.
    Waiting,
    /// A step is being looked at.
    Observing(usize),
    /// A step is being carried out.
    Applying(usize),
}

/// Why an order stops before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) outcome: OrderOutcome,
    pub(super) code: Code,
    pub(super) detail: String,
    /// 0: between steps; 1: the step is asked to end; 2: it is killed.
    pub(super) force: u8,
}

impl Stop {
    /// The running step ends by itself, no further one starts.
    pub(super) fn soft(outcome: OrderOutcome, code: Code, detail: &str) -> Self {
        Self {
            outcome,
            code,
            detail: detail.to_owned(),
            force: 0,
        }
    }

    /// The running step is asked to end.
    pub(super) fn firm(outcome: OrderOutcome, code: Code, detail: &str) -> Self {
        Self {
            force: 1,
            ..Self::soft(outcome, code, detail)
        }
    }

    /// The running step is killed.
    pub(super) fn hard(outcome: OrderOutcome, code: Code, detail: &str) -> Self {
        Self {
            force: 2,
            ..Self::soft(outcome, code, detail)
        }
    }
}

/// The order that is being carried out.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) order_id: OrderId,
    pub(super) stage: Stage,
    pub(super) project: Option<String>,
    pub(super) started_at: Timestamp,
    pub(super) resume: BTreeMap<String, Progress>,
    pub(super) summaries: Vec<StepSummary>,
    pub(super) changed: u32,
    pub(super) unchanged: u32,
    pub(super) failed: u32,
    pub(super) cost_micros: u64,
    /// What attempts of an earlier life may have cost that left no result: counted against the grant, for it may have been spent.
    pub(super) unknown_micros: u64,
    pub(super) steps: Vec<StepPlan>,
    /// By step: whether it ended well; `None` before its end.
    pub(super) ended: Vec<Option<bool>>,
    /// Every step before this one has ended.
    pub(super) first_open: usize,
    pub(super) notified: Vec<bool>,
    pub(super) not_started: u32,
    pub(super) summarised: u32,
    pub(super) has_indeterminate: bool,
    pub(super) first_failure: Option<(Code, String)>,
    pub(super) stop: Option<Stop>,
    /// How hard the step under way was already told to end.
    pub(super) told: Option<u8>,
    pub(super) before: Option<(Seen, Timestamp)>,
    pub(super) rehearsal: Rehearsal,
    /// What the step under way had used when it was looked at last.
    pub(super) metered: Option<Usage>,
    /// What looking used at steps that did not start then, by number; no result accounts for it.
    pub(super) looked: BTreeMap<usize, Usage>,
}

/// How an order ended, in one word.
pub(super) struct Verdict {
    pub(super) outcome: OrderOutcome,
    pub(super) code: Option<Code>,
    pub(super) detail: String,
}

impl Running {
    pub(super) fn new(order_id: OrderId, started_at: Timestamp) -> Self {
        Self {
            order_id,
            stage: Stage::Between,
            project: None,
            started_at,
            resume: BTreeMap::new(),
            summaries: Vec::new(),
            changed: 0,
            unchanged: 0,
            failed: 0,
            cost_micros: 0,
            unknown_micros: 0,
            steps: Vec::new(),
            ended: Vec::new(),
            first_open: 0,
            notified: Vec::new(),
            not_started: 0,
            summarised: 0,
            has_indeterminate: false,
            first_failure: None,
            stop: None,
            told: None,
            before: None,
            rehearsal: Rehearsal::default(),
            metered: None,
            looked: BTreeMap::new(),
        }
    }

    /// Stops it; a harder stop takes the place of a softer one.
    pub(super) fn stop(&mut self, stop: Stop) {
        if self
            .stop
            .as_ref()
            .is_none_or(|present| present.force < stop.force)
        {
            self.stop = Some(stop);
        }
    }

    pub(super) fn omitted(&self) -> u32 {
        self.summarised
            .saturating_sub(u32::try_from(self.summaries.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn skipped(&self) -> u32 {
        let open = self.ended.iter().filter(|ended| ended.is_none()).count();
        self.not_started
            .saturating_add(u32::try_from(open).unwrap_or(u32::MAX))
    }

    pub(super) fn verdict(&self) -> Verdict {
        let verdict = |outcome, code, detail: &str| Verdict {
            outcome,
            code,
            detail: detail.to_owned(),
        };
        match (&self.stop, &self.first_failure) {
            #[cfg(feature = "planted")]
            _ if self.has_indeterminate
                && writ_protocol::planted::is(writ_protocol::planted::Bug::IndeterminateHidden) =>
            {
                verdict(OrderOutcome::Succeeded, None, "")
            }
            _ if self.has_indeterminate => {
                let detail = "a step that must not start twice was under way at a crash";
                verdict(OrderOutcome::Indeterminate, Some(Code::Indeterminate), detail)
            }
            (Some(stop), _) => verdict(stop.outcome, Some(stop.code), &stop.detail),
            (None, Some((code, detail))) => verdict(OrderOutcome::Failed, Some(*code), detail),
            (None, None) => verdict(OrderOutcome::Succeeded, None, ""),
        }
    }

    pub(super) fn next(&self) -> Option<(usize, &StepPlan)> {
        let open = self
            .ended
            .get(self.first_open..)?
            .iter()
            .position(Option::is_none)?;
        let index = self.first_open.saturating_add(open);
        self.steps.get(index).map(|step| (index, step))
    }

    /// What the rehearsal saw of a step that needs no second look; it then counts as looked at.
    pub(super) fn settled(&mut self, index: usize) -> Option<Seen> {
        let is_notified = self.notified.get(index) == Some(&true);
        let seen = self.rehearsal.settled(index).filter(|_| !is_notified)?;
        self.stage = Stage::Observing(index);
        Some(seen)
    }

    pub(super) fn close(&mut self, index: usize, well: bool) {
        if let Some(slot) = self.ended.get_mut(index) {
            *slot = Some(well);
        }
        while matches!(self.ended.get(self.first_open), Some(Some(_))) {
            self.first_open = self.first_open.saturating_add(1);
        }
        self.before = None;
        self.metered = None;
        self.told = None;
        self.stage = Stage::Between;
    }

    /// Books the result of a step that ended before the restart; its record is in the journal.
    pub(super) fn book_again(&mut self, index: usize, result: &StepResult) {
        self.book(index, result);
        let did_not_start =
            result.outcome == StepOutcome::Skipped && result.code == Some(Code::GrantExhausted);
        if result.outcome == StepOutcome::Aborted || did_not_start {
            // So did the order, but for its last record: that what stopped it is over by now does not let it go on.
            let (code, outcome) = match result.code {
                Some(code @ (Code::Draining | Code::Quarantined | Code::GrantExhausted)) => {
                    (code, OrderOutcome::Stopped)
                }
                code => (code.unwrap_or(Code::StepFailed), OrderOutcome::Aborted),
            };
            self.stop(Stop::soft(outcome, code, &result.detail));
        }
    }

    /// Books a result: counters, notifications, the summary for the statement.
    pub(super) fn book(&mut self, index: usize, result: &StepResult) {
        let count = |counter: &mut u32| *counter = counter.saturating_add(1);
        let (well, is_worth_reading) = match result.outcome {
            StepOutcome::Changed | StepOutcome::WouldChange => {
                count(&mut self.changed);
                (true, true)
            }
            StepOutcome::Unchanged => {
                count(&mut self.unchanged);
                (true, result.usage.cpu_us() > 0)
            }
            StepOutcome::Skipped => {
                count(&mut self.not_started);
                (result.code.is_none(), false)
            }
            StepOutcome::Failed => {
                count(&mut self.failed);
                (false, true)
            }
            StepOutcome::Aborted => (false, true),
            StepOutcome::Indeterminate => {
                self.has_indeterminate = true;
                (false, true)
            }
        };
        if matches!(result.outcome, StepOutcome::Changed | StepOutcome::WouldChange) {
            let targets = self
                .steps
                .get(index)
                .map(|step| step.notify.clone())
                .unwrap_or_default();
            for target in targets {
                if let Some(slot) = self.notified.get_mut(target) {
                    *slot = true;
                }
            }
        }
        if result.outcome == StepOutcome::Failed && self.first_failure.is_none() {
            let code = result.code.unwrap_or(Code::StepFailed);
            self.first_failure = Some((code, format!("{}: {}", result.step, result.detail)));
        }
        self.summarised = self.summarised.saturating_add(1);
        if is_worth_reading && self.summaries.len() < STEPS_MAX {
            self.summaries.push(summary(result));
        }
        self.cost_micros = self.cost_micros.saturating_add(result.cost_micros);
        self.close(index, well);
    }
}

fn summary(result: &StepResult) -> StepSummary {
    StepSummary {
        step: result.step.clone(),
        outcome: result.outcome,
        code: result.code,
        exit: result.exit.clone(),
        limits: result.limits.clone(),
        isolation: result.isolation,
        usage: result.usage.clone(),
        cost_micros: result.cost_micros,
        artefacts: result.artefacts.clone(),
    }
}
