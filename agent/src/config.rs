//! The agent's configuration: one YAML file, overridden by `WRIT_AGENT_…` variables. Who the agent is and where its bus is come from
//! enrolment and lie in the state directory; what stands here is how it behaves on this host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writ_chassis::config::{self, ConfigError, Problem};
use writ_chassis::telemetry::LogConfig;

/// What the environment's variables begin with: `WRIT_AGENT_STATE_DIR`, `WRIT_AGENT_LOG__LEVEL`.
pub const ENV_PREFIX: &str = "WRIT_AGENT_";

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// Where identity, journal and bundle cache lie; owned by the agent alone.
    pub state_dir: PathBuf,
    /// Logs.
    pub log: LogConfig,
    /// Overrides of what enrolment said about the bus.
    pub bus: BusConfig,
    /// The journal's bounds.
    pub journal: JournalConfig,
    /// How steps run.
    pub steps: StepsConfig,
    /// The host's say on where steps may reach.
    pub egress: EgressConfig,
    /// How the host is held to the plans that were applied here.
    pub drift: DriftConfig,
    /// Milliseconds between hellos, instead of what the controller says; for tests.
    pub hello_interval_ms: Option<u64>,
    /// The environment this host belongs to (`env`), so that halts of one environment are known to cover it. Without it only halts
    /// sent to this very agent count.
    pub environment: Option<String>,
    /// Seconds that a stop waits for the running step before it is killed.
    pub drain_seconds: u64,
    /// A file in which the metrics are written as Prometheus reads them, after each hello; for a node exporter.
    pub metrics_file: Option<PathBuf>,
}

/// The bus, where it differs from what enrolment said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// Servers; empty means those of enrolment.
    pub servers: Vec<String>,
    /// A PEM file of the authorities to trust, instead of those of enrolment.
    pub ca_file: Option<PathBuf>,
    /// Whether TLS begins before the server speaks; the server must be set to the same.
    pub tls_first: bool,
    /// Milliseconds over which the first try after a lost connection is spread, until the controller says another.
    pub reconnect_window_ms: Option<u64>,
}

/// The journal's bounds, bytes and hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalConfig {
    /// A segment is closed when it is this large.
    pub segment_bytes: u64,
    /// Acknowledged segments are kept up to this many bytes, to be sent again after the database was restored…
    pub retain_bytes: u64,
    /// …and all that are younger than this, hours.
    pub retain_hours: u64,
    /// Below this many free bytes new orders are refused.
    pub reserve_bytes: u64,
    /// Bytes kept aside so that an order that runs can still be ended when the disk is full.
    pub ballast_bytes: u64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 8 << 20,
            retain_bytes: 64 << 20,
            retain_hours: 24,
            reserve_bytes: 64 << 20,
            ballast_bytes: 8 << 20,
        }
    }
}

/// How steps run on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepsConfig {
    /// `discover`, `off`, or an absolute directory of a cgroup version 2 hierarchy.
    pub cgroup: String,
    /// Bytes of bundles kept for the next order.
    pub bundle_cache_bytes: u64,
}

impl Default for StepsConfig {
    fn default() -> Self {
        Self {
            cgroup: "discover".to_owned(),
            bundle_cache_bytes: 256 << 20,
        }
    }
}

/// The host's say on where steps may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressConfig {
    /// Rules in Rego, a file or a folder, that are asked about every connection that a plan allows; none when absent. Read at start. A wrong
    /// one refuses all of them.
    pub policy: Option<PathBuf>,
}

/// How the host is held to the plans that were applied here. Nothing is ever repaired by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriftConfig {
    /// Whether it is.
    pub enabled: bool,
    /// Seconds between two looks at everything.
    pub interval_seconds: u64,
    /// Whether the kernel is asked to tell of changes, so that they are looked at when they are made.
    pub events: bool,
}

impl Default for DriftConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            // With the time of a look, of a hello and of its commit this stays within five minutes.
            interval_seconds: 180,
            events: true,
        }
    }
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/writ-agent".into(),
            log: LogConfig::default(),
            bus: BusConfig::default(),
            journal: JournalConfig::default(),
            steps: StepsConfig::default(),
            egress: EgressConfig::default(),
            drift: DriftConfig::default(),
            hello_interval_ms: None,
            environment: None,
            drain_seconds: 60,
            metrics_file: None,
        }
    }
}

impl AgentConfig {
    /// Loads defaults, then `file`, then the environment, and checks the values.
    ///
    /// # Errors
    /// [`ConfigError`], naming every wrong value.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let loaded: Self = config::load(file, ENV_PREFIX)?;
        loaded.validate()?;
        Ok(loaded)
    }

    /// Checks values that are well formed and yet cannot be meant.
    ///
    /// # Errors
    /// [`ConfigError::Values`] with every problem.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let journal = &self.journal;
        let cgroup = self.steps.cgroup.as_str();
        let rules = [
            (
                self.state_dir.is_absolute(),
                "state_dir",
                "must be an absolute path",
            ),
            (
                (1 << 16..=1 << 30).contains(&journal.segment_bytes),
                "journal.segment_bytes",
                "must lie between 64 KiB and 1 GiB",
            ),
            (
                journal.ballast_bytes <= journal.reserve_bytes,
                "journal.ballast_bytes",
                "must not be above journal.reserve_bytes",
            ),
            (
                matches!(cgroup, "discover" | "off") || cgroup.starts_with('/'),
                "steps.cgroup",
                "must be discover, off or an absolute path",
            ),
            (
                self.egress.policy.as_ref().is_none_or(|path| path.is_absolute()),
                "egress.policy",
                "must be an absolute path",
            ),
            (
                (1..=86_400).contains(&self.drift.interval_seconds),
                "drift.interval_seconds",
                "must lie between 1 and 86400",
            ),
            (
                self.hello_interval_ms.is_none_or(|ms| ms >= 100),
                "hello_interval_ms",
                "must be at least 100",
            ),
            (
                self.drain_seconds <= 3_600,
                "drain_seconds",
                "must be at most 3600",
            ),
        ];
        let problems: Vec<Problem> = rules
            .into_iter()
            .filter(|(holds, ..)| !holds)
            .map(|(_, key, what)| Problem {
                key: key.to_owned(),
                place: String::new(),
                what: what.to_owned(),
            })
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Values(problems))
        }
    }

    /// Where keys, credentials and trust lie.
    pub fn identity_dir(&self) -> PathBuf {
        self.state_dir.join("identity")
    }

    /// Where the journal lies.
    pub fn journal_dir(&self) -> PathBuf {
        self.state_dir.join("journal")
    }

    /// Where fetched bundles lie.
    pub fn bundle_dir(&self) -> PathBuf {
        self.state_dir.join("bundles")
    }

    /// Where programs of providers lie while an order needs them.
    pub fn program_dir(&self) -> PathBuf {
        self.state_dir.join("programs")
    }

    /// How long a stop waits for the running step.
    pub const fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_the_default() {
        let sample = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/agent/agent.yaml"));
        assert_eq!(
            AgentConfig::load(Some(sample)).expect("loads"),
            AgentConfig::default()
        );
    }

    #[test]
    fn every_wrong_value_is_named() {
        let mut config = AgentConfig {
            state_dir: "relative".into(),
            ..AgentConfig::default()
        };
        config.steps.cgroup = "somewhere".to_owned();
        let text = config.validate().expect_err("refused").to_string();
        assert!(
            text.contains("state_dir") && text.contains("steps.cgroup"),
            "{text}"
        );
    }
}
