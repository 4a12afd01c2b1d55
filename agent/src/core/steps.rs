//! One order's way through its steps: what starts next, what a result means, and when to stop.
//!
//! A step is looked at first; only where something differs does an intent become durable and the step start. Between steps stand the lease,
//! the halts, the grant and the drain.

use std::sync::Arc;

use writ_chassis::clock::BootInstant;
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Meter, StepMode, Usage};
use writ_protocol::id::OrderId;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, Record, StepOutcome, StepResult};
use writ_protocol::time::Timestamp;

use super::rehearsal::Rehearsal;
use super::running::{Running, Stage, Stop};
use super::{AgentCore, Effect, Failure, Now, StepPlan, StepRef};

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
        running.rehearsal = self.held.get(&order_id).map(Rehearsal::of).unwrap_or_default();
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
            // Out of quarantine is a person's decision, and so is what is ordered then: nothing waits for it here with a lease that it renews.
            let stop = self.reason_to_stop(order_id, None).or_else(|| self.quarantine());
            if let Some(stop) = stop {
                let mut never = Running::new(order_id, self.corrected(now.wall));
                never.stop(stop);
                self.end(never, now);
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

    fn quarantine(&self) -> Option<Stop> {
        let stop = || {
            Stop::soft(
                OrderOutcome::Stopped,
                Code::Quarantined,
                "the agent is in quarantine",
            )
        };
        self.is_quarantined.then(stop)
    }

    /// One move of the running order; whether another may follow.
    fn step_on(&mut self, now: Now) -> bool {
        let Some(mut running) = self.running.take() else {
            return false;
        };
        if let Some(stop) = self.reason_to_stop(running.order_id, running.project.as_deref()) {
            running.stop(stop);
        }
        if let Some(stop) = self.quarantine() {
            running.stop(stop);
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
        if running.stop.is_none() && running.rehearsal.is_under_way() {
            match self.rehearse(running, now) {
                Some(ready) => running = ready,
                None => return self.running.as_ref().is_some_and(|r| r.stop.is_some()),
            }
        }
        let is_over = running.stop.is_some() || running.first_failure.is_some() && running.steps.is_empty();
        let next = running.next().map(|(index, step)| (index, step.clone()));
        match next.filter(|_| !is_over) {
            None => self.end(running, now),
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
            running.book_again(index, &result);
        } else if progress.attempt > 0 && must_not_repeat(step) {
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
                    if let Some(seen) = running.settled(index) {
                        let order_id = running.order_id;
                        self.running = Some(running);
                        return self.observed(order_id, index, Ok(seen), now);
                    }
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

    pub(super) fn lease(&self, running: &Running, now: Now) -> Lease {
        let Some(held) = self.held.get(&running.order_id) else {
            return Lease::Lost;
        };
        #[cfg(feature = "planted")]
        if writ_protocol::planted::is(writ_protocol::planted::Bug::LeaseIgnored) {
            return Lease::Held;
        }
        let waits = |until: BootInstant| now.boot < until;
        if waits(held.lease_until) {
            Lease::Held
        } else if held.lease_wait.is_some_and(waits) {
            Lease::Wait
        } else {
            Lease::Lost
        }
    }
}

fn must_not_repeat(step: &StepPlan) -> bool {
    #[cfg(feature = "planted")]
    if writ_protocol::planted::is(writ_protocol::planted::Bug::OnceRetried) {
        return false;
    }
    step.mode == StepMode::Once
}

pub(super) enum Lease {
    Held,
    Wait,
    Lost,
}

pub(super) fn lease_lost() -> Stop {
    Stop::soft(
        OrderOutcome::Aborted,
        Code::LeaseExpired,
        "the lease ran out before the next step",
    )
}

pub(super) fn step_ref(
    held: &super::Held,
    running: &Running,
    index: usize,
    step: &StepPlan,
    attempt: u32,
) -> StepRef {
    StepRef {
        order: Arc::clone(&held.order),
        index,
        id: step.id.clone(),
        attempt,
        left_micros: running.left(held),
        notified: running.notified.get(index) == Some(&true),
        idempotency_key: Digest::of_parts(&[running.order_id.as_uuid().as_bytes(), step.id.as_bytes()]),
    }
}

pub(super) fn push_result(running: &mut Running, index: usize, result: StepResult, out: &mut Vec<Effect>) {
    running.book(index, &result);
    out.push(Effect::Append(Record::StepResult(Box::new(result))));
}

/// The result of a step for which nothing was started.
pub(super) fn ended_early(
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
        egress: None,
    }
}
