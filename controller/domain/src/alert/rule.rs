//! Which receivers an event is for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Happening;
use super::admit::Limits;
use crate::drift::{Class, Severity};
use crate::halt::ENVIRONMENT_LABEL;

/// Which kinds of events: one by its name, or all of an area, as `drift.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Every event.
    All,
    /// All of an area, without the asterisk: `drift.`
    Area(String),
    /// This one.
    One(String),
}

impl Pattern {
    /// Reads one: words of small letters, digits, `_` and `-`, joined by a dot; the last may be `*`.
    pub fn of(text: &str) -> Option<Self> {
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
        };
        if text == "*" {
            return Some(Self::All);
        }
        let (area, name) = text.split_once('.')?;
        match name {
            "*" if is_word(area) => Some(Self::Area(format!("{area}."))),
            name if is_word(area) && is_word(name) => Some(Self::One(text.to_owned())),
            _ => None,
        }
    }

    /// Whether a kind is one of these.
    fn is_of(&self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Area(area) => kind.starts_with(area),
            Self::One(one) => one == kind,
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Area(area) => write!(f, "{area}*"),
            Self::One(one) => f.write_str(one),
        }
    }
}

/// What events have in common that come in one notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupBy {
    /// What happened.
    Kind,
    /// The host.
    Host,
    /// The project.
    Project,
    /// The environment of the host.
    Environment,
    /// What a finding is about.
    Class,
}

impl GroupBy {
    /// Every property.
    pub const ALL: [Self; 5] = [
        Self::Kind,
        Self::Host,
        Self::Project,
        Self::Environment,
        Self::Class,
    ];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Host => "host",
            Self::Project => "project",
            Self::Environment => "environment",
            Self::Class => "class",
        }
    }

    fn value(self, happening: &Happening) -> &str {
        let value = match self {
            Self::Kind => Some(happening.kind.as_str()),
            Self::Host => happening.host.as_deref(),
            Self::Project => happening.project.as_deref(),
            Self::Environment => happening.labels.get(ENVIRONMENT_LABEL).map(String::as_str),
            Self::Class => happening.class.map(Class::name),
        };
        value.unwrap_or_default()
    }
}

/// Events of what is told are put together: what they have in common, and how long others are waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they have in common; everything that the rule is for comes together where nothing is named.
    pub by: BTreeSet<GroupBy>,
    /// How long the first waits for others.
    pub wait: Duration,
}

/// Which events are for whom. What a rule does not name, it does not ask for; all that it names must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Any of these kinds.
    pub events: Vec<Pattern>,
    /// At least as bad as this.
    pub at_least: Severity,
    /// Findings of any of these classes.
    pub classes: BTreeSet<Class>,
    /// Of any of these projects.
    pub projects: BTreeSet<String>,
    /// On hosts of any of these environments.
    pub environments: BTreeSet<String>,
    /// On hosts that carry all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Who is told.
    pub receivers: Vec<String>,
    /// Whether events come together; each alone where there is none.
    pub group: Option<Group>,
    /// For how long the same is told once.
    pub once_in: Duration,
}

impl Rule {
    /// Whether it is for an event.
    pub fn is_for(&self, happening: &Happening) -> bool {
        let within = |set: &BTreeSet<String>, value: Option<&String>| {
            set.is_empty() || value.is_some_and(|value| set.contains(value))
        };
        let labels = &happening.labels;
        self.events.iter().any(|pattern| pattern.is_of(&happening.kind))
            && happening.severity >= self.at_least
            && self.is_for_class(happening)
            && within(&self.projects, happening.project.as_ref())
            && within(&self.environments, labels.get(ENVIRONMENT_LABEL))
            && self
                .labels
                .iter()
                .all(|(name, value)| labels.get(name) == Some(value))
    }

    /// What somebody has said beforehand is told where a rule names it, and nowhere else.
    fn is_for_class(&self, happening: &Happening) -> bool {
        let class = if happening.is_expected {
            Some(Class::Expected)
        } else {
            happening.class
        };
        if self.classes.is_empty() {
            return class != Some(Class::Expected);
        }
        class.is_some_and(|class| self.classes.contains(&class))
    }

    /// What an event has in common with others that it comes with; none where each comes alone. What is critical never waits with what is not.
    pub fn group_key(&self, happening: &Happening) -> Option<String> {
        let group = self.group.as_ref()?;
        let values: Vec<&str> = group.by.iter().map(|by| by.value(happening)).collect();
        let lane = if happening.is_critical() {
            "critical"
        } else {
            "rest"
        };
        Some(format!("{}\n{lane}\n{}", self.name, values.join("\n")))
    }
}

/// Somebody who is told, as far as it matters who is told what and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Whether whoever reads it may see what only operators see: findings of the class security.
    pub sees_security: bool,
    /// How much it takes, and when.
    pub limits: Limits,
}

impl Receiver {
    fn may_see(&self, happening: &Happening) -> bool {
        self.sees_security || !happening.class.is_some_and(Class::is_for_operators)
    }
}

/// Who is told of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Receivers by name.
    pub receivers: BTreeMap<String, Receiver>,
    /// In this order: the first rule that is for an event and names a receiver is the one that it is told under.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// Who is told of an event, each once, and under which rule.
    pub fn route<'a>(&'a self, happening: &Happening) -> Vec<(&'a str, &'a Receiver, &'a Rule)> {
        let mut found: Vec<(&str, &Receiver, &Rule)> = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.is_for(happening)) {
            for name in &rule.receivers {
                let Some((name, receiver)) = self.receivers.get_key_value(name) else {
                    continue;
                };
                let is_told = found.iter().any(|(known, ..)| known == name);
                if !is_told && receiver.may_see(happening) {
                    found.push((name, receiver, rule));
                }
            }
        }
        found
    }
}
