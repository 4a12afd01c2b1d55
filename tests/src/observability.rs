//! What watches Writ: the catalogue of metrics as the programs declare them, what is written from it, and the check that rules and dashboards ask for
//! nothing else. An alert on a name that nobody exports never fires, and nobody notices.

pub mod boards;
pub mod levels;
pub mod pages;
pub mod promql;
pub mod rules;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use writ_agent::metrics::AgentMetrics;
use writ_chassis::metrics::{Catalogue, Declared, Kind};
use writ_controller::metrics::ControllerMetrics;

/// Labels that Prometheus itself puts on everything that it scrapes.
const SCRAPED: [&str; 2] = ["instance", "job"];
/// What the kernel tells of each process, and Prometheus of each scrape; none has labels of its own.
const KERNEL: [&str; 8] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
    "up",
];

/// What a controller and an agent declare.
///
/// # Errors
/// A metric cannot be declared, or has a label of which nobody says what values it takes.
pub fn catalogues() -> anyhow::Result<[(&'static str, Catalogue); 2]> {
    let all = [
        ("controller", ControllerMetrics::new()?.catalogue()),
        ("agent", AgentMetrics::new()?.catalogue()),
    ];
    for (process, catalogue) in &all {
        let open = catalogue.open_labels();
        ensure!(
            open.is_empty(),
            "nobody says what values these labels of the {process} take: {open:?}; call Metrics::label where they are declared"
        );
    }
    Ok(all)
}

/// What expressions may ask for.
#[derive(Debug, Default)]
pub struct Known {
    /// Labels of each series.
    series: BTreeMap<String, BTreeSet<String>>,
    /// Values of each label that has a closed set of them.
    values: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    /// What is exported.
    pub fn of(catalogues: &[(&'static str, Catalogue)]) -> Self {
        let mut known = Self::default();
        for name in KERNEL {
            known.series.insert(name.to_owned(), scraped());
        }
        for (_, catalogue) in catalogues {
            for metric in &catalogue.metrics {
                for (name, labels) in series(metric) {
                    known.series.insert(name, labels);
                }
            }
            for (label, values) in &catalogue.labels {
                known
                    .values
                    .entry(label.clone())
                    .or_default()
                    .extend(values.iter().cloned());
            }
        }
        known
    }

    /// Adds what a recording rule makes.
    pub fn record(&mut self, name: &str, labels: BTreeSet<String>) {
        self.series.insert(name.to_owned(), labels);
    }

    /// Holds an expression to what is exported; gives the labels that its result can have.
    ///
    /// # Errors
    /// What it asks for and nobody exports.
    pub fn check(&self, expression: &str) -> anyhow::Result<BTreeSet<String>> {
        let asked = promql::read(expression).with_context(|| format!("reading {expression:?}"))?;
        let mut labels = BTreeSet::new();
        for selector in &asked.selectors {
            let has = self
                .series
                .get(&selector.metric)
                .with_context(|| format!("nobody exports {:?}: {expression}", selector.metric))?;
            for (label, value) in &selector.matchers {
                ensure!(
                    has.contains(label),
                    "{} has no label {label:?}, only {has:?}: {expression}",
                    selector.metric
                );
                let known = self.values.get(label);
                for one in value.split('|') {
                    ensure!(
                        known.is_none_or(|known| known.contains(one)),
                        "label {label:?} is never {one:?}: {expression}"
                    );
                }
            }
            labels.extend(has.iter().cloned());
        }
        for label in &asked.grouping {
            ensure!(
                labels.contains(label),
                "nothing here has the label {label:?}: {expression}"
            );
        }
        Ok(labels)
    }
}

fn scraped() -> BTreeSet<String> {
    SCRAPED.map(str::to_owned).into()
}

/// The series under which a metric is found.
fn series(metric: &Declared) -> Vec<(String, BTreeSet<String>)> {
    let mut labels = scraped();
    labels.extend(metric.labels.iter().cloned());
    if metric.kind != Kind::Histogram {
        return vec![(metric.name.clone(), labels)];
    }
    let mut bounded = labels.clone();
    bounded.insert("le".to_owned());
    let of = |part: &str| format!("{}_{part}", metric.name);
    vec![
        (of("bucket"), bounded),
        (of("sum"), labels.clone()),
        (of("count"), labels),
    ]
}
