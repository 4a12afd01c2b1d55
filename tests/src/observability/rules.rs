//! Rules of Prometheus as they stand in `deploy/observability/rules`, read as far as they are held to the catalogue; promtool reads the rest.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::Known;

/// A file of rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[expect(dead_code, reason = "promtool checks that names differ")]
    name: String,
    #[serde(default)]
    #[expect(dead_code, reason = "how often is not held to anything")]
    interval: Option<String>,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    alert: Option<String>,
    #[serde(default)]
    record: Option<String>,
    expr: String,
    #[serde(default, rename = "for")]
    #[expect(dead_code, reason = "promtool's unit tests say for how long")]
    pending: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What an alert may ask of people: to get up, to look on a working day, nothing.
const SEVERITIES: [&str; 3] = ["page", "ticket", "none"];

impl Rules {
    /// Reads a file.
    ///
    /// # Errors
    /// It is not YAML, or not of this form.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        serde_json::from_value(yaml(text)?).context("it is not a file of rules")
    }

    /// Tells what the recording rules make.
    pub fn record(&self, known: &mut Known) -> anyhow::Result<()> {
        for rule in self.all() {
            if let Some(name) = &rule.record {
                let mut labels = known.check(&rule.expr)?;
                labels.extend(rule.labels.keys().cloned());
                known.record(name, labels);
            }
        }
        Ok(())
    }

    /// Holds every alert to what is known, and gives their names.
    ///
    /// # Errors
    /// The first that asks for what nobody exports, or lacks what people need.
    pub fn check(&self, known: &Known) -> anyhow::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for rule in self.all() {
            let labels = known.check(&rule.expr)?;
            let Some(name) = &rule.alert else { continue };
            names.insert(name.clone());
            let severity = rule
                .labels
                .get("severity")
                .map(String::as_str)
                .unwrap_or_default();
            ensure!(
                SEVERITIES.contains(&severity),
                "{name}: severity is one of {SEVERITIES:?}"
            );
            for needed in ["summary", "action"] {
                ensure!(
                    rule.annotations.contains_key(needed),
                    "{name} has no annotation {needed:?}"
                );
            }
            for said in rule.annotations.values() {
                for used in said.split("$labels.").skip(1) {
                    let label: String = used
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    ensure!(
                        labels.contains(&label) || rule.labels.contains_key(&label),
                        "{name} tells of the label {label:?}, which it does not have"
                    );
                }
            }
        }
        Ok(names)
    }

    fn all(&self) -> impl Iterator<Item = &Rule> {
        self.groups.iter().flat_map(|group| &group.rules)
    }
}

/// A YAML text as a value.
///
/// # Errors
/// It is no YAML.
pub fn yaml(text: &str) -> anyhow::Result<serde_json::Value> {
    serde_saphyr::from_str(text).map_err(|error| anyhow::anyhow!("{error}"))
}
