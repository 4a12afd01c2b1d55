//! Where what the desk does stands in traces: which trace a run belongs to, and which spans stand for it, its orders and their steps.
//!
//! The spans of what has ids of its own are made from those ids, so that a repeat is the same span, whichever controller tells of it. What agents did is
//! told from the records that they signed: once for each, by the transaction that took it, and by the clock of its host.

pub(super) mod spans;

use std::collections::BTreeMap;

use writ_chassis::ids::begin_trace;
use writ_protocol::id::{AgentId, OrderId, RunId};
use writ_protocol::manifest::Generation;
use writ_protocol::trace::{TraceContext, span_of};
use writ_store::order::traced::Traced;
use writ_store::run::Run;

use super::{App, Caller, Published};
use crate::traces::Traces;

impl App {
    /// Where spans are handed over.
    pub const fn traces(&self) -> &Traces {
        &self.settings.traces
    }

    /// Where the trace of a new run goes on from: the request that made it. One that no request made is where its trace begins.
    pub(super) fn trace_of_run(&self, caller: &Caller, run_id: RunId) -> TraceContext {
        let begin = || begin_trace(self.ids.as_ref(), self.traces().is_on()).at(run(run_id));
        caller.trace.unwrap_or_else(begin)
    }

    /// Has each manifest name the trace of the newest order of its agent, and the orders whose spans are kept.
    pub(super) fn name_traces(&self, manifests: &mut [Published], traced: &[Traced]) {
        // The later of an agent's orders take the place of the earlier.
        let newest: BTreeMap<AgentId, &Traced> = traced.iter().map(|one| (one.agent_id, one)).collect();
        for one in manifests {
            let order = newest.get(&one.agent_id);
            one.trace = order.map(|order| order.trace.at(publish(order.order_id, one.at)));
            let awaited = traced
                .iter()
                .filter(|order| order.agent_id == one.agent_id && order.is_pending);
            one.awaited = awaited
                .filter(|order| self.traces().wants(&order.trace))
                .copied()
                .collect();
        }
    }
}

/// Of a run.
pub(super) fn run(id: RunId) -> u64 {
    span_of(&["run", &id.to_string()])
}

/// Of an order.
pub(super) fn order(id: OrderId) -> u64 {
    span_of(&["order", &id.to_string()])
}

/// Of one time that an order was put on the bus.
pub(super) fn publish(id: OrderId, at: Generation) -> u64 {
    let (epoch, generation) = (at.epoch.to_string(), at.generation.to_string());
    span_of(&["publish", &id.to_string(), &epoch, &generation])
}

/// As the feed and the API tell it.
pub(super) fn text(run: &Run) -> Option<String> {
    run.traceparent.map(|place| place.to_string())
}
