//! What an operator can set. Unknown keys are refused; every value has a bound; a file that is named must be there.

mod alerts;
mod rates;
mod telemetry;
mod triggers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writ_chassis::config::{self, ConfigError, Problem, Secret};
use writ_chassis::nats::{Capacities, Credentials, NatsOptions};
use writ_chassis::telemetry::LogConfig;
use writ_protocol::limits::NAME_BYTES_MAX;
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::subject;

pub use alerts::{Alerts, Email, MailTls, Reach, ReceiverConfig, Slack, Webhook};
pub use rates::Rates;
pub use telemetry::Telemetry;
pub use triggers::{ScanConfig, TriggerConfig, TriggerRuleConfig, Triggers};

/// Prefix of the environment variables: `WRIT_CONTROLLER_API__LISTEN` sets `api.listen`.
pub const ENV_PREFIX: &str = "WRIT_CONTROLLER_";
/// Shortest and longest lease, milliseconds.
const LEASE_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;
/// Shortest and longest hello interval, milliseconds.
const HELLO_MS: std::ops::RangeInclusive<u64> = 200..=3_600_000;
/// Shortest and longest time for which alarms and dead letters are kept, days.
const RETENTION_DAYS: std::ops::RangeInclusive<u64> = 1..=3_650;
/// Most copies of a stream.
const REPLICAS: std::ops::RangeInclusive<usize> = 1..=5;

/// The controller's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tenant that this controller serves.
    pub tenant: String,
    /// The ledger.
    pub database: Database,
    /// The bus.
    pub bus: Bus,
    /// The API.
    #[serde(default)]
    pub api: Api,
    /// Folder of the signing keys.
    pub keys_dir: PathBuf,
    /// Folder of the trust root and policy.
    pub trust_dir: PathBuf,
    /// Length of an order's lease, milliseconds.
    #[serde(default = "lease_ms")]
    pub lease_ms: u64,
    /// What agents are told about hellos, milliseconds.
    #[serde(default = "hello_interval_ms")]
    pub hello_interval_ms: u64,
    /// How long things are kept for people to look at.
    #[serde(default)]
    pub retention: Retention,
    /// What work costs.
    #[serde(default)]
    pub rates: Rates,
    /// Who is told of what.
    #[serde(default)]
    pub alerts: Alerts,
    /// What other programs may set off.
    #[serde(default)]
    pub triggers: Triggers,
    /// Where spans of traces are sent.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// Logs.
    #[serde(default)]
    pub log: LogConfig,
}

/// How long things are kept for people to look at. Evidence is not among them: it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// What agents raised, days.
    pub alarms_days: u64,
    /// Messages that could not be taken, days.
    pub dead_letters_days: u64,
    /// What became of findings of drift, and findings that are cleared, days.
    pub drift_days: u64,
    /// Notifications that were taken, given up or dropped, days.
    pub alerts_days: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            alarms_days: 90,
            dead_letters_days: 90,
            drift_days: 90,
            alerts_days: 30,
        }
    }
}

/// Where the ledger is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `postgres://…`; may name a Unix socket. May hold a password, so it does not print.
    pub url: Secret<String>,
    /// Most connections of this controller, 4 to 64.
    #[serde(default = "max_connections")]
    pub max_connections: u32,
}

/// Where the bus is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bus {
    /// Servers, such as `tls://bus.example:4222`.
    pub servers: Vec<String>,
    /// PEM of the only authority that is trusted.
    pub ca_file: PathBuf,
    /// The controller's login in CORE.
    pub credentials: LoginFiles,
    /// Its login in the system account; without it removed agents stay connected until their claims expire.
    #[serde(default)]
    pub system_credentials: Option<LoginFiles>,
    /// Seed of a signing key of the bus's operator: what a removed agent's claims are revoked with. It can sign any account of the bus, so
    /// it is given on its own, or not at all; it needs the login above.
    #[serde(default)]
    pub revocation_key_file: Option<PathBuf>,
    /// Servers as agents reach them; what join tokens say. The servers above when empty.
    #[serde(default)]
    pub public_servers: Vec<String>,
    /// How large the streams may become.
    #[serde(default)]
    pub streams: StreamSizes,
}

/// How large the streams may become and how often they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamSizes {
    /// Copies of each stream, 1 to 5.
    pub replicas: usize,
    /// Bytes of newest manifests.
    pub orders_bytes: i64,
    /// Bytes of events.
    pub events_bytes: i64,
    /// Bytes of bundles.
    pub bundles_bytes: i64,
}

impl Default for StreamSizes {
    fn default() -> Self {
        Self {
            replicas: 1,
            orders_bytes: 1 << 30,
            events_bytes: 1 << 30,
            bundles_bytes: 1 << 30,
        }
    }
}

/// Files of a login.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginFiles {
    /// User claims.
    pub jwt_file: PathBuf,
    /// The user's seed.
    pub seed_file: PathBuf,
}

/// Where the API listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Address and port. Plain HTTP: put it behind TLS, or on loopback.
    pub listen: SocketAddr,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7443)),
        }
    }
}

const fn lease_ms() -> u64 {
    30_000
}

const fn hello_interval_ms() -> u64 {
    60_000
}

const fn max_connections() -> u32 {
    16
}

impl Config {
    /// Loads and checks: defaults, then `file`, then the environment.
    ///
    /// # Errors
    /// When a file cannot be read, or a value is missing, unknown or out of bounds; all that is wrong is said at once.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut config: Self = config::load(file, ENV_PREFIX)?;
        config.telemetry.fill_from(config::env_text);
        let problems = config.problems();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Values(problems))
        }
    }

    /// Length of an order's lease.
    pub const fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// What agents are told about hellos.
    pub const fn hello_interval(&self) -> Duration {
        Duration::from_millis(self.hello_interval_ms)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut check = |fine: bool, key: &str, what: &str| {
            if !fine {
                found.push(Problem {
                    key: key.to_owned(),
                    place: String::new(),
                    what: what.to_owned(),
                });
            }
        };
        let tenant = !self.tenant.is_empty() && self.tenant.len() <= NAME_BYTES_MAX;
        check(tenant, "tenant", "must be 1 to 128 bytes long");
        check(
            LEASE_MS.contains(&self.lease_ms),
            "lease_ms",
            "must be between 1000 (a second) and 3600000 (an hour)",
        );
        check(
            HELLO_MS.contains(&self.hello_interval_ms),
            "hello_interval_ms",
            "must be between 200 and 3600000 (an hour)",
        );
        check(
            (4..=64).contains(&self.database.max_connections),
            "database.max_connections",
            "must be between 4 and 64",
        );
        check(
            !self.bus.servers.is_empty(),
            "bus.servers",
            "name at least one, such as tls://bus.example:4222",
        );
        check(
            self.bus.revocation_key_file.is_none() || self.bus.system_credentials.is_some(),
            "bus.revocation_key_file",
            "needs bus.system_credentials: claims are pushed by a login of the system account",
        );
        for (key, days) in [
            ("retention.alarms_days", self.retention.alarms_days),
            ("retention.dead_letters_days", self.retention.dead_letters_days),
            ("retention.drift_days", self.retention.drift_days),
            ("retention.alerts_days", self.retention.alerts_days),
        ] {
            check(RETENTION_DAYS.contains(&days), key, "must be between 1 and 3650");
        }
        for (key, what) in self.alerts.policy().err().unwrap_or_default() {
            check(false, &key, &what);
        }
        for (key, what) in self.triggers.wrong() {
            check(false, &key, &what);
        }
        self.rates.check(&mut check);
        self.telemetry.check(&mut check);
        let streams = &self.bus.streams;
        check(
            REPLICAS.contains(&streams.replicas),
            "bus.streams.replicas",
            "must be between 1 and 5",
        );
        for (key, bytes) in [
            ("bus.streams.orders_bytes", streams.orders_bytes),
            ("bus.streams.events_bytes", streams.events_bytes),
            ("bus.streams.bundles_bytes", streams.bundles_bytes),
        ] {
            check(bytes >= 64 << 20, key, "must be at least 67108864 (64 MiB)");
        }
        found
    }
}

/// A login cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A file.
    #[error("cannot read the login")]
    File(#[from] ConfigError),
    /// The seed.
    #[error("{path} is not the seed of a bus user; such a seed begins with SU", path = .path.display())]
    Seed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: writ_protocol::nats::NkeyError,
    },
    /// The operator's signing key.
    #[error("{path} is not the seed of a bus operator; such a seed begins with SO", path = .path.display())]
    Operator {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: writ_protocol::nats::NkeyError,
    },
    /// Claims that name no account: to revoke agents, the controller must know whose streams they reach.
    #[error("the claims in {path} name no account", path = .0.display())]
    NoAccount(PathBuf),
}

impl Bus {
    /// Options of the connection as `login`. The inbox is the one that its claims allow: below its own nkey.
    ///
    /// # Errors
    /// [`LoginError`].
    pub fn options(&self, login: &LoginFiles, name: &str) -> Result<NatsOptions, LoginError> {
        let jwt = config::read_secret_file(&login.jwt_file)?.expose().clone();
        let seed = config::read_secret_file(&login.seed_file)?;
        let key = NkeyPair::from_seed(NkeyKind::User, seed.expose())
            .and_then(|pair| pair.user_key())
            .map_err(|source| LoginError::Seed {
                path: login.seed_file.clone(),
                source,
            })?;
        Ok(NatsOptions {
            servers: self.servers.clone(),
            name: name.to_owned(),
            credentials: Credentials::Jwt { jwt, seed },
            ca_file: Some(self.ca_file.clone()),
            inbox_prefix: subject::inbox(&key),
            retry_on_initial_connect: true,
            // Controllers are few: they come back at once, so that agents find somebody to ask.
            reconnect_window: Duration::from_millis(250),
            capacities: Capacities::CONTROLLER,
            ..NatsOptions::default()
        })
    }

    /// Servers as agents reach them.
    pub fn public_servers(&self) -> &[String] {
        if self.public_servers.is_empty() {
            &self.servers
        } else {
            &self.public_servers
        }
    }
}

#[cfg(test)]
mod tests {
    use writ_protocol::cost::RateCard;

    use super::*;

    const GOOD: &str = r#"
tenant: acme
database: { url: "postgres:///writ" }
bus:
  servers: ["tls://bus.example:4222"]
  ca_file: /ca.pem
  credentials: { jwt_file: /c.jwt, seed_file: /c.seed }
keys_dir: /keys
trust_dir: /trust
"#;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("controller.yaml");
        std::fs::write(&file, text).expect("written");
        Config::load(Some(&file))
    }

    #[test]
    fn what_is_left_out_has_a_default_and_the_database_does_not_print() {
        let config = load(GOOD).expect("loads");
        assert_eq!(config.lease(), Duration::from_secs(30));
        assert_eq!(config.bus.public_servers(), ["tls://bus.example:4222"]);
        assert_eq!(config.bus.streams, StreamSizes::default());
        assert_eq!(config.retention.alarms_days, 90);
        assert_eq!(config.rates.card(), RateCard::default());
        assert!(!format!("{config:?}").contains("postgres:///"));
    }

    #[test]
    fn every_wrong_value_is_named_at_once_and_an_unknown_key_is_refused() {
        let bad =
            format!("{GOOD}lease_ms: 5\nhello_interval_ms: 99999999\nretention: {{ alarms_days: 0 }}\n");
        let bad = bad.replace("acme", "\"\"");
        let error = load(&bad).expect_err("refused").to_string();
        let bad = format!("{bad}rates: {{ currency: euro, cpu_second_micros: 1000000000001, version: 0 }}\n");
        let error = format!("{error}{}", load(&bad).expect_err("refused"));
        for key in [
            "tenant",
            "lease_ms",
            "hello_interval_ms",
            "retention.alarms_days",
            "rates.currency",
            "rates.version",
            "a price must be",
        ] {
            assert!(error.contains(key), "{error}");
        }
        let error = load(&format!("{GOOD}leese_ms: 5000\n")).expect_err("refused");
        assert!(error.to_string().contains("leese_ms"), "{error}");
        let error = load(&GOOD.replace("servers: [\"tls://bus.example:4222\"]", "servers: []"));
        assert!(error.expect_err("refused").to_string().contains("bus.servers"));
        let error = load(&GOOD.replace("bus:", "bus:\n  revocation_key_file: /operator.seed"));
        assert!(
            error
                .expect_err("refused")
                .to_string()
                .contains("bus.system_credentials")
        );
    }
}
