//! One order's way through its steps: what starts next, what a result means, and when to stop.
//!
//! A step is looked at first; only where something differs does an intent become durable and the step start. Between steps stand the lease,
//! the halts, the grant and the drain.

use std::collections::BTreeMap;
use std::sync::Arc;

use writ_chassis::clock::BootInstant;
use writ_protocol::digest::Digest;
use writ_protocol::evidence::{STEPS_MAX, StepSummary};
use writ_protocol::exec::{Meter, StepMode, Usage};
use writ_protocol::id::OrderId;
use writ_protocol::manifest::OrderKind;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, Record, StepIntent, StepOutcome, StepResult};
use writ_protocol::time::Timestamp;

use super::{AgentCore, Effect, Failure, Now, Progress, Ran, Seen, StepPlan, StepRef};

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
    outcome: OrderOutcome,
    code: Code,
    detail: String,
    /// 0: between steps; 1: the step is asked to end; 2: it is killed.
    force: u8,
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
    steps: Vec<StepPlan>,
    /// By step: whether it ended well; `None` before its end.
    ended: Vec<Option<bool>>,
    notified: Vec<bool>,
    not_started: u32,
    summarised: u32,
    has_indeterminate: bool,
    first_failure: Option<(Code, String)>,
    stop: Option<Stop>,
    /// How hard the step under way was already told to end.
    told: Option<u8>,
    before: Option<(Seen, Timestamp)>,
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
            steps: Vec::new(),
            ended: Vec::new(),
            notified: Vec::new(),
            not_started: 0,
            summarised: 0,
            has_indeterminate: false,
            first_failure: None,
            stop: None,
            told: None,
            before: None,
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
            _ if self.has_indeterminate => {
                let detail = "a step that must not start twice was under way at a crash";
                verdict(OrderOutcome::Indeterminate, Some(Code::Indeterminate), detail)
            }
            (Some(stop), _) => verdict(stop.outcome, Some(stop.code), &stop.detail),
            (None, Some((code, detail))) => verdict(OrderOutcome::Failed, Some(*code), detail),
            (None, None) => verdict(OrderOutcome::Succeeded, None, ""),
        }
    }

    fn next(&self) -> Option<(usize, &StepPlan)> {
        let index = self.ended.iter().position(Option::is_none)?;
        self.steps.get(index).map(|step| (index, step))
    }

    fn close(&mut self, index: usize, well: bool) {
        if let Some(slot) = self.ended.get_mut(index) {
            *slot = Some(well);
        }
        self.before = None;
        self.told = None;
        self.stage = Stage::Between;
    }

    /// Books a result: counters, notifications, the summary for the statement.
    fn book(&mut self, index: usize, result: &StepResult) {
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

impl AgentCore {
    pub(super) fn begin_steps(&mut self, order_id: OrderId, project: String, steps: Vec<StepPlan>, now: Now) {
        let started_at = self.corrected(now.wall);
        let Some(running) = self
            .running
            .as_mut()
            .filter(|r| r.order_id == order_id && r.stage == Stage::Fetching)
        else {
            return;
        };
        running.ended = vec![None; steps.len()];
        running.notified = vec![false; steps.len()];
        (running.steps, running.project, running.stage) = (steps, Some(project), Stage::Between);
        running.started_at = started_at;
    }

    pub(super) fn bundle_failed(&mut self, order_id: OrderId, failure: Failure) {
        let running = self
            .running
            .as_mut()
            .filter(|r| r.order_id == order_id && r.stage == Stage::Fetching);
        if let Some(running) = running {
            running.first_failure = Some((failure.code, failure.detail));
            running.stage = Stage::Between;
        }
    }

    /// Goes on as far as it goes without waiting.
    pub(super) fn advance(&mut self, now: Now) {
        self.end_stopped_waiters(now);
        while self.step_on(now) || self.next_order(now) {}
    }

    /// Ends orders that wait in the queue and never will start.
    fn end_stopped_waiters(&mut self, now: Now) {
        let runs = self.running.as_ref().map(|r| r.order_id);
        let waiting: Vec<OrderId> = self.held.keys().copied().filter(|id| Some(*id) != runs).collect();
        for order_id in waiting {
            let stop = self.reason_to_stop(order_id, None);
            if let Some(stop) = stop {
                let mut never = Running::new(order_id, self.corrected(now.wall));
                never.stop(stop);
                self.end(never);
            }
        }
    }

    fn reason_to_stop(&self, order_id: OrderId, project: Option<&str>) -> Option<Stop> {
        if self.held.get(&order_id).is_some_and(|held| held.is_cancelled) {
            return Some(Stop::firm(
                OrderOutcome::Aborted,
                Code::Cancelled,
                "the order was cancelled",
            ));
        }
        self.halt_over(order_id, project).map(Self::stop_by)
    }

    /// One move of the running order; whether another may follow.
    fn step_on(&mut self, now: Now) -> bool {
        let Some(mut running) = self.running.take() else {
            return false;
        };
        if let Some(stop) = self.reason_to_stop(running.order_id, running.project.as_deref()) {
            running.stop(stop);
        }
        if self.is_quarantined {
            running.stop(Stop::soft(
                OrderOutcome::Stopped,
                Code::Quarantined,
                "the agent is in quarantine",
            ));
        }
        let is_under_way = matches!(running.stage, Stage::Observing(_) | Stage::Applying(_));
        if is_under_way {
            if let Some(stop) = running
                .stop
                .clone()
                .filter(|stop| stop.force > running.told.unwrap_or(0))
            {
                running.told = Some(stop.force);
                let (order_id, hard) = (running.order_id, stop.force > 1);
                self.out.push(Effect::Stop {
                    order_id,
                    hard,
                    reason: stop.detail,
                });
            }
            self.running = Some(running);
            return false;
        }
        if running.stop.is_none() && running.stage == Stage::Fetching {
            self.running = Some(running);
            return false;
        }
        let is_over = running.stop.is_some() || running.first_failure.is_some() && running.steps.is_empty();
        let next = running.next().map(|(index, step)| (index, step.clone()));
        match next.filter(|_| !is_over) {
            None => self.end(running),
            Some((index, step)) => self.start(running, index, &step, now),
        }
        self.running
            .as_ref()
            .is_none_or(|r| r.stage == Stage::Between || r.stop.is_some())
    }

    fn start(&mut self, mut running: Running, index: usize, step: &StepPlan, now: Now) {
        let at = self.corrected(now.wall);
        let progress = running.resume.get(&step.id).cloned().unwrap_or_default();
        if let Some(result) = progress.result {
            // It ended before the restart, and its record is in the journal.
            running.book(index, &result);
        } else if progress.attempt > 0 && step.mode == StepMode::Once {
            let why = (
                Code::Indeterminate,
                "the agent ended while this step was under way; it is not started again".to_owned(),
            );
            let result = ended_early(running.order_id, step, StepOutcome::Indeterminate, Some(why), at);
            push_result(
                &mut running,
                index,
                StepResult {
                    attempt: progress.attempt,
                    ..result
                },
                &mut self.out,
            );
            self.out.push(Effect::Sync);
            // What follows may rest on it: a person decides.
            running.stop(Stop::soft(
                OrderOutcome::Indeterminate,
                Code::Indeterminate,
                "waits for a person",
            ));
        } else if let Some(failed) = step
            .depends_on
            .iter()
            .find(|on| running.ended.get(**on) != Some(&Some(true)))
        {
            let name = running
                .steps
                .get(*failed)
                .map(|step| step.id.clone())
                .unwrap_or_default();
            let why = (Code::DependencyFailed, format!("{name} did not succeed"));
            let result = ended_early(running.order_id, step, StepOutcome::Skipped, Some(why), at);
            push_result(&mut running, index, result, &mut self.out);
        } else if step.only_when_notified && running.notified.get(index) != Some(&true) {
            let result = ended_early(running.order_id, step, StepOutcome::Skipped, None, at);
            push_result(&mut running, index, result, &mut self.out);
        } else {
            match self.lease(&running, now) {
                Lease::Held => {
                    if let Some(held) = self.held.get(&running.order_id) {
                        self.out.push(Effect::Observe(step_ref(
                            held,
                            &running,
                            index,
                            step,
                            progress.attempt + 1,
                        )));
                        running.stage = Stage::Observing(index);
                    }
                }
                Lease::Wait => running.stage = Stage::Waiting,
                Lease::Lost => running.stop(lease_lost()),
            }
        }
        self.running = Some(running);
    }

    fn lease(&self, running: &Running, now: Now) -> Lease {
        let Some(held) = self.held.get(&running.order_id) else {
            return Lease::Lost;
        };
        let waits = |until: BootInstant| now.boot < until;
        if waits(held.lease_until) {
            Lease::Held
        } else if held.lease_wait.is_some_and(waits) {
            Lease::Wait
        } else {
            Lease::Lost
        }
    }

    pub(super) fn observed(
        &mut self,
        order_id: OrderId,
        index: usize,
        result: Result<Seen, Failure>,
        now: Now,
    ) {
        let at = self.corrected(now.wall);
        let Some(mut running) = self.running.take() else {
            return;
        };
        let step = running.steps.get(index).cloned();
        let (Some(step), Some(held)) = (
            step.filter(|_| running.stage == Stage::Observing(index)),
            self.held.get(&order_id),
        ) else {
            self.running = Some(running);
            return;
        };
        running.stage = Stage::Between;
        let attempt = running
            .resume
            .get(&step.id)
            .map_or(1, |progress| progress.attempt + 1);
        let is_check = held.order.kind == OrderKind::Check;
        let grant = held.order.grant.amount_micros;
        let intent = step_ref(held, &running, index, &step, attempt);
        let kind_of = |seen: &Seen| match (seen.changes.is_empty(), is_check) {
            // Under way at the crash, and there now: it took effect.
            (true, _) if attempt > 1 => Some(StepOutcome::Changed),
            (true, _) => Some(StepOutcome::Unchanged),
            (false, true) => Some(StepOutcome::WouldChange),
            (false, false) => None,
        };
        match result {
            Err(_) if running.told.is_some() => running.told = None,
            Err(failure) => {
                let why = (failure.code, failure.detail);
                let result = ended_early(order_id, &step, StepOutcome::Failed, Some(why), at);
                push_result(
                    &mut running,
                    index,
                    StepResult { attempt, ..result },
                    &mut self.out,
                );
            }
            Ok(seen) => match kind_of(&seen) {
                Some(outcome) => {
                    let mut result = ended_early(order_id, &step, outcome, None, at);
                    (result.attempt, result.before, result.after) = (attempt, seen.digest, seen.digest);
                    (result.changes, result.usage) = (seen.changes, seen.usage);
                    result.cost_micros = price(held, &result.usage);
                    if outcome == StepOutcome::Changed {
                        "was under way at a restart and is done".clone_into(&mut result.detail);
                    }
                    push_result(&mut running, index, result, &mut self.out);
                }
                None if running.stop.is_some() => running.told = None,
                None if running.cost_micros >= grant => {
                    let detail = format!("{} of {grant} micro-units are spent", running.cost_micros);
                    running.stop(Stop::soft(OrderOutcome::Stopped, Code::GrantExhausted, &detail));
                }
                None if matches!(self.lease(&running, now), Lease::Lost | Lease::Wait) => {
                    running.stop(lease_lost());
                }
                None => {
                    self.out.push(intend(&intent, &step, seen.digest));
                    self.out.push(Effect::Sync);
                    self.out.push(Effect::Apply(intent));
                    (running.before, running.stage) = (Some((seen, at)), Stage::Applying(index));
                }
            },
        }
        self.running = Some(running);
    }

    pub(super) fn applied(&mut self, order_id: OrderId, index: usize, ran: Ran) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        let step = running.steps.get(index).cloned();
        let (Some(step), Some(held)) = (
            step.filter(|_| running.stage == Stage::Applying(index)),
            self.held.get(&order_id),
        ) else {
            self.running = Some(running);
            return;
        };
        let attempt = running
            .resume
            .get(&step.id)
            .map_or(1, |progress| progress.attempt + 1);
        let ended_at = Timestamp::from_micros(ran.ended_at.as_micros().saturating_add(self.offset_us));
        let (seen, started_at) = match running.before.take() {
            Some((seen, started_at)) => (Some(seen), started_at),
            None => (None, ended_at),
        };
        let was_aborted = ran.was_stopped && running.stop.is_some();
        let (outcome, code, detail) = match (&ran.failure, &running.stop) {
            (Some(_), Some(stop)) if was_aborted => {
                (StepOutcome::Aborted, Some(stop.code), stop.detail.clone())
            }
            (Some(failure), _) => (StepOutcome::Failed, Some(failure.code), failure.detail.clone()),
            (None, _) => (StepOutcome::Changed, None, String::new()),
        };
        let mut blobs: Vec<_> = ran.output.iter().cloned().collect();
        blobs.extend(ran.artefacts.iter().cloned());
        let mut usage = ran.usage;
        if let Some(seen) = &seen {
            usage.cpu_user_us = usage.cpu_user_us.saturating_add(seen.usage.cpu_user_us);
            usage.cpu_system_us = usage.cpu_system_us.saturating_add(seen.usage.cpu_system_us);
        }
        let result = StepResult {
            order_id,
            step: step.id.clone(),
            attempt,
            outcome,
            code,
            detail,
            before: seen.as_ref().map_or(Digest::ZERO, |seen| seen.digest),
            changes: seen.map(|seen| seen.changes).unwrap_or_default(),
            after: ran.after,
            exit: ran.exit,
            limits: ran.limits,
            isolation: ran.isolation,
            kill_confidence: ran.kill_confidence,
            cost_micros: price(held, &usage),
            usage,
            started_at,
            ended_at,
            output: ran.output.as_ref().map(super::Blob::reference),
            output_dropped: ran.output_dropped,
            artefacts: ran.artefacts.iter().map(super::Blob::reference).collect(),
        };
        push_result(&mut running, index, result, &mut self.out);
        if !blobs.is_empty() {
            self.out.push(Effect::Blobs { order_id, blobs });
        }
        self.out.push(Effect::Sync);
        self.running = Some(running);
    }
}

enum Lease {
    Held,
    Wait,
    Lost,
}

fn lease_lost() -> Stop {
    Stop::soft(
        OrderOutcome::Aborted,
        Code::LeaseExpired,
        "the lease ran out before the next step",
    )
}

/// The price by the order's own rate card; what cannot be priced counts as the whole grant.
fn price(held: &super::Held, usage: &Usage) -> u64 {
    let grant = &held.order.grant;
    grant.rates.price(usage).unwrap_or(grant.amount_micros)
}

fn step_ref(held: &super::Held, running: &Running, index: usize, step: &StepPlan, attempt: u32) -> StepRef {
    StepRef {
        order: Arc::clone(&held.order),
        index,
        id: step.id.clone(),
        attempt,
        notified: running.notified.get(index) == Some(&true),
        idempotency_key: Digest::of_parts(&[running.order_id.as_uuid().as_bytes(), step.id.as_bytes()]),
    }
}

fn intend(step: &StepRef, plan: &StepPlan, observed: Digest) -> Effect {
    Effect::Append(Record::StepIntent(StepIntent {
        order_id: step.order.order_id,
        step: step.id.clone(),
        attempt: step.attempt,
        mode: plan.mode,
        idempotency_key: step.idempotency_key,
        limits: plan.limits,
        observed,
    }))
}

fn push_result(running: &mut Running, index: usize, result: StepResult, out: &mut Vec<Effect>) {
    running.book(index, &result);
    out.push(Effect::Append(Record::StepResult(Box::new(result))));
}

/// The result of a step for which nothing was started.
fn ended_early(
    order_id: OrderId,
    step: &StepPlan,
    outcome: StepOutcome,
    why: Option<(Code, String)>,
    at: Timestamp,
) -> StepResult {
    let (code, detail) = why.map_or((None, String::new()), |(code, detail)| (Some(code), detail));
    StepResult {
        order_id,
        step: step.id.clone(),
        attempt: 1,
        outcome,
        code,
        detail,
        changes: Vec::new(),
        before: Digest::ZERO,
        after: Digest::ZERO,
        exit: None,
        limits: Vec::new(),
        isolation: None,
        kill_confidence: None,
        usage: Usage::none(Meter::Agent),
        cost_micros: 0,
        started_at: at,
        ended_at: at,
        output: None,
        output_dropped: 0,
        artefacts: Vec::new(),
    }
}
