//! Alerts: what happened, who is told of it, when, and how often it is tried. [`rule`] says which receivers an event is for, [`admit`] when it is sent or
//! why it is not, [`delivery`] how one notification lives.

pub mod admit;
pub mod delivery;
pub mod quiet;
pub mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use writ_protocol::time::Timestamp;

use crate::drift::{Class, Severity};

/// Something that happened, as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// What, such as `drift.opened` or `run.failed`.
    pub kind: String,
    /// How bad it is. What ends or answers for something bad is mild.
    pub severity: Severity,
    /// What a finding is about; none of anything else.
    pub class: Option<Class>,
    /// Whether somebody said beforehand that it may be so.
    pub is_expected: bool,
    /// The id of what it happened to, or its name where it has no id.
    pub subject: String,
    /// The resource of a finding, the code of an alarm, the name of a schedule.
    pub about: Option<String>,
    /// The agent's name.
    pub host: Option<String>,
    /// The project.
    pub project: Option<String>,
    /// The labels of the host, its environment among them.
    pub labels: BTreeMap<String, String>,
    /// In one line, for people.
    pub summary: String,
    /// Where the trace of a run goes on from, as W3C Trace Context has it.
    pub traceparent: Option<String>,
    /// When it was written down.
    pub at: Timestamp,
}

impl Happening {
    /// What makes another one the same for whoever is told: what happened to what, and how bad it is.
    pub fn dedup_key(&self) -> String {
        let about = self.about.as_deref().unwrap_or_default();
        format!(
            "{}\n{}\n{}\n{about}",
            self.kind,
            self.severity.name(),
            self.subject
        )
    }

    /// Whether neither quiet hours nor a limit may keep it back for good.
    pub fn is_critical(&self) -> bool {
        self.severity == Severity::Critical
    }
}

/// How bad an event is that is no finding: by its kind. What is not listed is `info`.
pub fn severity_of(kind: &str) -> Severity {
    match kind {
        "incident.open" | "budget.over" => Severity::Critical,
        "run.failed"
        | "run.aborted"
        | "run.unresolved"
        | "schedule.failed"
        | "schedule.skipped"
        | "agent.alarm"
        | "budget.notice"
        | "budget.refused"
        | "run.stopped"
        | "halt.set"
        | "remediation.proposed"
        | "remediation.failed"
        | "remediation.stopped" => Severity::Warn,
        _ => Severity::Info,
    }
}
