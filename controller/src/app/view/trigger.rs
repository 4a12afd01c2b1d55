//! What a trigger's caller is told.

use serde::Serialize;
use utoipa::ToSchema;

/// What became of the alerts of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerView {
    /// What was started.
    pub started: Vec<TriggerStartView>,
    /// What was not, and why.
    pub refused: Vec<TriggerStartView>,
    /// Alerts that started something before.
    pub known: u64,
    /// Alerts that no rule is about.
    pub unmatched: u64,
    /// Alerts that are over.
    pub resolved: u64,
}

/// What a rule led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerStartView {
    /// The rule.
    pub rule: String,
    /// The run's id or what else was started, or why it was not.
    pub what: String,
}

impl TriggerStartView {
    pub(in crate::app) fn of(rule: &str, what: String) -> Self {
        Self {
            rule: rule.to_owned(),
            what,
        }
    }
}
