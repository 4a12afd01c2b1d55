//! How receivers are told: by webhooks, in channels, by e-mail. What is told, to whom and when, is decided elsewhere; here a notice is sent once, and
//! what came of it is said. Every wait, size and answer has a bound.

mod egress;
mod mail;
pub(crate) mod post;
mod webhook;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::net::lookup_host;
use writ_chassis::config::ConfigError;
use writ_chassis::tls::CaError;
use writ_protocol::id::AlertId;
use writ_protocol::time::Timestamp;

use crate::config::{Alerts, ReceiverConfig};

/// Longest try, from the question for an address to the end of the answer. Shorter than the lease of whoever tries.
pub const TRY: Duration = Duration::from_secs(10);

/// What is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The notification's id: the same at every try, so that a receiver knows it when it comes twice.
    pub id: AlertId,
    /// Under which rule.
    pub rule: String,
    /// How bad it is.
    pub severity: &'static str,
    /// What happened, the first first; each has at least `kind`, `subject`, `summary` and `at`.
    pub events: Vec<Value>,
    /// When it was made.
    pub made_at: Timestamp,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the receiver said, or why it could not be asked; for people.
    pub said: String,
    /// What follows.
    pub fate: Fate,
}

/// What follows from a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver took it.
    Accepted,
    /// It did not; it may later, and says when it wants to be asked, or does not.
    Failed(Option<Duration>),
    /// It never will.
    Refused,
}

impl Outcome {
    const fn accepted(said: String) -> Self {
        Self {
            said,
            fate: Fate::Accepted,
        }
    }

    pub(crate) const fn failed(said: String) -> Self {
        Self {
            said,
            fate: Fate::Failed(None),
        }
    }
}

/// A receiver cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// A secret cannot be read.
    #[error("receiver {receiver}: a secret cannot be read")]
    Secret {
        /// Which.
        receiver: String,
        /// Why not.
        #[source]
        source: ConfigError,
    },
    /// Its authorities cannot be read.
    #[error("receiver {receiver}: its authorities cannot be read")]
    Authority {
        /// Which.
        receiver: String,
        /// Why not.
        #[source]
        source: CaError,
    },
    /// A value is none; the value is not shown, for it may be a secret.
    #[error("receiver {receiver}: {what}")]
    Value {
        /// Which.
        receiver: String,
        /// What is wrong, and what to do.
        what: String,
    },
}

#[derive(Debug)]
enum Way {
    Webhook(webhook::Signed),
    Slack(post::Target),
    Mail(Box<mail::Mail>),
}

/// Everybody who can be told.
#[derive(Debug, Default)]
pub struct Senders {
    tenant: String,
    ways: BTreeMap<String, Way>,
}

impl Senders {
    /// Reads the secrets of all receivers.
    ///
    /// # Errors
    /// [`NotifyError`].
    pub fn open(alerts: &Alerts, tenant: &str) -> Result<Self, NotifyError> {
        let open = |(name, config): (&String, &ReceiverConfig)| {
            let way = match (&config.webhook, &config.slack, &config.email) {
                (Some(webhook), _, _) => Way::Webhook(webhook::Signed::open(name, webhook)?),
                (None, Some(slack), _) => Way::Slack(webhook::slack(name, slack)?),
                (None, None, Some(email)) => Way::Mail(Box::new(mail::Mail::open(name, email)?)),
                (None, None, None) => return Err(wrong(name, "name one of webhook, slack and email")),
            };
            Ok((name.clone(), way))
        };
        Ok(Self {
            tenant: tenant.to_owned(),
            ways: alerts.receivers.iter().map(open).collect::<Result<_, _>>()?,
        })
    }

    /// Sends a notice to a receiver once.
    pub async fn send(&self, receiver: &str, notice: &Notice, now: Timestamp) -> Outcome {
        let Some(way) = self.ways.get(receiver) else {
            return Outcome::failed(format!(
                "there is no receiver {receiver:?} in this controller's configuration"
            ));
        };
        let tried = async {
            match way {
                Way::Webhook(signed) => signed.send(notice, &self.tenant, now).await,
                Way::Slack(target) => webhook::send_slack(target, notice).await,
                Way::Mail(mail) => mail.send(notice, now).await,
            }
        };
        tokio::time::timeout(TRY, tried)
            .await
            .unwrap_or_else(|_| Outcome::failed(format!("no answer within {} seconds", TRY.as_secs())))
    }
}

fn wrong(receiver: &str, what: &str) -> NotifyError {
    NotifyError::Value {
        receiver: receiver.to_owned(),
        what: what.to_owned(),
    }
}

/// Addresses of a host that may be reached.
async fn addresses(
    host: &str,
    port: u16,
    allow_link_local: bool,
) -> Result<Vec<std::net::SocketAddr>, String> {
    let found = lookup_host((host, port)).await;
    let found: Vec<_> = found
        .map_err(|error| format!("no address of {host}: {error}"))?
        .collect();
    egress::check(host, &found, allow_link_local)?;
    Ok(found)
}
