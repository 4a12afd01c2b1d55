//! Alerts as they are shown. No address and no secret of a receiver is among it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use writ_domain::alert::rule::{GroupBy, Pattern, Receiver, Rule};
use writ_domain::drift::Class;
use writ_store::alert::Alert;

/// A notification of one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertView {
    /// Its id; later ones are greater. Receivers know it by that at every try.
    pub id: String,
    /// To whom.
    pub receiver: String,
    /// Under which rule; `test` where somebody asked for it.
    pub rule: String,
    /// `info`, `warn` or `critical`.
    pub severity: String,
    /// `waiting`, `sending`, `delivered`, `dead` or `dropped`.
    pub state: String,
    /// Why it was dropped: `same`, `quiet`, `rate` or `full`.
    pub reason: Option<String>,
    /// What happened, the first first; more than one only in a group.
    pub events: Vec<Value>,
    /// When it was made, RFC 3339.
    pub made_at: String,
    /// When it is, or was, due, RFC 3339.
    pub due_at: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was last tried, RFC 3339.
    pub tried_at: Option<String>,
    /// What the receiver said to that, or why it could not be asked.
    pub answer: Option<String>,
    /// When it was taken, given up or dropped, RFC 3339.
    pub ended_at: Option<String>,
}

impl From<Alert> for AlertView {
    fn from(one: Alert) -> Self {
        Self {
            id: one.alert_id.to_string(),
            receiver: one.receiver,
            rule: one.rule,
            severity: one.severity.name().to_owned(),
            state: one.delivery.state.name().to_owned(),
            reason: one.reason,
            events: one.happenings,
            made_at: one.made_at.to_string(),
            due_at: one.delivery.due.to_string(),
            attempts: one.delivery.attempts,
            tried_at: one.tried_at.map(|at| at.to_string()),
            answer: one.answer,
            ended_at: one.ended_at.map(|at| at.to_string()),
        }
    }
}

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverView {
    /// Its name.
    pub name: String,
    /// `webhook`, `slack` or `email`.
    pub kind: String,
    /// Whether anything is sent at all.
    pub delivers: bool,
    /// Whether it is told of findings of the class security.
    pub sees_security: bool,
    /// How many it takes at most in a span; what is critical is counted apart.
    pub rate_most: u32,
    /// The span, seconds.
    pub rate_per_seconds: u64,
    /// How many quiet hours it has.
    pub quiet_hours: u64,
    /// How often it is tried.
    pub tries: u32,
}

impl ReceiverView {
    /// A receiver of a name and kind.
    pub fn of((name, kind): (&str, &str), one: &Receiver, delivers: bool) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            delivers,
            sees_security: one.sees_security,
            rate_most: one.limits.rate.most,
            rate_per_seconds: one.limits.rate.per.as_secs(),
            quiet_hours: one.limits.quiet.len() as u64,
            tries: one.limits.retry.tries,
        }
    }
}

/// Which events are for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertRuleView {
    /// Its name.
    pub name: String,
    /// Kinds of events.
    pub events: Vec<String>,
    /// At least as bad as this.
    pub at_least: String,
    /// Findings of any of these classes; all where none is named.
    pub classes: Vec<String>,
    /// Of any of these projects.
    pub projects: Vec<String>,
    /// On hosts of any of these environments.
    pub environments: Vec<String>,
    /// On hosts that carry all of these labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Who is told.
    pub receivers: Vec<String>,
    /// What events have in common that come together; none where each comes alone.
    pub group_by: Option<Vec<String>>,
    /// For how long the same is told once, seconds.
    pub once_in_seconds: u64,
}

impl From<&Rule> for AlertRuleView {
    fn from(rule: &Rule) -> Self {
        let groups = |by: &std::collections::BTreeSet<GroupBy>| {
            by.iter().map(|by| by.name().to_owned()).collect::<Vec<_>>()
        };
        Self {
            name: rule.name.clone(),
            events: rule.events.iter().map(Pattern::to_string).collect(),
            at_least: rule.at_least.name().to_owned(),
            classes: rule
                .classes
                .iter()
                .copied()
                .map(Class::name)
                .map(str::to_owned)
                .collect(),
            projects: rule.projects.iter().cloned().collect(),
            environments: rule.environments.iter().cloned().collect(),
            labels: rule.labels.clone(),
            receivers: rule.receivers.clone(),
            group_by: rule.group.as_ref().map(|group| groups(&group.by)),
            once_in_seconds: rule.once_in.as_secs(),
        }
    }
}
