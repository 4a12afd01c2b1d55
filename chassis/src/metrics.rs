//! Numbers for operators: a registry that keeps names in the house form and writes the text that Prometheus reads.
//!
//! Names are `writ_<process>_<noun>_<unit>`, counters end in `_total`, and every metric has a help sentence. Labels come from closed
//! enums only, never from ids: a label with unbounded values is a leak. Each process declares all its metrics in its `metrics.rs`.

mod catalogue;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use catalogue::{Catalogue, Declared, Kind};

/// A metric could not be declared or written.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The name breaks the house form.
    #[error(
        "metric name {name:?} must be lower-case words joined by `_`, and end in `_total` if and only if it is a counter"
    )]
    Name {
        /// The name as declared.
        name: String,
    },
    /// The help sentence is missing.
    #[error("metric {name} has no help sentence")]
    Help {
        /// The full name.
        name: String,
    },
    /// The metric cannot be registered, for example because its name is taken.
    #[error("cannot register metric {name}")]
    Register {
        /// The full name.
        name: String,
        /// What the registry said.
        #[source]
        source: prometheus::Error,
    },
    /// The registry cannot be written as text.
    #[error("cannot write metrics as text")]
    Encode(#[source] prometheus::Error),
}

/// The metrics of one process. Cheap to clone: every clone is the same registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    process: &'static str,
    declared: Arc<Mutex<Catalogue>>,
}

impl Metrics {
    /// The registry of the process `process` (`controller` or `agent`), with the kernel's figures about the process itself on Linux.
    ///
    /// # Errors
    /// When `process` is no name, or the kernel's figures cannot be registered.
    pub fn new(process: &'static str) -> Result<Self, MetricsError> {
        if !is_words(process) {
            return Err(MetricsError::Name {
                name: process.to_owned(),
            });
        }
        let metrics = Self {
            registry: Registry::new(),
            process,
            declared: Arc::default(),
        };
        #[cfg(target_os = "linux")]
        metrics.register(
            "process",
            prometheus::process_collector::ProcessCollector::for_self(),
        )?;
        Ok(metrics)
    }

    /// A count of events; `name` ends in `_total`.
    ///
    /// # Errors
    /// Any [`MetricsError`] but [`MetricsError::Encode`]; so for every declaration below.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        self.declare((name, help, &[]), Kind::Counter, IntCounter::with_opts)
    }

    /// Counts of events, one for each value of `labels`; `name` ends in `_total`.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricsError> {
        self.declare((name, help, labels), Kind::Counter, |opts| {
            IntCounterVec::new(opts, labels)
        })
    }

    /// A whole number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.declare((name, help, &[]), Kind::Gauge, IntGauge::with_opts)
    }

    /// Whole numbers that go up and down, one for each value of `labels`.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricsError> {
        self.declare((name, help, labels), Kind::Gauge, |opts| {
            IntGaugeVec::new(opts, labels)
        })
    }

    /// A measured quantity that goes up and down, such as seconds.
    pub fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricsError> {
        self.declare((name, help, &[]), Kind::Gauge, Gauge::with_opts)
    }

    /// How quantities spread over `buckets` (upper bounds, ascending).
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, MetricsError> {
        self.declare((name, help, &[]), Kind::Histogram, |opts| {
            Histogram::with_opts(HistogramOpts {
                common_opts: opts,
                buckets: buckets.to_vec(),
            })
        })
    }

    /// How quantities spread over `buckets`, one spread for each value of `labels`.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricsError> {
        self.declare((name, help, labels), Kind::Histogram, |opts| {
            HistogramVec::new(
                HistogramOpts {
                    common_opts: opts,
                    buckets: buckets.to_vec(),
                },
                labels,
            )
        })
    }

    /// The media type of [`Self::encode`].
    pub const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;

    /// Every metric as text, for `/metrics`.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub fn encode(&self) -> Result<String, MetricsError> {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(MetricsError::Encode)
    }

    /// Says which values a label takes, wherever it stands; what was said before stays.
    pub fn label(&self, label: &str, values: impl IntoIterator<Item = impl Into<String>>) {
        let mut declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
        let of = declared.labels.entry(label.to_owned()).or_default();
        of.extend(values.into_iter().map(Into::into));
    }

    /// Everything that was declared so far.
    pub fn catalogue(&self) -> Catalogue {
        let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
        declared.clone()
    }

    fn declare<C, F>(
        &self,
        (name, help, labels): (&str, &str, &[&str]),
        kind: Kind,
        build: F,
    ) -> Result<C, MetricsError>
    where
        C: Collector + Clone + 'static,
        F: FnOnce(Opts) -> prometheus::Result<C>,
    {
        if !is_words(name) || name.ends_with("_total") != (kind == Kind::Counter) {
            return Err(MetricsError::Name {
                name: name.to_owned(),
            });
        }
        let name = format!("writ_{}_{name}", self.process);
        if help.trim().is_empty() {
            return Err(MetricsError::Help { name });
        }
        let metric = build(Opts::new(name.clone(), help)).map_err(|source| MetricsError::Register {
            name: name.clone(),
            source,
        })?;
        self.register(&name, metric.clone())?;
        let declared = Declared {
            name,
            kind,
            help: help.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        let mut all = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
        all.metrics.push(declared);
        drop(all);
        Ok(metric)
    }

    fn register(&self, name: &str, collector: impl Collector + 'static) -> Result<(), MetricsError> {
        self.registry
            .register(Box::new(collector))
            .map_err(|source| MetricsError::Register {
                name: name.to_owned(),
                source,
            })
    }
}

fn is_words(name: &str) -> bool {
    name.split('_').all(|word| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    }) && name.starts_with(|first: char| first.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_written_with_its_help() {
        let metrics = Metrics::new("agent").expect("new");
        metrics
            .counter("frames_total", "Frames appended.")
            .expect("declares")
            .inc_by(3);
        metrics
            .gauges("runs", "Runs by state.", &["state"])
            .expect("declares")
            .with_label_values(&["held"])
            .set(2);
        let wait = metrics
            .histogram("fsync_seconds", "Time of an fsync.", &[0.01, 0.1])
            .expect("declares");
        wait.observe(0.05);
        let text = metrics.encode().expect("writes");
        for line in [
            "# HELP writ_agent_frames_total Frames appended.",
            "# TYPE writ_agent_frames_total counter",
            "writ_agent_frames_total 3",
            "writ_agent_runs{state=\"held\"} 2",
            "writ_agent_fsync_seconds_bucket{le=\"0.01\"} 0",
            "writ_agent_fsync_seconds_bucket{le=\"0.1\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing from\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }

    #[test]
    fn what_is_declared_is_in_the_catalogue_before_it_is_counted() {
        let metrics = Metrics::new("agent").expect("new");
        let _runs = metrics
            .gauges("runs", "Runs by state.", &["state"])
            .expect("declares");
        assert_eq!(
            metrics.catalogue().open_labels().into_iter().collect::<Vec<_>>(),
            ["state"]
        );
        metrics.label("state", ["held", "done"]);
        let catalogue = metrics.catalogue();
        assert_eq!(
            serde_json::to_value(&catalogue).expect("JSON"),
            serde_json::json!({
                "metrics": [{ "name": "writ_agent_runs", "kind": "gauge", "help": "Runs by state.", "labels": ["state"] }],
                "labels": { "state": ["done", "held"] },
            })
        );
        assert!(catalogue.open_labels().is_empty());
    }

    #[test]
    fn names_outside_the_house_form_are_refused() {
        let metrics = Metrics::new("controller").expect("new");
        for name in [
            "",
            "Frames_total",
            "frames",
            "frames__total",
            "_total",
            "9_total",
            "frames-sent_total",
        ] {
            assert!(
                matches!(metrics.counter(name, "Help."), Err(MetricsError::Name { .. })),
                "{name:?}"
            );
        }
        assert!(matches!(
            metrics.gauge("runs_total", "Help."),
            Err(MetricsError::Name { .. })
        ));
        assert!(matches!(
            metrics.gauge("runs", " "),
            Err(MetricsError::Help { .. })
        ));
        assert!(matches!(Metrics::new("Bad Name"), Err(MetricsError::Name { .. })));
    }

    #[test]
    fn a_name_is_taken_once() {
        let metrics = Metrics::new("controller").expect("new");
        metrics.gauge("runs", "Runs.").expect("declares");
        let error = metrics.clone().gauge("runs", "Runs.").expect_err("taken");
        assert_eq!(error.to_string(), "cannot register metric writ_controller_runs");
    }
}
