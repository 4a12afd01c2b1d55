//! What alerts of other programs may set off: rules that somebody wrote into the controller's file, held against an alert's labels. An alert chooses
//! among them and names at most a host; it never says what is done there.

use std::collections::BTreeMap;

use writ_protocol::digest::Digest;

/// Longest name of a host that an alert may give, bytes.
const HOST_BYTES_MAX: usize = 128;

/// What one caller may set off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// SHA-256 of its token.
    pub token: Digest,
    /// How much it starts within an hour at the most.
    pub most_per_hour: u32,
    /// The first that fits counts.
    pub rules: Vec<Rule>,
}

/// What alerts with these labels start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Labels that the alert must have, each with this value.
    pub labels: BTreeMap<String, String>,
    /// What is started.
    pub starts: Starts,
}

/// What a rule starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starts {
    /// A look for drift.
    Scan(Scan),
    /// A plan that is kept.
    Apply(Digest),
}

/// Which hosts look: all, as far as nothing here says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scan {
    /// The host of the agent of this name.
    pub agent: Option<String>,
    /// The host that this label of the alert names.
    pub agent_label: Option<String>,
    /// Of this project.
    pub project: Option<String>,
    /// On hosts of this environment.
    pub environment: Option<String>,
}

/// What is to be started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Start {
    /// A look for drift; `agent_label` is resolved.
    Scan(Scan),
    /// A plan.
    Apply(Digest),
    /// The rule wants a host, and the alert names none.
    Nameless {
        /// The label that should.
        label: String,
    },
}

impl Trigger {
    /// The rule that an alert with these labels falls under, and what it starts.
    pub fn choose(&self, labels: &BTreeMap<String, String>) -> Option<(&Rule, Start)> {
        let fits = |rule: &&Rule| {
            !rule.labels.is_empty()
                && rule
                    .labels
                    .iter()
                    .all(|(name, value)| labels.get(name) == Some(value))
        };
        let rule = self.rules.iter().find(fits)?;
        Some((rule, rule.starts.resolve(labels)))
    }
}

impl Starts {
    fn resolve(&self, labels: &BTreeMap<String, String>) -> Start {
        let scan = match self {
            Self::Apply(plan) => return Start::Apply(*plan),
            Self::Scan(scan) => scan.clone(),
        };
        let Some(label) = scan.agent_label.clone() else {
            return Start::Scan(scan);
        };
        match labels.get(&label).filter(|host| is_host(host)) {
            None => Start::Nameless { label },
            Some(host) => Start::Scan(Scan {
                agent: Some(host.clone()),
                agent_label: None,
                ..scan
            }),
        }
    }
}

fn is_host(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=HOST_BYTES_MAX).contains(&name.len()) && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// A rule: its name, its labels, and what it starts.
    type Said<'a> = (&'a str, &'a [(&'a str, &'a str)], Starts);

    fn trigger(rules: Vec<Said<'_>>) -> Trigger {
        let rule = |(name, of, starts): Said<'_>| Rule {
            name: name.to_owned(),
            labels: labels(of),
            starts,
        };
        Trigger {
            token: Digest::ZERO,
            most_per_hour: 1,
            rules: rules.into_iter().map(rule).collect(),
        }
    }

    #[test]
    fn the_first_rule_whose_labels_are_all_there_counts_and_an_empty_one_never() {
        let plan = Starts::Apply(Digest::of(b"plan"));
        let scan = Starts::Scan(Scan::default());
        let all = trigger(vec![
            ("empty", &[], plan.clone()),
            ("both", &[("alertname", "Disk"), ("env", "prod")], plan.clone()),
            ("one", &[("alertname", "Disk")], scan),
        ]);
        let chosen = |of: &[(&str, &str)]| {
            all.choose(&labels(of))
                .map(|(rule, start)| (rule.name.clone(), start))
        };
        let both = Some(("both".to_owned(), Start::Apply(Digest::of(b"plan"))));
        assert_eq!(
            chosen(&[("alertname", "Disk"), ("env", "prod"), ("x", "y")]),
            both
        );
        let one = Some(("one".to_owned(), Start::Scan(Scan::default())));
        assert_eq!(chosen(&[("alertname", "Disk"), ("env", "production")]), one);
        assert_eq!(chosen(&[("alertname", "Disks")]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn an_alert_names_a_host_by_the_label_that_the_rule_says_and_by_a_name_only() {
        let scan = Scan {
            agent_label: Some("instance".to_owned()),
            project: Some("web".to_owned()),
            ..Scan::default()
        };
        let all = trigger(vec![("host", &[("a", "b")], Starts::Scan(scan))]);
        let start = |host: &str| {
            all.choose(&labels(&[("a", "b"), ("instance", host)]))
                .map(|(_, start)| start)
        };
        let named = Start::Scan(Scan {
            agent: Some("web-1".to_owned()),
            agent_label: None,
            project: Some("web".to_owned()),
            environment: None,
        });
        assert_eq!(start("web-1"), Some(named));
        for odd in ["", "web 1", "web-1:9100", "a\0b", "../x", &"x".repeat(129)] {
            let nameless = Start::Nameless {
                label: "instance".to_owned(),
            };
            assert_eq!(start(odd), Some(nameless), "{odd:?}");
        }
    }
}
