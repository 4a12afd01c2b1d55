//! Story: somebody calls in a trace, and everything that follows is found in it, down to each step on the host: with its place, its time, and once. A
//! receiver that is away costs spans and nothing else, and without one nothing is sent.

#[path = "story_traces/receiver.rs"]
mod receiver;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use opentelemetry_proto::tonic::trace::v1::Span;
use receiver::{Receiver, said};
use serde_json::{Value, json};
use writ_cli::api::Run;
use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;
use writ_protocol::trace::TraceContext;
use writ_tests::world::{LONG, Options, World, eventually, story};

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STEPS: &str = "  - { file: \"@/one\", content: one, mode: \"0644\" }\n  - command: two\n    argv: [sh, -c, \"echo x > @/two\"]\n    creates: \"@/two\"\n";

fn send_to(world: &mut World, telemetry: Value) -> anyhow::Result<()> {
    world.configure_controller("controller-1", "telemetry", telemetry)
}

/// Orders that a plan be carried out, as a caller who is in a trace.
fn apply(world: &World, digest: &Digest, trace: &str) -> anyhow::Result<Run> {
    let (url, token) = world.door()?;
    let mut answer = ureq::post(format!("{url}/api/v1/plans/{digest}/apply"))
        .header("authorization", format!("Bearer {token}"))
        .header("idempotency-key", digest.to_string())
        .header("traceparent", trace)
        .send_json(json!({}))?;
    let run: Value = answer.body_mut().read_json()?;
    let id = run.get("id").and_then(Value::as_str).context("an id")?;
    world.end_of(id)
}

/// A number that the controller shows.
fn metric(world: &World, name: &str) -> anyhow::Result<u64> {
    let (url, _) = world.door()?;
    let text = ureq::get(format!("{url}/metrics"))
        .call()?
        .body_mut()
        .read_to_string()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).context(text.clone())
}

fn id(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |id, byte| (id << 8) | u64::from(*byte))
}

/// Spans by name.
struct Told(BTreeMap<String, Vec<Span>>);

impl Told {
    fn of(spans: Vec<Span>) -> Self {
        let mut by_name: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for span in spans {
            by_name.entry(span.name.clone()).or_default().push(span);
        }
        Self(by_name)
    }

    fn all(&self, name: &str) -> &[Span] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn only(&self, name: &str) -> anyhow::Result<&Span> {
        match self.all(name) {
            [one] => Ok(one),
            other => anyhow::bail!("{name} is there {} times: {:?}", other.len(), self.0.keys()),
        }
    }

    /// Whether all of a name are part of another.
    fn within(&self, names: &[&str], parent: &Span) -> anyhow::Result<()> {
        for name in names {
            let all = self.all(name);
            ensure!(!all.is_empty(), "{name} is missing: {:?}", self.0.keys());
            ensure!(
                all.iter().all(|span| span.parent_span_id == parent.span_id),
                "{name} is not part of {}: {all:?}",
                parent.name
            );
        }
        Ok(())
    }
}

/// When a span began and ended, microseconds since 1970.
fn times(span: &Span) -> (i64, i64) {
    let micros = |nanos: u64| i64::try_from(nanos / 1_000).unwrap_or(i64::MAX);
    (micros(span.start_time_unix_nano), micros(span.end_time_unix_nano))
}

/// Steps of a run with their times, as the API tells them from the records.
fn signed(world: &World, run: &str) -> anyhow::Result<BTreeSet<(String, i64, i64)>> {
    let (url, token) = world.door()?;
    let mut answer = ureq::get(format!("{url}/api/v1/runs/{run}/steps"))
        .header("authorization", format!("Bearer {token}"))
        .call()?;
    let page: Value = answer.body_mut().read_json()?;
    let steps = page.get("items").and_then(Value::as_array).context("steps")?;
    let one = |step: &Value| {
        let text = |name: &str| step.get(name).and_then(Value::as_str).context("a text");
        let at = |name: &str| anyhow::Ok(Timestamp::parse(text(name)?)?.as_micros());
        Ok((text("step")?.to_owned(), at("startedAt")?, at("endedAt")?))
    };
    steps.iter().map(one).collect()
}

/// Everything is there, once, and in its place.
fn holds(world: &World, told: &Told, run: &Run) -> anyhow::Result<()> {
    let given: TraceContext = GIVEN.parse()?;
    let request = told.only("POST /api/v1/plans/{digest}/apply")?;
    ensure!(id(&request.parent_span_id) == given.span(), "{request:?}");
    ensure!(said(&request.attributes, "http.request.method") == Some("POST"));
    let of_run = told.only("run")?;
    ensure!(of_run.parent_span_id == request.span_id, "{of_run:?}");
    ensure!(said(&of_run.attributes, "writ.run.id") == Some(run.id.as_str()));
    let order = told.only("order")?;
    told.within(&["order", "run.settle"], of_run)?;
    told.within(
        &["order.publish", "order.receive", "step", "record.ingest"],
        order,
    )?;
    let receive = told.only("order.receive")?;
    let links: Vec<_> = receive.links.iter().map(|link| &link.span_id).collect();
    let is_publish = |id: &&Vec<u8>| told.all("order.publish").iter().any(|one| one.span_id == **id);
    ensure!(links.len() == 1 && links.iter().all(is_publish), "{receive:?}");

    let ids: Vec<&Vec<u8>> = told.0.values().flatten().map(|span| &span.span_id).collect();
    let distinct: BTreeSet<&Vec<u8>> = ids.iter().copied().collect();
    ensure!(distinct.len() == ids.len(), "each is told once: {:?}", told.0);

    // The steps are those that the agent signed, and happened while the run did.
    let (begun, ended) = times(of_run);
    let signed = signed(world, &run.id)?;
    let shown: BTreeSet<(String, i64, i64)> = told
        .all("step")
        .iter()
        .map(|span| {
            let name = said(&span.attributes, "writ.step.id").unwrap_or_default();
            (name.to_owned(), times(span).0, times(span).1)
        })
        .collect();
    ensure!(signed == shown && shown.len() == 2, "{signed:?} {shown:?}");
    for span in told.all("step").iter().chain([order, receive]) {
        let (from, until) = times(span);
        ensure!(
            begun <= from && from <= until && until <= ended,
            "{span:?} in {of_run:?}"
        );
    }
    Ok(())
}

#[test]
fn one_trace_goes_from_the_call_to_each_step() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let receiver = Receiver::listen()?;
        let endpoint = format!("http://127.0.0.1:{}", receiver.port);
        send_to(
            world,
            json!({ "otlp_endpoint": endpoint, "service_name": "writ-story" }),
        )?;
        let plan = world.check(STEPS)?;
        let run = apply(world, &plan.digest, GIVEN)?;
        ensure!(run.has_succeeded(), "{run:?}");

        let trace = GIVEN.parse::<TraceContext>()?.trace();
        let told = eventually("the end of the run is told", LONG, || {
            let told = Told::of(receiver.spans(trace));
            (!told.all("run.settle").is_empty() && !told.all("order").is_empty()).then_some(told)
        })?;
        holds(world, &told, &run)?;
        world.wait_log("lab-1", "4bf92f3577b34da6a3ce929d0e0e4736")?;

        // The check, which nobody called for in this trace, has one of its own, and so its plan.
        let requests = receiver.requests();
        let plans = requests
            .iter()
            .flat_map(|one| &one.spans)
            .filter(|span| span.name == "plan");
        let plans: Vec<&Span> = plans.collect();
        ensure!(
            plans.len() == 1 && plans[0].trace_id != trace.to_be_bytes(),
            "{plans:?}"
        );
        let of_check = Told::of(receiver.spans(u128::from_be_bytes(plans[0].trace_id[..].try_into()?)));
        ensure!(of_check.only("POST /api/v1/runs")?.parent_span_id.is_empty());
        ensure!(of_check.only("run")?.span_id == plans[0].parent_span_id);

        for request in &requests {
            ensure!(
                request
                    .head
                    .first()
                    .is_some_and(|line| line == "post /v1/traces http/1.1")
            );
            ensure!(
                request
                    .head
                    .iter()
                    .any(|line| line == "content-type: application/x-protobuf")
            );
            ensure!(
                said(&request.about, "service.name") == Some("writ-story"),
                "{request:?}"
            );
        }
        ensure!(metric(world, "writ_controller_spans_sent_total")? > 0);
        for reason in ["full", "untaken"] {
            let name = format!("writ_controller_spans_lost_total{{reason=\"{reason}\"}}");
            ensure!(metric(world, &name)? == 0);
        }
        Ok(())
    })
}

#[test]
fn a_receiver_that_is_away_costs_spans_alone_and_without_one_nothing_is_sent() -> anyhow::Result<()> {
    story(Options::default(), |world| {
        let nobody = std::net::TcpListener::bind(("127.0.0.1", 0))?
            .local_addr()?
            .port();
        send_to(
            world,
            json!({ "otlp_endpoint": format!("http://127.0.0.1:{nobody}") }),
        )?;
        let plan = world.check(STEPS)?;
        ensure!(apply(world, &plan.digest, GIVEN)?.has_succeeded());
        let lost = "writ_controller_spans_lost_total{reason=\"untaken\"}";
        eventually("the loss is counted", LONG, || {
            metric(world, lost).ok().filter(|lost| *lost > 0)
        })?;
        ensure!(metric(world, "writ_controller_spans_sent_total")? == 0);

        // A receiver stands there, and nobody named it. At its end a controller sends what it has left.
        let receiver = Receiver::listen()?;
        send_to(world, json!({}))?;
        let plan = world.check("  - { file: \"@/three\", content: three, mode: \"0644\" }\n")?;
        ensure!(apply(world, &plan.digest, GIVEN)?.has_succeeded());
        world.stop("controller-1")?;
        ensure!(receiver.requests().is_empty(), "{:?}", receiver.requests());
        // And sends it indeed: what was left when it was told to end comes.
        world.start_part("controller-1")?;
        send_to(
            world,
            json!({ "otlp_endpoint": format!("http://127.0.0.1:{}", receiver.port) }),
        )?;
        let plan = world.check("  - { file: \"@/four\", content: four, mode: \"0644\" }\n")?;
        ensure!(apply(world, &plan.digest, GIVEN)?.has_succeeded());
        world.stop("controller-1")?;
        let told = Told::of(receiver.spans(GIVEN.parse::<TraceContext>()?.trace()));
        told.only("run").map(|_| ())
    })
}
