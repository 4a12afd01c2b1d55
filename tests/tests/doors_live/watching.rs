//! The doors for machines that watch: numbers, readiness, and the document.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use writ_tests::world::{LONG, SHORT, eventually};

use super::Scene;
use super::http::{Ask, Door};

/// Reads the text with Prometheus' own parser, and prints every family with its kind and whether it has samples.
const PARSE: &str = "import sys\n\
from prometheus_client.parser import text_string_to_metric_families as parse\n\
for family in parse(sys.stdin.read()):\n    print(family.name, family.type, len(family.samples), bool(family.documentation))\n";

fn without_token(door: &Door, path: &str) -> anyhow::Result<super::http::Answer> {
    door.ask(Ask {
        method: "GET",
        path,
        ..Ask::default()
    })
}

fn python() -> PathBuf {
    let chosen = std::env::var_os("WRIT_PYTHON").map(PathBuf::from);
    chosen.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("../parts/venv/bin/python"))
}

pub(crate) fn metrics_are_those_of_the_catalogue(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let answer = without_token(&scene.door, "/metrics")?.fine()?;
    ensure!(
        answer
            .header("content-type")
            .starts_with("text/plain; version=0.0.4"),
        "{:?}",
        answer.headers
    );
    let text = answer.text();
    let mut parser = Command::new(python())
        .args(["-c", PARSE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the parts bring a Python with Prometheus' parser: cargo xtask parts")?;
    parser
        .stdin
        .take()
        .context("its input")?
        .write_all(text.as_bytes())?;
    let parsed = parser.wait_with_output()?;
    ensure!(parsed.status.success(), "Prometheus cannot read it");
    let parsed = String::from_utf8(parsed.stdout)?;
    for line in parsed.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        ensure!(
            matches!(fields.get(1), Some(&("counter" | "gauge" | "histogram"))),
            "no kind: {line}"
        );
        ensure!(
            fields.get(2).is_some_and(|count| *count != "0"),
            "no samples: {line}"
        );
        ensure!(fields.get(3) == Some(&"True"), "no help: {line}");
    }
    the_catalogue_is_whole(&text)
}

/// Both ways: what is shown is in the catalogue, and what is in the catalogue is shown by a system that has worked.
fn the_catalogue_is_whole(text: &str) -> anyhow::Result<()> {
    let ours = |line: &str| {
        line.split('`')
            .nth(1)
            .map(str::to_owned)
            .filter(|name| name.starts_with("writ_"))
    };
    let listed: BTreeSet<String> = include_str!("../../../docs/metrics.md")
        .lines()
        .filter(|line| line.starts_with("| `writ_controller_"))
        .filter_map(ours)
        .collect();
    let shown: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .filter(|name| name.starts_with("writ_"))
        .collect();
    ensure!(
        shown == listed,
        "only shown: {:?}; only listed: {:?}",
        &shown - &listed,
        &listed - &shown
    );
    ensure!(shown.len() > 10, "{shown:?}");
    // Numbers that this system must have moved.
    for moved in [
        "manifests_published_total",
        "event_batches_total{fate=\"taken\"}",
        "bus_requests_total{answer=\"fine\",request=\"hello\"}",
        "http_requests_total{answer=\"refused\"}",
    ] {
        let name = format!("writ_controller_{moved} ");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(&name))
            .and_then(|n| n.parse::<f64>().ok());
        ensure!(
            value.is_some_and(|value| value > 0.0),
            "{moved} stands at {value:?}"
        );
    }
    Ok(())
}

/// A caller's trace goes on, whatever becomes of the request, and one that nobody began begins here.
pub(crate) fn a_trace_goes_on(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-";
    let answered = |path, trace: Option<String>| {
        let asked = scene.door.ask(Ask {
            method: "GET",
            path,
            headers: trace.into_iter().map(|trace| ("traceparent", trace)).collect(),
            ..Ask::default()
        });
        asked.map(|answer| answer.header("traceparent").to_owned())
    };
    for path in ["/metrics", "/api/v1/runs", "/nothing"] {
        let given = format!("{TRACE}00f067aa0ba902b7-01");
        let told = answered(path, Some(given.clone()))?;
        ensure!(
            told.starts_with(TRACE) && told != given && told.ends_with("-01"),
            "{path}: {told}"
        );
        let (one, other) = (answered(path, None)?, answered(path, None)?);
        ensure!(
            one.len() == 55 && one.get(..35) != other.get(..35),
            "{path}: {one} {other}"
        );
    }
    Ok(())
}

pub(crate) fn the_document_is_served_as_reviewed(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let served = without_token(&scene.door, "/api/v1/openapi.json")?.fine()?;
    ensure!(
        served.text() == include_str!("../../../docs/openapi.json"),
        "another document is served"
    );
    let document = served.json();
    ensure!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    ensure!(
        document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer",
        "who may ask is not told"
    );
    let paths = document["paths"].as_object().cloned().unwrap_or_default();
    for (path, item) in &paths {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let what = format!("{method} {path}");
            ensure!(
                operation["operationId"].is_string() && operation["tags"].is_array(),
                "{what}"
            );
            ensure!(
                operation["summary"].is_string() || operation["description"].is_string(),
                "{what} is not explained"
            );
            let takes_key = operation["parameters"].to_string().contains("idempotency-key");
            // An alert is known by what its sender knows it by.
            let is_keyed =
                matches!(method.as_str(), "post" | "delete") && !path.starts_with("/api/v1/triggers/");
            ensure!(takes_key == is_keyed, "{what}: its key");
        }
    }
    Ok(())
}

/// Not ready without its database or its bus, says which, stays alive, refuses as it should, and comes back by itself.
pub(crate) fn readiness_names_what_is_away(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let door = scene.door.clone();
    let ready = without_token(&door, "/readyz")?.fine()?;
    ensure!(ready.json()["stopping"] == false, "{}", ready.text());
    for (part, check) in [("postgres", "ledger"), ("nats", "bus")] {
        scene.world.kill(part)?;
        let seen = eventually(&format!("{check} is seen to be away"), SHORT, || {
            let answer = ready_raw(&door).ok().filter(|(status, _)| *status == 503)?;
            failing(&answer.1).contains(&check.to_owned()).then_some(answer.1)
        })?;
        let text = seen.to_string();
        for secret in ["postgres://", "password", "/tmp/", "writ_pat_"] {
            ensure!(!text.contains(secret), "tells {secret:?}: {text}");
        }
        ensure!(
            seen["checks"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|one| one["name"] == check && one["reason"].is_string()),
            "{text}"
        );
        ensure!(
            without_token(&door, "/healthz")?.status == 200,
            "alive all the same"
        );
        if part == "postgres" {
            let refused = door.get("/api/v1/agents")?;
            refused.refused(503, "W0009")?;
            door.post("/api/v1/runs", &scene.check())?.refused(503, "W0009")?;
        }
        scene.world.start_part(part)?;
        eventually("ready again", LONG, || {
            ready_raw(&door).ok().filter(|(status, _)| *status == 200)
        })?;
        door.get("/api/v1/agents")?.fine()?;
    }
    Ok(())
}

/// Not ready is an answer and no problem document.
fn ready_raw(door: &Door) -> anyhow::Result<(u16, Value)> {
    let answer = door.bare("/readyz")?;
    Ok((answer.status, answer.json()))
}

fn failing(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().into_iter().flatten();
    checks
        .filter(|check| check["state"] == "failing")
        .filter_map(|check| check["name"].as_str().map(str::to_owned))
        .collect()
}
