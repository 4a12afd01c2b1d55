//! Whether this process can do its work: named checks, read by `/readyz` and by people.
//!
//! A check that never reported counts as failing, so a process is not ready before every part has said so. Whoever owns a connection
//! owns its check and reports when the state changes; nothing here asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// The longest reason kept, in characters; the rest is cut off.
pub const REASON_CHARS_MAX: usize = 256;

/// The checks of one process. Cheap to clone: every clone sees the same checks.
#[derive(Debug, Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<&'static str, CheckState>>>,
}

/// What a check last said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CheckState {
    /// The part works.
    Ok,
    /// The part does not work.
    Failing {
        /// Why, in a sentence fragment for an operator; at most [`REASON_CHARS_MAX`] characters.
        reason: String,
    },
}

/// One line of [`Health::report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The name of the check.
    pub name: &'static str,
    /// What it last said.
    #[serde(flatten)]
    pub state: CheckState,
}

impl Health {
    /// No checks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the check `name`, failing until it reports for the first time. The same name gives the same check.
    pub fn check(&self, name: &'static str) -> HealthCheck {
        self.with(|checks| {
            checks.entry(name).or_insert_with(|| CheckState::Failing {
                reason: "has not reported yet".to_owned(),
            });
        });
        HealthCheck {
            health: self.clone(),
            name,
        }
    }

    /// Whether every check is ok.
    pub fn is_ready(&self) -> bool {
        self.with(|checks| checks.values().all(|state| *state == CheckState::Ok))
    }

    /// Every check, by name.
    pub fn report(&self) -> Vec<CheckReport> {
        self.with(|checks| {
            checks
                .iter()
                .map(|(name, state)| CheckReport {
                    name,
                    state: state.clone(),
                })
                .collect()
        })
    }

    fn with<T>(&self, use_checks: impl FnOnce(&mut BTreeMap<&'static str, CheckState>) -> T) -> T {
        use_checks(&mut self.checks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The pen of one check.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    health: Health,
    name: &'static str,
}

impl HealthCheck {
    /// The part works.
    pub fn ok(&self) {
        self.set(CheckState::Ok);
    }

    /// The part does not work, because of `reason`.
    pub fn failing(&self, reason: &str) {
        self.set(CheckState::Failing {
            reason: reason.chars().take(REASON_CHARS_MAX).collect(),
        });
    }

    fn set(&self, state: CheckState) {
        let changed = self
            .health
            .with(|checks| checks.insert(self.name, state.clone()) != Some(state.clone()));
        if changed {
            match state {
                CheckState::Ok => tracing::info!(check = self.name, "health check is ok"),
                CheckState::Failing { reason } => {
                    tracing::warn!(check = self.name, %reason, "health check is failing");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_check_has_said_so() {
        let health = Health::new();
        assert!(health.is_ready(), "nothing to wait for");
        let database = health.check("database");
        let bus = health.check("bus");
        assert!(!health.is_ready(), "no check has reported");
        database.ok();
        assert!(!health.is_ready());
        bus.ok();
        assert!(health.is_ready());
        health.check("bus");
        assert!(health.is_ready(), "asking for a check again does not reset it");
        bus.failing("disconnected from every server");
        assert!(!health.is_ready());
        let report = serde_json::to_value(health.report()).expect("serialises");
        assert_eq!(
            report,
            serde_json::json!([
                { "name": "bus", "state": "failing", "reason": "disconnected from every server" },
                { "name": "database", "state": "ok" },
            ])
        );
    }

    #[test]
    fn a_long_reason_is_cut() {
        let health = Health::new();
        health.check("disk").failing(&"é".repeat(10_000));
        let report = health.report();
        let CheckState::Failing { reason } = &report[0].state else {
            panic!("failing")
        };
        assert_eq!(reason.chars().count(), REASON_CHARS_MAX);
    }
}
