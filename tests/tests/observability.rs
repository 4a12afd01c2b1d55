//! Pages, rules and dashboards are of the metrics that there are. After a deliberate change of metrics: `WRIT_UPDATE=1 cargo nextest run -p writ-tests observability`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use writ_tests::observability::{Known, boards, catalogues, levels, pages, rules};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compares a file with what it is to be, or writes it when that is asked for.
fn is_written(path: &str, text: &str) -> anyhow::Result<()> {
    let place = root().join(path);
    if writ_chassis::config::env_text("WRIT_UPDATE").is_some() {
        return Ok(fs::write(&place, text)?);
    }
    let found = fs::read_to_string(&place).with_context(|| format!("reading {path}"))?;
    let differs = found
        .lines()
        .zip(text.lines())
        .find(|(found, wanted)| found != wanted);
    ensure!(
        found == text,
        "{path} is not what the code says; write it with WRIT_UPDATE=1 cargo nextest run -p writ-tests observability. First difference: {differs:?}"
    );
    Ok(())
}

/// Files of a folder whose names end so, in order.
fn files(folder: &str, end: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = fs::read_dir(root().join(folder))?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    all.retain(|path| path.to_string_lossy().ends_with(end));
    all.sort();
    ensure!(!all.is_empty(), "{folder} has no {end}");
    Ok(all)
}

/// What is exported, and what the recording rules make of it; and the names of all alerts.
fn known() -> anyhow::Result<(Known, BTreeSet<String>)> {
    let mut known = Known::of(&catalogues()?);
    let (mut all, mut alerts) = (Vec::new(), BTreeSet::new());
    for path in files("deploy/observability/rules", ".yaml")? {
        let shown = path.display().to_string();
        let parsed = rules::Rules::parse(&fs::read_to_string(&path)?).with_context(|| shown.clone())?;
        parsed.record(&mut known).with_context(|| shown.clone())?;
        all.push((shown, parsed));
    }
    for (shown, parsed) in &all {
        alerts.extend(parsed.check(&known).with_context(|| shown.clone())?);
    }
    Ok((known, alerts))
}

#[test]
fn the_catalogue_is_written_from_the_code() -> anyhow::Result<()> {
    let all = catalogues()?;
    let page = fs::read_to_string(root().join("docs/metrics.md"))?;
    is_written("docs/metrics.md", &pages::page(&page, &all)?)?;
    is_written("docs/metrics.json", &pages::json(&all)?)
}

#[test]
fn rules_of_burns_are_written_from_the_rulebook() -> anyhow::Result<()> {
    is_written("deploy/observability/rules/slo.yaml", &levels::rules())
}

#[test]
fn dashboards_are_written_from_the_catalogue_and_ask_for_nothing_else() -> anyhow::Result<()> {
    let (known, _) = known()?;
    let written = boards::all(&known, &catalogues()?)?;
    for (name, text) in &written {
        is_written(&format!("deploy/observability/grafana/{name}"), text)?;
    }
    let found = files("deploy/observability/grafana", ".json")?;
    ensure!(
        found.len() == written.len(),
        "a dashboard that nobody writes: {found:?}"
    );
    // The files themselves, as Grafana reads them: nobody edits one by hand past the catalogue.
    for path in found {
        let board: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let targets = board["panels"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|panel| panel["targets"].as_array());
        for target in targets.flatten() {
            known.check(target["expr"].as_str().context("an expression")?)?;
        }
    }
    Ok(())
}

#[test]
fn every_alert_asks_for_what_is_exported_and_has_a_unit_test() -> anyhow::Result<()> {
    let (_, alerts) = known()?;
    let mut tested = BTreeSet::new();
    for path in files("deploy/observability/rules/tests", ".yaml")? {
        let file = rules::yaml(&fs::read_to_string(&path)?)?;
        let cases = file["tests"].as_array().into_iter().flatten();
        for case in cases
            .filter_map(|test| test["alert_rule_test"].as_array())
            .flatten()
        {
            if case["exp_alerts"]
                .as_array()
                .is_some_and(|fires| !fires.is_empty())
            {
                tested.extend(case["alertname"].as_str().map(str::to_owned));
            }
        }
    }
    let untested: Vec<&String> = alerts.difference(&tested).collect();
    ensure!(untested.is_empty(), "no unit test sees these fire: {untested:?}");
    Ok(())
}

#[test]
fn what_nobody_exports_is_named() -> anyhow::Result<()> {
    let known = Known::of(&catalogues()?);
    for (expression, names) in [
        (
            "rate(writ_controller_manifests_total[5m])",
            "writ_controller_manifests_total",
        ),
        ("writ_controller_ingest_seconds", "writ_controller_ingest_seconds"),
        ("sum by (agent) (writ_controller_leases_lost_total)", "agent"),
        ("writ_controller_http_requests_total{code=\"500\"}", "code"),
        ("writ_controller_http_requests_total{answer=\"error\"}", "error"),
        (
            "writ_controller_http_requests_total{answer=~\"failed|error\"}",
            "error",
        ),
    ] {
        let error = known.check(expression).expect_err(expression);
        ensure!(format!("{error:#}").contains(names), "{error:#}");
    }
    Ok(())
}

/// A collector that is given this file finds everything that its pipelines name, and listens where docs say that controllers send.
#[test]
fn the_collectors_pipelines_name_what_is_there() -> anyhow::Result<()> {
    let text = fs::read_to_string(root().join("deploy/observability/otel-collector.yaml"))?;
    let config: Value = serde_saphyr::from_str(&text)?;
    let pipelines = config.pointer("/service/pipelines").and_then(Value::as_object);
    let pipelines = pipelines.context("pipelines")?;
    ensure!(pipelines.keys().eq(["traces"]), "{pipelines:?}");
    for (kind, names) in pipelines.values().filter_map(Value::as_object).flatten() {
        let there = config
            .get(kind)
            .and_then(Value::as_object)
            .context(kind.clone())?;
        let named: BTreeSet<&str> = names
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let declared: BTreeSet<&str> = there.keys().map(String::as_str).collect();
        ensure!(named == declared, "{kind}: {named:?} of {declared:?}");
    }
    let endpoint = config.pointer("/receivers/otlp/protocols/http/endpoint");
    ensure!(
        endpoint.and_then(Value::as_str) == Some("localhost:4318"),
        "{endpoint:?}"
    );
    ensure!(text.contains("otlp_endpoint: \"http://localhost:4318\""));
    Ok(())
}
