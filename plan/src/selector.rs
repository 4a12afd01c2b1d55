//! Which hosts a config is for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Selects hosts: those that carry all the labels and, where hosts are named, are one of them. An empty selector selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Labels with the values that a host must have.
    pub labels: BTreeMap<String, String>,
    /// Names, of which a host must have one; any name where empty.
    pub hosts: Vec<String>,
}

impl Selector {
    /// Whether a host of this name and with these labels is selected.
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        if self.is_empty() {
            return false;
        }
        let named = self.hosts.is_empty() || self.hosts.iter().any(|host| host == name);
        named
            && self
                .labels
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Whether nothing was asked for, and so nothing is selected.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.hosts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn labels_and_names_narrow_each_other_and_nothing_selects_nothing() {
        let host = labels(&[("role", "web"), ("env", "prod")]);
        let select = |pairs: &[(&str, &str)], hosts: &[&str]| Selector {
            labels: labels(pairs),
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
        };
        assert!(select(&[("role", "web")], &[]).matches("w1", &host));
        assert!(select(&[("role", "web")], &["w1", "w2"]).matches("w1", &host));
        assert!(select(&[], &["w1"]).matches("w1", &host));
        assert!(!select(&[("role", "web")], &["w2"]).matches("w1", &host));
        assert!(!select(&[("role", "web"), ("env", "dev")], &[]).matches("w1", &host));
        assert!(!select(&[("zone", "a")], &[]).matches("w1", &host));
        assert!(!select(&[], &[]).matches("w1", &host));
    }
}
