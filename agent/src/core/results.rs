//! What became of a step: looked at, carried out, and what follows from that.

use writ_protocol::digest::Digest;
use writ_protocol::id::OrderId;
use writ_protocol::manifest::OrderKind;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, Record, StepIntent, StepOutcome, StepResult};
use writ_protocol::time::Timestamp;

use super::grant::price;
use super::rehearsal::rehearsed;
use super::running::{Stage, Stop};
use super::steps::{Lease, ended_early, lease_lost, push_result, step_ref};
use super::{AgentCore, Effect, Failure, Now, Ran, Seen, StepPlan, StepRef};

impl AgentCore {
    pub(super) fn observed(
        &mut self,
        order_id: OrderId,
        index: usize,
        mut result: Result<Seen, Failure>,
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
        let mut looked = running.seen_by_meter();
        if running.rehearsal.is_under_way() {
            rehearsed(&mut running, index, result, looked);
            self.running = Some(running);
            return;
        }
        if let Ok(seen) = &mut result {
            running.rehearsal.charge(index, seen);
        }
        let attempt = running
            .resume
            .get(&step.id)
            .map_or(1, |progress| progress.attempt + 1);
        let is_check = held.order.kind == OrderKind::Check;
        if let Ok(seen) = &result {
            looked.clone_from(&seen.usage);
        }
        let intent = step_ref(held, &running, index, &step, attempt);
        match result {
            Err(_) if running.told.is_some() => running.told = None,
            Err(failure) => {
                let why = (failure.code, failure.detail);
                let mut result = ended_early(order_id, &step, StepOutcome::Failed, Some(why), at);
                (result.attempt, result.cost_micros) = (attempt, price(held, &looked));
                result.usage = looked.clone();
                push_result(&mut running, index, result, &mut self.out);
            }
            Ok(seen) => match nothing_to_do(&seen, attempt, is_check) {
                Some(outcome) => {
                    let mut result = ended_early(order_id, &step, outcome, None, at);
                    result.attempt = attempt;
                    looked_at(&mut result, seen);
                    result.cost_micros = price(held, &result.usage);
                    push_result(&mut running, index, result, &mut self.out);
                    running.forget_late_stop();
                }
                None if running.stop.is_some() => running.told = None,
                None if running.rehearsal.has_moved(index, &seen) => running.stop(has_moved(&step)),
                None if running.is_spent(held, running.cost_micros) => running.stop_at_grant(held),
                None if matches!(self.lease(&running, now), Lease::Lost | Lease::Wait) => {
                    running.stop(lease_lost());
                }
                None => {
                    self.out.push(intend(&intent, &step, seen.digest));
                    self.out.push(Effect::Sync);
                    #[cfg(feature = "planted")]
                    self.unsync(writ_protocol::planted::Bug::IntentUnsynced);
                    self.out.push(Effect::Apply(intent));
                    running.rehearsal.outdate();
                    (running.before, running.stage) = (Some((seen, at)), Stage::Applying(index));
                }
            },
        }
        if running.stage == Stage::Between && running.ended.get(index) == Some(&None) {
            running.looked.insert(index, looked);
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
        let usage = running.with_look(ran.usage.clone());
        let cost_micros = price(held, &usage);
        let was_aborted = running.was_ended(held, &ran, cost_micros);
        let (seen, started_at) = match running.before.take() {
            Some((seen, started_at)) => (Some(seen), started_at),
            None => (None, ended_at),
        };
        let (outcome, code, detail) = match (&ran.failure, &running.stop) {
            (Some(_), Some(stop)) if was_aborted => {
                (StepOutcome::Aborted, Some(stop.code), stop.detail.clone())
            }
            (Some(failure), _) => (StepOutcome::Failed, Some(failure.code), failure.detail.clone()),
            (None, _) => (StepOutcome::Changed, None, String::new()),
        };
        let mut blobs: Vec<_> = ran.output.iter().cloned().collect();
        blobs.extend(ran.artefacts.iter().cloned());
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
            cost_micros,
            usage,
            started_at,
            ended_at,
            output: ran.output.as_ref().map(super::Blob::reference),
            output_dropped: ran.output_dropped,
            artefacts: ran.artefacts.iter().map(super::Blob::reference).collect(),
            egress: ran.egress,
        };
        push_result(&mut running, index, result, &mut self.out);
        if !was_aborted {
            running.forget_late_stop();
        }
        if !blobs.is_empty() {
            self.out.push(Effect::Blobs { order_id, blobs });
        }
        self.out.push(Effect::Sync);
        self.running = Some(running);
    }
}

fn has_moved(step: &StepPlan) -> Stop {
    let detail = format!(
        "{} changed while the host was looked at; nothing was changed",
        step.id
    );
    Stop::soft(OrderOutcome::Failed, Code::Stale, &detail)
}

/// The outcome of a step that has nothing to do; none where it has.
fn nothing_to_do(seen: &Seen, attempt: u32, is_check: bool) -> Option<StepOutcome> {
    match (seen.changes.is_empty(), is_check) {
        // Under way at the crash, and there now: it took effect.
        (true, _) if attempt > 1 => Some(StepOutcome::Changed),
        (true, _) => Some(StepOutcome::Unchanged),
        (false, true) => Some(StepOutcome::WouldChange),
        (false, false) => None,
    }
}

fn looked_at(result: &mut StepResult, seen: Seen) {
    (result.before, result.after) = (seen.digest, seen.digest);
    (result.changes, result.usage) = (seen.changes, seen.usage);
    if result.outcome == StepOutcome::Changed {
        "was under way at a restart and is done".clone_into(&mut result.detail);
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
