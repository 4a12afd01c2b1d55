//! Dashboards for Grafana, made from the catalogue: one for each process that shows all that it exports, in rows by what it is about, and an overview.

use serde_json::{Value, json};
use writ_chassis::metrics::{Catalogue, Declared, Kind};

use super::Known;

/// Version of Grafana's dashboard schema (Grafana 10).
const SCHEMA: u32 = 39;
/// Panels side by side, and the columns and rows of the grid that each takes.
const ACROSS: usize = 3;
const WIDTH: usize = 8;
const HEIGHT: usize = 7;

/// One panel: title, unit, expressions with their legends.
#[derive(Debug, Clone)]
struct Panel {
    title: String,
    about: String,
    unit: &'static str,
    lines: Vec<(String, String)>,
}

/// What needs somebody, on one screen: title, unit, expression, legend.
const OVERVIEW: [(&str, &str, &str, &str); 12] = [
    (
        "Controllers up",
        "short",
        "sum(up{job=\"writ-controller\"})",
        "up",
    ),
    (
        "Shards that somebody holds",
        "short",
        "sum(writ_controller_shards_held_count)",
        "held",
    ),
    (
        "Open incidents",
        "short",
        "max by (kind) (writ_controller_incidents_open_count)",
        "{{kind}}",
    ),
    (
        "Findings of drift",
        "short",
        "sum by (severity) (max by (class, severity) (writ_controller_drift_findings_count))",
        "{{severity}}",
    ),
    (
        "Oldest manifest that waits",
        "s",
        "max(writ_controller_manifests_dirty_oldest_seconds)",
        "oldest",
    ),
    (
        "Event batches that wait",
        "short",
        "sum(writ_controller_event_batches_waiting_count)",
        "waiting",
    ),
    (
        "HTTP requests",
        "reqps",
        "sum by (answer) (rate(writ_controller_http_requests_total[5m]))",
        "{{answer}}",
    ),
    (
        "Requests of agents",
        "reqps",
        "sum by (answer) (rate(writ_controller_bus_requests_total[5m]))",
        "{{answer}}",
    ),
    (
        "Rounds that failed",
        "short",
        "sum(increase(writ_controller_rounds_failed_total[5m]))",
        "failed",
    ),
    (
        "Spent, micro-units",
        "short",
        "max by (level) (writ_controller_budgets_spent_micros)",
        "{{level}}",
    ),
    (
        "Disputed, micro-units",
        "short",
        "max by (level) (writ_controller_budgets_disputed_micros)",
        "{{level}}",
    ),
    (
        "Times of schedules skipped",
        "short",
        "sum by (reason) (increase(writ_controller_schedules_skipped_total[1h]))",
        "{{reason}}",
    ),
];

/// Every dashboard: the name of its file, and its text.
///
/// # Errors
/// An expression asks for what nobody exports.
pub fn all(known: &Known, catalogues: &[(&'static str, Catalogue)]) -> anyhow::Result<Vec<(String, String)>> {
    let overview = OVERVIEW.map(|(title, unit, line, legend)| Panel {
        title: title.to_owned(),
        about: String::new(),
        unit,
        lines: vec![(line.to_owned(), legend.to_owned())],
    });
    let mut boards = vec![("overview", overview.to_vec())];
    for (process, catalogue) in catalogues {
        boards.push((process, catalogue.metrics.iter().map(panel).collect()));
    }
    let mut files = Vec::new();
    for (name, panels) in boards {
        for (line, legend) in panels.iter().flat_map(|panel| &panel.lines) {
            let labels = known.check(line)?;
            for label in legend
                .split("{{")
                .skip(1)
                .filter_map(|rest| rest.split("}}").next())
            {
                anyhow::ensure!(labels.contains(label), "{line} has no label {label:?} to show");
            }
        }
        let text = serde_json::to_string_pretty(&board(name, &panels))?;
        files.push((format!("writ-{name}.json"), format!("{text}\n")));
    }
    Ok(files)
}

/// How a metric is looked at by itself.
fn panel(metric: &Declared) -> Panel {
    let name = &metric.name;
    let by = metric.labels.join(", ");
    let by = if by.is_empty() {
        String::new()
    } else {
        format!("by ({by}) ")
    };
    let legends: Vec<String> = metric
        .labels
        .iter()
        .map(|label| format!("{{{{{label}}}}}"))
        .collect();
    let legend = if legends.is_empty() {
        "all".to_owned()
    } else {
        legends.join(" ")
    };
    let (unit, lines) = match metric.kind {
        Kind::Counter => ("ops", vec![(format!("sum {by}(rate({name}[5m]))"), legend)]),
        Kind::Gauge => (unit(name), vec![(format!("max {by}({name})"), legend)]),
        Kind::Histogram => (
            unit(name),
            ["0.5", "0.99"]
                .map(|part| {
                    let line = format!("histogram_quantile({part}, sum by (le) (rate({name}_bucket[5m])))");
                    (line, format!("{part} of them"))
                })
                .into(),
        ),
    };
    Panel {
        title: title(name),
        about: metric.help.clone(),
        unit,
        lines,
    }
}

fn unit(name: &str) -> &'static str {
    if name.ends_with("_seconds") { "s" } else { "short" }
}

/// `writ_controller_streams_made_total` is shown as `Streams made`.
fn title(name: &str) -> String {
    let words: Vec<&str> = name
        .split('_')
        .skip(2)
        .filter(|word| !["total", "count"].contains(word))
        .collect();
    let text = words.join(" ");
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn board(name: &str, panels: &[Panel]) -> Value {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let shown: Vec<Value> = panels
        .iter()
        .enumerate()
        .map(|(place, panel)| {
            let targets: Vec<Value> = panel
                .lines
                .iter()
                .zip('A'..='Z')
                .map(|((line, legend), id)| {
                    json!({ "refId": id.to_string(), "datasource": source, "expr": line, "legendFormat": legend })
                })
                .collect();
            json!({
                "id": place + 1,
                "type": "timeseries",
                "title": panel.title,
                "description": panel.about,
                "datasource": source,
                "gridPos": { "x": place % ACROSS * WIDTH, "y": place / ACROSS * HEIGHT, "w": WIDTH, "h": HEIGHT },
                "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0 }, "overrides": [] },
                "options": { "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi" } },
                "targets": targets,
            })
        })
        .collect();
    json!({
        "uid": format!("writ-{name}"),
        "title": format!("Writ: {name}"),
        "tags": ["writ"],
        "editable": false,
        "schemaVersion": SCHEMA,
        "time": { "from": "now-6h", "to": "now" },
        "refresh": "30s",
        "templating": { "list": [{ "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus" }] },
        "panels": shown,
    })
}
