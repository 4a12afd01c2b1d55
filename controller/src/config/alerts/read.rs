//! What the file says of alerts as the rulebook knows it; everything that is wrong is said at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use writ_domain::alert::admit::{Limits, Rate};
use writ_domain::alert::delivery::Retry;
use writ_domain::alert::quiet::{Quiet, Then};
use writ_domain::alert::rule::{Group, GroupBy, Pattern, Policy, Receiver, Rule};
use writ_domain::drift::{Class, Severity};
use writ_domain::schedule::{Cron, Zone};

use super::{Alerts, QuietConfig, QuietThen, RateConfig, ReceiverConfig, RetryConfig, RuleConfig};

/// Most receivers, and most rules.
const NAMED_MAX: usize = 64;
/// Most entries of a list in a receiver or rule.
const LIST_MAX: usize = 64;
/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest span that is counted in, in which the same is told once, and pause, seconds: a week.
const SPAN_SECONDS_MAX: u64 = 7 * 24 * 3_600;
/// Most notifications in a span.
const RATE_MAX: u32 = 10_000;
/// Most tries.
const TRIES_MAX: u32 = 20;
/// Longest wait for others of a group, seconds.
const WAIT_SECONDS_MAX: u64 = 3_600;

/// What is wrong: the key, and what to do.
type Wrong = (String, String);

impl Alerts {
    /// As the rulebook knows it.
    ///
    /// # Errors
    /// Everything that is wrong, by key.
    pub fn policy(&self) -> Result<Policy, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let mut found = Policy::default();
        for (name, one) in &self.receivers {
            let key = format!("alerts.receivers.{name}");
            check_name(name, &key, &mut wrong);
            one.check_kind(&key, &mut wrong);
            let quiet = one.quiet.iter().enumerate().filter_map(|(number, quiet)| {
                let read = quiet.read();
                read.map_err(|what| wrong.push((format!("{key}.quiet.{number}"), what)))
                    .ok()
            });
            let limits = Limits {
                quiet: quiet.take(LIST_MAX).collect(),
                rate: one.rate.read(&key, &mut wrong),
                retry: one.retry.read(&key, &mut wrong),
            };
            let receiver = Receiver {
                sees_security: one.sees_security,
                limits,
            };
            found.receivers.insert(name.clone(), receiver);
        }
        for (number, rule) in self.rules.iter().enumerate() {
            let rule = rule.read(&format!("alerts.rules.{number}"), &self.receivers, &mut wrong);
            if found.rules.iter().any(|other: &Rule| other.name == rule.name) {
                wrong.push((
                    format!("alerts.rules.{number}.name"),
                    "is another rule's already".to_owned(),
                ));
            }
            found.rules.push(rule);
        }
        if self.receivers.len().max(self.rules.len()) > NAMED_MAX {
            let what = format!("at most {NAMED_MAX} receivers and {NAMED_MAX} rules");
            wrong.push(("alerts".to_owned(), what));
        }
        if wrong.is_empty() { Ok(found) } else { Err(wrong) }
    }
}

fn check_name(name: &str, key: &str, wrong: &mut Vec<Wrong>) {
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_name {
        let what = format!("a name is 1 to {NAME_BYTES_MAX} small letters, digits and hyphens");
        wrong.push((key.to_owned(), what));
    }
}

fn span(seconds: u64, key: String, wrong: &mut Vec<Wrong>) -> Duration {
    if !(1..=SPAN_SECONDS_MAX).contains(&seconds) {
        wrong.push((key, format!("must be between 1 and {SPAN_SECONDS_MAX} (a week)")));
    }
    Duration::from_secs(seconds)
}

impl ReceiverConfig {
    /// What it is, for people.
    pub const fn kind(&self) -> &'static str {
        match (&self.webhook, &self.slack) {
            (Some(_), _) => "webhook",
            (None, Some(_)) => "slack",
            (None, None) => "email",
        }
    }

    fn check_kind(&self, key: &str, wrong: &mut Vec<Wrong>) {
        let kinds = [self.webhook.is_some(), self.slack.is_some(), self.email.is_some()];
        if kinds.iter().filter(|is| **is).count() != 1 {
            let what = "name exactly one of webhook, slack and email";
            wrong.push((key.to_owned(), what.to_owned()));
        }
    }
}

impl RateConfig {
    fn read(self, key: &str, wrong: &mut Vec<Wrong>) -> Rate {
        if !(1..=RATE_MAX).contains(&self.most) {
            let what = format!("must be between 1 and {RATE_MAX}");
            wrong.push((format!("{key}.rate.most"), what));
        }
        Rate {
            most: self.most,
            per: span(self.per_seconds, format!("{key}.rate.per_seconds"), wrong),
        }
    }
}

impl RetryConfig {
    fn read(self, key: &str, wrong: &mut Vec<Wrong>) -> Retry {
        if !(1..=TRIES_MAX).contains(&self.tries) {
            let what = format!("must be between 1 and {TRIES_MAX}");
            wrong.push((format!("{key}.retry.tries"), what));
        }
        if self.first_seconds > self.longest_seconds {
            let what = "must not be longer than longest_seconds";
            wrong.push((format!("{key}.retry.first_seconds"), what.to_owned()));
        }
        Retry {
            tries: self.tries,
            first: span(self.first_seconds, format!("{key}.retry.first_seconds"), wrong),
            longest: span(
                self.longest_seconds,
                format!("{key}.retry.longest_seconds"),
                wrong,
            ),
        }
    }
}

impl QuietConfig {
    fn read(&self) -> Result<Quiet, String> {
        let (from, to) = (clock(&self.from)?, clock(&self.to)?);
        let days = self.days.as_deref().unwrap_or("*");
        let cron = |at: (u8, u8), days: &str| {
            Cron::parse(&format!("{} {} * * {days}", at.1, at.0)).map_err(|error| error.to_string())
        };
        Ok(Quiet {
            opens: cron(from, days)?,
            closes: cron(to, "*")?,
            zone: Zone::named(&self.zone).map_err(|error| error.to_string())?,
            then: match self.then {
                QuietThen::Hold => Then::Hold,
                QuietThen::Drop => Then::Drop,
            },
        })
    }
}

/// Hour and minute.
fn clock(text: &str) -> Result<(u8, u8), String> {
    let read = || {
        let (hour, minute) = text.split_once(':')?;
        let is_two = hour.len() == 2 && minute.len() == 2;
        let (hour, minute) = (hour.parse::<u8>().ok()?, minute.parse::<u8>().ok()?);
        (is_two && hour < 24 && minute < 60).then_some((hour, minute))
    };
    read().ok_or_else(|| format!("{text:?} is no time of day; write it as 07:00"))
}

impl RuleConfig {
    fn group(&self, say: &mut impl FnMut(&str, String)) -> Option<Group> {
        let mut by = BTreeSet::new();
        for name in self.group_by.as_ref()? {
            match GroupBy::ALL.into_iter().find(|by| by.name() == name) {
                Some(known) => drop(by.insert(known)),
                None => say(
                    "group_by",
                    format!("{name:?} is none of kind, host, project, environment, class"),
                ),
            }
        }
        Some(Group {
            by,
            wait: Duration::from_secs(self.group_wait_seconds),
        })
    }

    fn read(&self, key: &str, receivers: &BTreeMap<String, ReceiverConfig>, wrong: &mut Vec<Wrong>) -> Rule {
        check_name(&self.name, &format!("{key}.name"), wrong);
        let mut say = |field: &str, what: String| wrong.push((format!("{key}.{field}"), what));
        if self.events.is_empty() || self.receivers.is_empty() {
            say(
                "events",
                "a rule names at least one kind of event, and one receiver".to_owned(),
            );
        }
        if self.events.len().max(self.receivers.len()) > LIST_MAX {
            say("events", format!("at most {LIST_MAX} of each"));
        }
        for name in self
            .receivers
            .iter()
            .filter(|name| !receivers.contains_key(*name))
        {
            say(
                "receivers",
                format!("there is no receiver {name:?}; name it in alerts.receivers"),
            );
        }
        let events = self.events.iter().filter_map(|text| {
            Pattern::of(text).or_else(|| {
                say(
                    "events",
                    format!("{text:?} is no kind of event; write it as drift.opened, drift.* or *"),
                );
                None
            })
        });
        let events = events.collect();
        let at_least = Severity::of(&self.at_least).unwrap_or_else(|| {
            say("at_least", "must be info, warn or critical".to_owned());
            Severity::Info
        });
        let classes = self.classes.iter().filter_map(|text| {
            Class::of(text).or_else(|| {
                say("classes", format!("there is no class {text:?}"));
                None
            })
        });
        let classes = classes.collect();
        if self.group_wait_seconds > WAIT_SECONDS_MAX {
            say(
                "group_wait_seconds",
                format!("must be at most {WAIT_SECONDS_MAX}"),
            );
        }
        let group = self.group(&mut say);
        Rule {
            name: self.name.clone(),
            events,
            at_least,
            classes,
            projects: self.projects.clone(),
            environments: self.environments.clone(),
            labels: self.labels.clone(),
            receivers: self.receivers.clone(),
            group,
            once_in: span(self.once_in_seconds, format!("{key}.once_in_seconds"), wrong),
        }
    }
}
