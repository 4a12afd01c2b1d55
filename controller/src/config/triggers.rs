//! What other programs may set off, as it stands in the file. Nothing is unless it is named here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;
use writ_chassis::config::{ConfigError, Problem, read_secret_file};
use writ_domain::trigger::{Rule, Scan, Starts, Trigger};
use writ_protocol::digest::Digest;

/// Most triggers, and most rules of one.
const NAMED_MAX: usize = 64;
/// Longest name of a trigger or rule, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most labels that a rule asks for.
const LABELS_MAX: usize = 16;
/// Most that a trigger starts within an hour.
const HOURLY_MAX: u32 = 1_000;
/// Shortest token, bytes: what nobody can guess.
const TOKEN_BYTES_MIN: usize = 32;

/// What is wrong: the key, and what to do.
type Wrong = (String, String);

/// Triggers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Triggers {
    /// Those that Alertmanagers call, by name.
    pub alertmanager: BTreeMap<String, TriggerConfig>,
}

/// A trigger.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerConfig {
    /// File with the bearer token that its caller has; good for this and for nothing else.
    pub token_file: PathBuf,
    /// How much it starts within an hour at the most.
    #[serde(default = "hourly")]
    pub most_per_hour: u32,
    /// What alerts start, the first that fits.
    pub rules: Vec<TriggerRuleConfig>,
}

const fn hourly() -> u32 {
    12
}

/// What an alert starts: exactly one of `scan` and `apply`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerRuleConfig {
    /// Its name.
    pub name: String,
    /// Labels that the alert must have, each with this value.
    pub labels: BTreeMap<String, String>,
    /// A look for drift.
    #[serde(default)]
    pub scan: Option<ScanConfig>,
    /// A plan that is kept, by its digest, brought to the hosts that it was made for.
    #[serde(default)]
    pub apply: Option<String>,
}

/// Which hosts look.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScanConfig {
    /// The host of the agent of this name.
    pub agent: Option<String>,
    /// The host that this label of the alert names.
    pub agent_label: Option<String>,
    /// What is watched of this project.
    pub project: Option<String>,
    /// Hosts of this environment.
    pub environment: Option<String>,
}

impl Triggers {
    /// Everything that is wrong, by key.
    pub fn wrong(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.alertmanager.len() > NAMED_MAX {
            let what = format!("at most {NAMED_MAX} triggers");
            wrong.push(("triggers.alertmanager".to_owned(), what));
        }
        for (name, one) in &self.alertmanager {
            one.check(name, &mut wrong);
        }
        wrong
    }

    /// As the desk knows them, with the digests of their tokens.
    ///
    /// # Errors
    /// A token's file cannot be read, or what is in it can be guessed.
    pub fn open(&self) -> Result<BTreeMap<String, Trigger>, ConfigError> {
        let open = |(name, one): (&String, &TriggerConfig)| {
            let token = read_secret_file(&one.token_file)?;
            if token.expose().len() < TOKEN_BYTES_MIN {
                return Err(ConfigError::Values(vec![Problem {
                    key: format!("triggers.alertmanager.{name}.token_file"),
                    place: one.token_file.display().to_string(),
                    what: format!("must hold at least {TOKEN_BYTES_MIN} characters that nobody can guess"),
                }]));
            }
            let trigger = Trigger {
                token: Digest::of(token.expose().as_bytes()),
                most_per_hour: one.most_per_hour,
                rules: one.rules.iter().filter_map(TriggerRuleConfig::read).collect(),
            };
            Ok((name.clone(), trigger))
        };
        self.alertmanager.iter().map(open).collect()
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

impl TriggerConfig {
    fn check(&self, name: &str, wrong: &mut Vec<Wrong>) {
        let key = format!("triggers.alertmanager.{name}");
        let mut say = |field: &str, what: String| wrong.push((format!("{key}{field}"), what));
        let named = || format!("a name is 1 to {NAME_BYTES_MAX} small letters, digits and hyphens");
        if !is_name(name) {
            say("", named());
        }
        if !(1..=HOURLY_MAX).contains(&self.most_per_hour) {
            say(".most_per_hour", format!("must be between 1 and {HOURLY_MAX}"));
        }
        if !(1..=NAMED_MAX).contains(&self.rules.len()) {
            say(".rules", format!("name 1 to {NAMED_MAX} rules"));
        }
        let mut names = BTreeSet::new();
        for (number, rule) in self.rules.iter().enumerate() {
            if !is_name(&rule.name) {
                say(&format!(".rules.{number}.name"), named());
            }
            if !names.insert(&rule.name) {
                let what = "is another rule's already";
                say(&format!(".rules.{number}.name"), what.to_owned());
            }
            if !(1..=LABELS_MAX).contains(&rule.labels.len()) {
                let what = format!("name 1 to {LABELS_MAX} labels: no rule is for every alert");
                say(&format!(".rules.{number}.labels"), what);
            }
            if rule.read().is_none() {
                let what = "name exactly one of scan and apply (the digest of a plan that is kept); \
                            a scan has agent or agent_label, or neither";
                say(&format!(".rules.{number}"), what.to_owned());
            }
        }
    }
}

impl TriggerRuleConfig {
    fn read(&self) -> Option<Rule> {
        let starts = match (&self.scan, &self.apply) {
            (Some(scan), None) if scan.agent.is_none() || scan.agent_label.is_none() => Starts::Scan(Scan {
                agent: scan.agent.clone(),
                agent_label: scan.agent_label.clone(),
                project: scan.project.clone(),
                environment: scan.environment.clone(),
            }),
            (None, Some(plan)) => Starts::Apply(plan.parse().ok()?),
            _ => return None,
        };
        Some(Rule {
            name: self.name.clone(),
            labels: self.labels.clone(),
            starts,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What makes a trigger wrong.
    type Change = fn(&mut Value);

    fn rule() -> Value {
        json!({ "name": "disk", "labels": { "alertname": "Disk" }, "scan": { "agent_label": "host" } })
    }

    fn of(name: &str, change: impl FnOnce(&mut Value)) -> Result<Triggers, serde_json::Error> {
        let mut one = json!({ "token_file": "/run/token", "rules": [rule()] });
        change(&mut one);
        serde_json::from_value(json!({ "alertmanager": { name: one } }))
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let fine = of("monitoring", |_| ()).expect("reads");
        assert_eq!(fine.wrong(), []);
        assert!(Triggers::default().alertmanager.is_empty(), "off as it comes");
        let changes: [(&str, Change); 7] = [
            ("monitoring.most_per_hour", |one| one["most_per_hour"] = json!(0)),
            ("monitoring.rules", |one| one["rules"] = json!([])),
            ("monitoring.rules.0.name", |one| {
                one["rules"][0]["name"] = json!("a b");
            }),
            ("monitoring.rules.1.name", |one| {
                one["rules"] = json!([rule(), rule()]);
            }),
            ("monitoring.rules.0.labels", |one| {
                one["rules"][0]["labels"] = json!({});
            }),
            ("monitoring.rules.0", |one| {
                one["rules"][0]["apply"] = json!("sha256:00");
            }),
            ("monitoring.rules.0", |one| {
                one["rules"][0]["scan"]["agent"] = json!("web-1");
            }),
        ];
        for (place, change) in changes {
            let wrong = of("monitoring", change).expect("reads").wrong();
            let places: Vec<&str> = wrong.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(places, [format!("triggers.alertmanager.{place}")]);
        }
        assert_eq!(of("Monitoring", |_| ()).expect("reads").wrong().len(), 1);
        let unknown: [Change; 3] = [
            |one| one["tokn_file"] = json!("/x"),
            |one| one["rules"][0]["run"] = json!("rm"),
            |one| one["rules"][0]["scan"]["command"] = json!("rm"),
        ];
        for change in unknown {
            assert!(of("monitoring", change).is_err());
        }
    }

    #[test]
    fn a_token_that_can_be_guessed_opens_nothing() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("token");
        let all = of("monitoring", |one| one["token_file"] = json!(path)).expect("reads");
        assert!(all.open().is_err(), "there is none");
        let long = "a".repeat(TOKEN_BYTES_MIN);
        std::fs::write(&path, format!("{long}\n")).expect("written");
        assert_eq!(
            all.open().expect("opens")["monitoring"].token,
            Digest::of(long.as_bytes())
        );
        std::fs::write(&path, &long[1..]).expect("written");
        let error = all.open().expect_err("short").to_string();
        assert!(
            error.contains("triggers.alertmanager.monitoring.token_file"),
            "{error}"
        );
    }
}
