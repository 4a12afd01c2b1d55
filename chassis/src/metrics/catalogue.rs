//! What a process declares, in a form that machines read: pages, rules and dashboards are made from it and held to it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// What a number does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It only grows; its rate says something.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How quantities spread.
    Histogram,
}

impl Kind {
    /// As Prometheus names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric as it was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// Its full name.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// What it means, a sentence.
    pub help: String,
    /// Names of its labels.
    pub labels: Vec<String>,
}

/// Everything that a process declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Catalogue {
    /// In the order in which they are declared.
    pub metrics: Vec<Declared>,
    /// Values of each label; a label has the same ones wherever it stands.
    pub labels: BTreeMap<String, BTreeSet<String>>,
}

impl Catalogue {
    /// Labels that metrics have and of which nobody said what values they take.
    pub fn open_labels(&self) -> BTreeSet<&str> {
        let all = self.metrics.iter().flat_map(|metric| &metric.labels);
        all.map(String::as_str)
            .filter(|label| !self.labels.contains_key(*label))
            .collect()
    }
}
