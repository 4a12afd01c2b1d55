//! Who is told of what, as it stands in the file. Everything is off until `deliver` says otherwise; secrets are in files of their own.

mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;
use writ_domain::drift::Severity;

/// Alerts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alerts {
    /// Whether anything is sent; nothing is written down for receivers before that either.
    pub deliver: bool,
    /// Who is told, by name.
    pub receivers: BTreeMap<String, ReceiverConfig>,
    /// Of what, in this order.
    pub rules: Vec<RuleConfig>,
}

/// Somebody who is told: exactly one of `webhook`, `slack` and `email`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// A program that takes CloudEvents under Standard Webhooks signatures.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// A channel of Slack, or of what takes the same.
    #[serde(default)]
    pub slack: Option<Slack>,
    /// People by e-mail.
    #[serde(default)]
    pub email: Option<Email>,
    /// Whether whoever reads it may see findings of the class security. There is no default: somebody must have thought of it.
    pub sees_security: bool,
    /// How many it takes.
    #[serde(default)]
    pub rate: RateConfig,
    /// When what can wait is kept back.
    #[serde(default)]
    pub quiet: Vec<QuietConfig>,
    /// How often it is tried.
    #[serde(default)]
    pub retry: RetryConfig,
}

/// A program that takes CloudEvents.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where.
    pub url: String,
    /// Files with secrets (`whsec_…`); every one signs, so that they can be changed without a gap.
    pub secret_files: Vec<PathBuf>,
    /// How it may be reached.
    #[serde(default)]
    pub reach: Reach,
}

/// A channel of Slack.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// File with the address, which is a secret.
    pub url_file: PathBuf,
    /// How it may be reached.
    #[serde(default)]
    pub reach: Reach,
}

/// How a receiver may be reached. What is not named is refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reach {
    /// PEM of the only authorities that are trusted; those of this host when absent.
    pub ca_file: Option<PathBuf>,
    /// Plain HTTP to another host than this one.
    pub allow_plain: bool,
    /// Addresses of the link itself, where clouds answer with their hosts' secrets.
    pub allow_link_local: bool,
}

/// People by e-mail.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// Host of the server that takes mail from us.
    pub server: String,
    /// Its port; by `tls` when absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: MailTls,
    /// The login's name.
    #[serde(default)]
    pub user: Option<String>,
    /// File with its password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// From whom.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
    /// How it may be reached.
    #[serde(default)]
    pub reach: Reach,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// TLS from the first byte; port 465.
    #[default]
    Implicit,
    /// TLS before anything else is said, or nothing is; port 587.
    Starttls,
    /// Not at all: on this host, or where `allow_plain` says so; port 25.
    None,
}

/// So many in so long.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateConfig {
    /// How many.
    pub most: u32,
    /// In how many seconds.
    pub per_seconds: u64,
}

impl Default for RateConfig {
    fn default() -> Self {
        Self {
            most: 60,
            per_seconds: 3_600,
        }
    }
}

/// Quiet hours, by the clock of a zone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuietConfig {
    /// IANA name of the zone.
    pub zone: String,
    /// Days on which they begin, as a cron expression has them; all when absent.
    #[serde(default)]
    pub days: Option<String>,
    /// When they begin, as `22:00`.
    pub from: String,
    /// When they end, as `07:00`; of the next day where it is not later.
    pub to: String,
    /// What becomes of what they keep back.
    #[serde(default)]
    pub then: QuietThen,
}

/// What becomes of what quiet hours keep back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuietThen {
    /// It is sent when they end.
    #[default]
    Hold,
    /// It is not sent.
    Drop,
}

/// How often a receiver is tried.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Tries in all.
    pub tries: u32,
    /// The pause after the first, seconds; each is four times the one before.
    pub first_seconds: u64,
    /// The longest pause, seconds.
    pub longest_seconds: u64,
}

impl Default for RetryConfig {
    /// About a day: 5 s, 20 s, 80 s, 5 min, 21 min, 85 min, 5.7 h, 8 h, 8 h.
    fn default() -> Self {
        Self {
            tries: 10,
            first_seconds: 5,
            longest_seconds: 8 * 3_600,
        }
    }
}

/// Which events are for whom.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Its name.
    pub name: String,
    /// Kinds of events: `drift.opened`, `drift.*`, `*`.
    pub events: Vec<String>,
    /// At least as bad as this: `info`, `warn` or `critical`.
    #[serde(default = "info")]
    pub at_least: String,
    /// Findings of any of these classes.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Of any of these projects.
    #[serde(default)]
    pub projects: BTreeSet<String>,
    /// On hosts of any of these environments (their label `env`).
    #[serde(default)]
    pub environments: BTreeSet<String>,
    /// On hosts that carry all of these labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Names of receivers.
    pub receivers: Vec<String>,
    /// What events have in common that come together: `kind`, `host`, `project`, `environment`, `class`. Each comes alone when absent.
    #[serde(default)]
    pub group_by: Option<Vec<String>>,
    /// How long the first of a group waits for others, seconds.
    #[serde(default = "group_wait")]
    pub group_wait_seconds: u64,
    /// For how long the same is told once, seconds.
    #[serde(default = "once_in")]
    pub once_in_seconds: u64,
}

fn info() -> String {
    Severity::Info.name().to_owned()
}

const fn group_wait() -> u64 {
    2
}

const fn once_in() -> u64 {
    3_600
}

#[cfg(test)]
mod tests;
