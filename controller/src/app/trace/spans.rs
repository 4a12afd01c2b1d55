//! The spans of runs, orders and steps, made from rows and from the records of agents. Names and attributes are told in docs/traces.md.

use std::collections::BTreeMap;

use writ_protocol::id::RunId;
use writ_protocol::record::{OrderAccepted, Record, StepOutcome, StepResult};
use writ_protocol::time::Timestamp;
use writ_protocol::trace::{TraceContext, span_of};
use writ_store::order::Order;
use writ_store::run::Run;
use writ_store::{Tx, run};

use super::publish;
use crate::app::ingest::Decoded;
use crate::app::{App, Error, Published};
use crate::traces::{Span, SpanKind, Value};

/// Places of runs in their traces.
type Places = BTreeMap<RunId, TraceContext>;

/// A span within a run that took no time and of which nothing is said yet.
fn within(place: TraceContext, (span, parent): (u64, u64), name: &str, at: Timestamp) -> Span {
    Span {
        place: place.at(span),
        parent: Some(parent),
        caused_by: None,
        name: name.to_owned(),
        kind: SpanKind::Internal,
        from: at,
        until: at,
        attributes: Vec::new(),
        failure: None,
    }
}

impl App {
    /// Places of the runs of orders, those of which spans are kept; asks the ledger only where any may be.
    pub(in crate::app) async fn places(&self, tx: &mut Tx, orders: &[Order]) -> Result<Places, Error> {
        if !self.traces().is_on() || orders.is_empty() {
            return Ok(Places::new());
        }
        let mut ids: Vec<RunId> = orders.iter().map(|one| one.run_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let runs = run::by_ids(tx, &ids).await?.into_iter();
        let place = |run: Run| Some((run.run_id, run.traceparent?));
        let all = runs.filter_map(place);
        Ok(all.filter(|(_, place)| self.traces().wants(place)).collect())
    }

    /// Hands over what manifests on the bus say of orders that their agents have not answered yet.
    pub fn note_published(&self, published: &[Published]) {
        let until = self.now();
        for one in published {
            let told = one.awaited.iter().map(|order| {
                let ids = (publish(order.order_id, one.at), super::order(order.order_id));
                Span {
                    kind: SpanKind::Producer,
                    until,
                    attributes: vec![
                        ("writ.order.id", order.order_id.to_string().into()),
                        ("writ.agent.id", one.agent_id.to_string().into()),
                        ("writ.manifest.generation", one.at.generation.into()),
                        ("messaging.system", "nats".into()),
                        ("messaging.operation.type", "send".into()),
                    ],
                    ..within(order.trace, ids, "order.publish", one.since)
                }
            });
            self.traces().note(told);
        }
    }
}

/// A run that has ended.
pub(in crate::app) fn of_run(run: &Run, hosts: u64) -> Option<Span> {
    let (place, until) = (run.traceparent?, run.ended_at?);
    let span = super::run(run.run_id);
    let state = run.state.name();
    Some(Span {
        // A run that nobody called for is where its trace begins.
        parent: Some(place.span()).filter(|parent| *parent != span),
        until,
        attributes: vec![
            ("writ.run.id", run.run_id.to_string().into()),
            ("writ.run.kind", run::kind_name(run.kind).into()),
            ("writ.run.state", state.into()),
            ("writ.project", run.project.as_str().into()),
            ("writ.ordered_by", run.ordered_by.as_str().into()),
            ("writ.orders", hosts.into()),
        ],
        failure: (state != "succeeded").then(|| state.to_owned()),
        ..within(place, (span, place.span()), "run", run.created_at)
    })
}

/// The transaction that settled a run.
pub(in crate::app) fn of_settling(run: &Run, (from, until): (Timestamp, Timestamp)) -> Option<Span> {
    let place = run.traceparent?;
    let span = span_of(&["settle", &run.run_id.to_string(), &from.as_micros().to_string()]);
    Some(Span {
        until,
        attributes: vec![("writ.run.id", run.run_id.to_string().into())],
        ..within(place, (span, super::run(run.run_id)), "run.settle", from)
    })
}

/// A plan that was made from a check.
pub(in crate::app) fn of_plan(
    run: &Run,
    digest: &str,
    (from, until): (Timestamp, Timestamp),
) -> Option<Span> {
    let place = run.traceparent?;
    let span = span_of(&["plan", &run.run_id.to_string()]);
    Some(Span {
        until,
        attributes: vec![
            ("writ.run.id", run.run_id.to_string().into()),
            ("writ.plan.digest", digest.into()),
        ],
        ..within(place, (span, super::run(run.run_id)), "plan", from)
    })
}

/// An order that has ended, as far as the ledger knows.
pub(in crate::app) fn of_order(order: &Order, places: &Places) -> Option<Span> {
    let place = *places.get(&order.run_id)?;
    let state = order.state.name();
    let why = order.code.as_deref().unwrap_or(state);
    Some(Span {
        until: order.ended_at?,
        attributes: vec![
            ("writ.run.id", order.run_id.to_string().into()),
            ("writ.order.id", order.order_id.to_string().into()),
            ("writ.order.state", state.into()),
            ("writ.agent.id", order.agent_id.to_string().into()),
            ("host.name", order.agent_name.as_str().into()),
        ],
        failure: (state != "succeeded").then(|| why.to_owned()),
        ..within(
            place,
            (super::order(order.order_id), super::run(order.run_id)),
            "order",
            order.issued_at,
        )
    })
}

/// Everything that records of a pass tell of orders, and the pass itself: what it did for each order, from `from` on. When it ends is set by whoever
/// commits it.
pub(in crate::app) fn of_records(
    decoded: &[Decoded<'_>],
    orders: &[Order],
    places: &Places,
    from: Timestamp,
) -> Vec<Span> {
    let known: BTreeMap<_, _> = orders.iter().map(|one| (one.order_id, one)).collect();
    let (mut spans, mut taken) = (Vec::new(), BTreeMap::new());
    for one in decoded {
        let Ok(Some(record)) = &one.record else { continue };
        let order = record.order_id().and_then(|id| known.get(&id).copied());
        // What another agent says of an order is no word of it.
        let Some(order) = order.filter(|order| order.agent_id == one.event.agent_id) else {
            continue;
        };
        let Some(place) = places.get(&order.run_id) else {
            continue;
        };
        let (_, first, last) = taken
            .entry(order.order_id)
            .or_insert((order, one.event.seq, one.event.seq));
        (*first, *last) = ((*first).min(one.event.seq), (*last).max(one.event.seq));
        match record {
            Record::OrderAccepted(said) => spans.push(of_accepted(said, order, *place, one.event.wall)),
            Record::StepResult(said) => spans.push(of_step(said, order, *place)),
            Record::OrderDone(_) | Record::OrderRefused(_) => spans.extend(of_order(order, places)),
            _ => {}
        }
    }
    for (order, first, last) in taken.into_values() {
        let Some(place) = places.get(&order.run_id) else {
            continue;
        };
        let id = order.order_id.to_string();
        let span = span_of(&["ingest", &id, &first.to_string()]);
        spans.push(Span {
            kind: SpanKind::Consumer,
            attributes: vec![
                ("writ.order.id", id.into()),
                ("host.name", order.agent_name.as_str().into()),
                ("writ.record.first", first.into()),
                ("writ.record.last", last.into()),
                ("messaging.system", "nats".into()),
                ("messaging.operation.type", "process".into()),
            ],
            ..within(*place, (span, super::order(order.order_id)), INGEST, from)
        });
    }
    spans
}

/// The span of a pass of ingest.
const INGEST: &str = "record.ingest";

/// Says when the pass was committed.
pub(in crate::app) fn committed(spans: &mut [Span], at: Timestamp) {
    for span in spans.iter_mut().filter(|span| span.name == INGEST) {
        span.until = at;
    }
}

fn of_accepted(said: &OrderAccepted, order: &Order, place: TraceContext, at: Timestamp) -> Span {
    let id = order.order_id.to_string();
    let ids = (span_of(&["receive", &id]), super::order(order.order_id));
    Span {
        kind: SpanKind::Consumer,
        caused_by: Some(publish(order.order_id, said.at)),
        attributes: vec![
            ("writ.order.id", id.into()),
            ("writ.manifest.generation", said.at.generation.into()),
            ("host.name", order.agent_name.as_str().into()),
            ("messaging.system", "nats".into()),
            ("messaging.operation.type", "receive".into()),
        ],
        ..within(place, ids, "order.receive", at)
    }
}

fn of_step(said: &StepResult, order: &Order, place: TraceContext) -> Span {
    let (id, attempt) = (order.order_id.to_string(), u64::from(said.attempt));
    let span = span_of(&["step", &id, &said.step, &attempt.to_string()]);
    let is_fine = !matches!(
        said.outcome,
        StepOutcome::Failed | StepOutcome::Aborted | StepOutcome::Indeterminate
    );
    let code = said.code.map(|code| code.to_string());
    let mut attributes: Vec<(&'static str, Value)> = vec![
        ("writ.order.id", id.into()),
        ("writ.step.id", said.step.as_str().into()),
        ("writ.step.attempt", attempt.into()),
        ("writ.step.outcome", said.outcome.name().into()),
        ("writ.step.cost_micros", said.cost_micros.into()),
        ("writ.step.artefacts", (said.artefacts.len() as u64).into()),
        ("host.name", order.agent_name.as_str().into()),
    ];
    attributes.extend(code.iter().map(|code| ("writ.code", code.as_str().into())));
    Span {
        // By the clock of its host, and within what a calendar has.
        from: writ_store::writable(said.started_at),
        until: writ_store::writable(said.ended_at),
        attributes,
        failure: (!is_fine).then(|| code.unwrap_or_else(|| said.outcome.name().to_owned())),
        ..within(
            place,
            (span, super::order(order.order_id)),
            "step",
            said.started_at,
        )
    }
}
