//! The grant: what an order may spend, what it has spent, and the stop when that is all of it, between steps and while one is under way.

use writ_protocol::exec::{Exit, Meter, Usage};
use writ_protocol::id::OrderId;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderOutcome, StepOutcome};
use writ_protocol::time::Timestamp;

use super::running::{Running, Stage, Stop};
use super::steps::{ended_early, push_result};
use super::{AgentCore, Effect, Held, Ran};

impl AgentCore {
    /// The step that is looked at or carried out: its order, and its number in the graph.
    pub fn under_way(&self) -> Option<(OrderId, usize)> {
        let running = self.running.as_ref()?;
        match running.stage {
            Stage::Observing(index) | Stage::Applying(index) => Some((running.order_id, index)),
            Stage::Fetching | Stage::Between | Stage::Waiting => None,
        }
    }

    /// Takes what the step under way has used so far. Where that uses up the grant the step is asked to end; its sandbox kills what does not
    /// end within its grace.
    pub(super) fn metered(&mut self, order_id: OrderId, index: usize, usage: Usage) {
        if self.under_way() != Some((order_id, index)) {
            return;
        }
        let (Some(running), Some(held)) = (self.running.as_mut(), self.held.get(&order_id)) else {
            return;
        };
        let whole = running.with_look(usage.clone());
        running.metered = Some(usage);
        let looks = running.rehearsal.unbooked().map(|look| price(held, look));
        let spent = looks
            .chain([price(held, &whole)])
            .fold(running.cost_micros, u64::saturating_add);
        if running.is_spent(held, spent) {
            let detail = running.words(held, spent);
            running.stop(Stop::firm(OrderOutcome::Stopped, Code::GrantExhausted, &detail));
        }
    }
}

impl Running {
    /// What is left of the grant, micro-units.
    pub(super) fn left(&self, held: &Held) -> u64 {
        let taken = self.cost_micros.saturating_add(self.unknown_micros);
        held.order.grant.amount_micros.saturating_sub(taken)
    }

    /// Whether the grant is used up by so much, and by what may have been spent that nobody knows.
    pub(super) fn is_spent(&self, held: &Held, spent: u64) -> bool {
        #[cfg(feature = "planted")]
        if writ_protocol::planted::is(writ_protocol::planted::Bug::GrantIgnored) {
            return false;
        }
        spent.saturating_add(self.unknown_micros) >= held.order.grant.amount_micros
    }

    /// Stops before the next step because the grant is used up.
    pub(super) fn stop_at_grant(&mut self, held: &Held) {
        let detail = self.words(held, self.cost_micros);
        self.stop(Stop::soft(OrderOutcome::Stopped, Code::GrantExhausted, &detail));
    }

    /// What a step used with the look before it: what its result is priced by.
    pub(super) fn with_look(&self, mut usage: Usage) -> Usage {
        if let Some((seen, _)) = &self.before {
            usage.cpu_user_us = usage.cpu_user_us.saturating_add(seen.usage.cpu_user_us);
            usage.cpu_system_us = usage.cpu_system_us.saturating_add(seen.usage.cpu_system_us);
        }
        usage
    }

    /// What a look used that failed: known as far as the meter saw it.
    pub(super) fn seen_by_meter(&mut self) -> Usage {
        let seen = self.metered.take();
        Usage {
            lower_bound: true,
            ..seen.unwrap_or(Usage::none(Meter::Agent))
        }
    }

    /// Whether the step that has ended and cost so much was ended by us. Says in the stop what was spent in the end, where that is the grant.
    ///
    /// A step's limit on processor time is no more than the grant buys and its grace; where that was faster than the meter, it was the grant
    /// that ended the step.
    pub(super) fn was_ended(&mut self, held: &Held, ran: &Ran, cost: u64) -> bool {
        let spent = self.cost_micros.saturating_add(cost);
        let was_at_limit = matches!(&ran.exit, Some(Exit::Limit(name)) if name == "cpu");
        let by_limit = was_at_limit && self.is_spent(held, spent);
        let detail = self.words(held, spent);
        if by_limit {
            self.stop(Stop::firm(OrderOutcome::Stopped, Code::GrantExhausted, &detail));
        }
        match &mut self.stop {
            Some(stop) if stop.code == Code::GrantExhausted => {
                stop.detail = detail;
                ran.was_stopped || by_limit
            }
            Some(_) => ran.was_stopped,
            None => false,
        }
    }

    /// The last step ended by itself though the meter had asked it to: nothing was stopped.
    pub(super) fn forget_late_stop(&mut self) {
        let is_late = self.next().is_none();
        self.stop = self
            .stop
            .take()
            .filter(|stop| !is_late || stop.code != Code::GrantExhausted);
    }

    /// Books what looking cost at steps that the grant did not let start.
    pub(super) fn book_looks(&mut self, held: &Held, at: Timestamp, out: &mut Vec<Effect>) {
        let Some(detail) = self
            .stop
            .as_ref()
            .filter(|stop| stop.code == Code::GrantExhausted)
            .map(|stop| stop.detail.clone())
        else {
            return;
        };
        let mut looks = self.rehearsal.take_unbooked();
        looks.extend(std::mem::take(&mut self.looked));
        for (index, usage) in looks {
            let cost_micros = price(held, &usage);
            let is_open = self.ended.get(index) == Some(&None);
            let Some(step) = self
                .steps
                .get(index)
                .filter(|_| is_open && cost_micros > 0)
                .cloned()
            else {
                continue;
            };
            let why = (Code::GrantExhausted, detail.clone());
            let mut result = ended_early(self.order_id, &step, StepOutcome::Skipped, Some(why), at);
            (result.usage, result.cost_micros) = (usage, cost_micros);
            push_result(self, index, result, out);
        }
    }

    fn words(&self, held: &Held, spent: u64) -> String {
        let granted = held.order.grant.amount_micros;
        let told = format!("{spent} of {granted} micro-units are spent");
        match self.unknown_micros {
            0 => told,
            unknown => format!(
                "{told}, and up to {unknown} by what was under way when the agent ended; raise the grant and order it again"
            ),
        }
    }
}

/// The price by the order's own rate card; what cannot be priced counts as the whole grant.
pub(super) fn price(held: &Held, usage: &Usage) -> u64 {
    let grant = &held.order.grant;
    grant.rates.price(usage).unwrap_or(grant.amount_micros)
}
