//! What the API answers, as far as the CLI reads it. What it does not read is kept and shown again in JSON and YAML.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use writ_protocol::digest::Digest;
use writ_protocol::egress::{Connection, Egress};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;

use crate::exit::Exit;
use crate::fault::exit_of;

/// Fields that the CLI passes on without reading them.
pub type Rest = BTreeMap<String, Value>;

/// Whether a controller can work.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The HTTP status.
    pub status: u16,
    /// Its checks.
    pub report: Value,
    /// The date of the answer, as HTTP writes it.
    pub date: Option<String>,
}

impl Ready {
    /// Checks that fail, each with its reason.
    pub fn failing(&self) -> Vec<String> {
        let checks = self.report.get("checks").and_then(Value::as_array);
        let word =
            |check: &Value, name: &str| check.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
        let failing = checks
            .into_iter()
            .flatten()
            .filter(|check| word(check, "state") == "failing");
        failing
            .map(|check| format!("{}: {}", word(check, "name"), word(check, "reason")))
            .collect()
    }
}

/// A page of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last.
    #[serde(default)]
    pub next: Option<String>,
}

/// A join token to be made.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewJoinToken {
    /// The name of the agent that uses it; its hostname when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels of the agent.
    pub labels: BTreeMap<String, String>,
    /// How long it counts.
    pub ttl_seconds: u64,
}

/// An agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When its last hello came.
    #[serde(default)]
    pub last_seen: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Agent {
    /// Whether a hello was seen, no earlier than `since` where that is given.
    pub fn said_hello(&self, since: Option<Timestamp>) -> bool {
        let seen = self
            .last_seen
            .as_deref()
            .and_then(|text| Timestamp::parse(text).ok());
        seen.is_some_and(|seen| since.is_none_or(|since| seen >= since))
    }
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its id.
    pub id: String,
    /// `check` or `apply`.
    pub kind: String,
    /// Its state.
    pub state: String,
    /// When it was ordered.
    #[serde(default)]
    pub created_at: Option<String>,
    /// The plan that it carries out.
    #[serde(default)]
    pub plan_digest: Option<Digest>,
    /// What it cost, micro-units.
    #[serde(default)]
    pub cost_micros: u64,
    /// In which currency.
    #[serde(default)]
    pub currency: Option<String>,
    /// How many orders stand where.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// One order for each host; of a large run only the first of them.
    #[serde(default)]
    pub orders: Vec<Order>,
    /// Where the next of its orders begin; none where all are here.
    #[serde(default)]
    pub orders_next: Option<String>,
    /// How it spreads over its hosts; none where it went to all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// What whoever ordered it is to be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// How a run spreads over its hosts, in hosts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Its targets at the start.
    pub targets: u32,
    /// Most at work at once.
    pub concurrency: u32,
    /// How many may fail.
    pub error_threshold: u32,
    /// How many in all are begun before the next are.
    pub waves: Vec<u32>,
    /// How many have failed.
    pub failed: u64,
    /// How many wait for their turn.
    pub held: u64,
}

/// An incident: what its entries in the log add up to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// `halt`, `budget`, `dispute`, `fork` or `clone`.
    pub kind: String,
    /// `open`, `acknowledged` or `closed`.
    pub state: String,
    /// For people.
    pub summary: String,
    /// How many orders it is about.
    pub orders: u64,
    /// When it was opened.
    pub opened_at: String,
    /// Who has seen it.
    pub acked_by: Option<String>,
    /// Who closed it.
    pub closed_by: Option<String>,
    /// Why it was closed.
    pub reason: Option<String>,
    /// The number of its last entry in the log.
    pub last_seq: u64,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// An entry of the log of incidents as it is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentEntry {
    /// Its number, from 1, without holes.
    pub seq: u64,
    /// Its JSON, to the byte.
    pub body: String,
    /// The digest of it and of all before it.
    pub hash: String,
}

/// An incident with its first entries.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct IncidentDetail {
    /// What they add up to.
    pub incident: Incident,
    /// At most a hundred.
    pub entries: Vec<IncidentEntry>,
}

/// A budget, and what is taken of it in the window that is open. Amounts are micro-units.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// `tenant`, `project:NAME` or `run:ID`.
    pub id: String,
    /// `observe`, `warn` or `enforce`.
    pub mode: String,
    /// `none`, `day` or `month`.
    pub window: String,
    /// When the window began; absent where the cap holds for good.
    #[serde(default)]
    pub window_began: Option<String>,
    /// The cap.
    pub cap_micros: u64,
    /// Promised to orders that have not ended.
    pub reserved_micros: u64,
    /// Spent within what was promised.
    pub spent_micros: u64,
    /// Promised to orders of which no word came.
    pub disputed_micros: u64,
    /// Spent beyond what was promised.
    #[serde(default)]
    pub overrun_micros: u64,
    /// What may still be promised.
    pub left_micros: u64,
    /// In which currency.
    pub currency: String,
    /// Runs refused in this window.
    #[serde(default)]
    pub refused: u64,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// One order of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    pub id: String,
    /// The host's name.
    pub agent_name: String,
    /// Its state.
    pub state: String,
    /// Why, where it did not succeed.
    #[serde(default)]
    pub code: Option<String>,
    /// Why, in words.
    #[serde(default)]
    pub detail: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Run {
    /// Whether nothing about it will change by itself.
    pub fn is_over(&self) -> bool {
        !matches!(self.state.as_str(), "queued" | "running" | "cancelling")
    }

    /// How many of its hosts are done, and how many there are.
    pub fn progress(&self) -> (u64, u64) {
        let open = |state: &str| matches!(state, "pending" | "accepted");
        if self.counts.is_empty() {
            let done = self.orders.iter().filter(|order| !open(&order.state)).count();
            return (done as u64, self.orders.len() as u64);
        }
        let done = self
            .counts
            .iter()
            .filter(|(state, _)| !open(state))
            .map(|(_, count)| count);
        (done.sum(), self.counts.values().sum())
    }

    /// Whether it did all that it was to do.
    pub fn has_succeeded(&self) -> bool {
        self.state == "succeeded"
    }

    /// What a command that waited for it ends with.
    pub fn exit(&self) -> Exit {
        let told = self
            .orders
            .iter()
            .filter_map(|order| order.code.as_deref()?.parse::<Code>().ok())
            .map(exit_of);
        match self.state.as_str() {
            "succeeded" => Exit::Done,
            "unresolved" => Exit::Unresolved,
            "aborted" | "stopped" => Exit::Halted,
            // A person ended it: it did not do what it was to do, whatever else one of its hosts said before.
            "cancelled" => Exit::Failed,
            // The most telling code of its hosts: any that has an exit code of its own.
            _ => told.max().unwrap_or(Exit::Failed),
        }
    }
}

/// One resource on one host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The host's name.
    pub agent_name: String,
    /// The resource.
    pub step: String,
    /// How it ended.
    pub outcome: String,
    /// Why, where it did not succeed.
    #[serde(default)]
    pub code: Option<String>,
    /// Why, in words.
    #[serde(default)]
    pub detail: Option<String>,
    /// Limits as the kernel reported them.
    #[serde(default)]
    pub limits: Value,
    /// What it used.
    #[serde(default)]
    pub usage: Value,
    /// What that cost, micro-units.
    #[serde(default)]
    pub cost_micros: u64,
    /// The digest of its output.
    #[serde(default)]
    pub output_digest: Option<Digest>,
    /// What it did with the network that its plan gave it.
    #[serde(default)]
    pub egress: Value,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Step {
    /// The decisions on its connections; none where a newer controller tells of them in a way that this build does not know.
    pub fn connections(&self) -> Vec<Connection> {
        let told: Result<Option<Egress>, _> = serde_json::from_value(self.egress.clone());
        told.ok()
            .flatten()
            .map(|egress| egress.connections)
            .unwrap_or_default()
    }
}

/// A file that a run produced.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artefact {
    /// The host's name.
    pub agent_name: String,
    /// Which step made it.
    pub step: String,
    /// Its path on the host.
    pub path: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length, bytes.
    pub length: u64,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What a check run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanAnswer {
    /// The plan's name.
    pub digest: Digest,
    /// The plan.
    pub plan: writ_plan::plan::Plan,
}

/// A halt.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Halt {
    /// Its id.
    pub id: String,
    /// `set` or `lifted`.
    pub state: String,
    /// What it covers.
    #[serde(default)]
    pub scope: Value,
    /// How hard it stops.
    #[serde(default)]
    pub action: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// The control epoch.
    #[serde(default)]
    pub control_epoch: u64,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// How far a halt has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HaltStatus {
    /// Agents that have taken it and carry out nothing that it covers.
    pub stopped: u64,
    /// Agents that have taken it and in which a step still ends.
    #[serde(default)]
    pub ending: u64,
    /// Agents that are heard and have not taken it yet.
    pub pending: u64,
    /// Agents that are not heard.
    pub unreachable: u64,
    /// The latest instant by which everything that it covers has stopped.
    #[serde(default)]
    pub all_stopped_by: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What a lift has to say beside who signs it and why.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiftTerms {
    /// The tenant.
    pub tenant: String,
    /// The control epoch that the lift begins.
    pub control_epoch: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(state: &str, codes: &[&str]) -> Run {
        let orders: Vec<Value> = codes
            .iter()
            .map(|code| serde_json::json!({"id": "o", "agentName": "h", "state": "refused", "code": code}))
            .collect();
        serde_json::from_value(
            serde_json::json!({"id": "r", "kind": "apply", "state": state, "orders": orders}),
        )
        .unwrap()
    }

    #[test]
    fn a_run_decides_the_exit_code() {
        assert_eq!(run("succeeded", &[]).exit(), Exit::Done);
        assert_eq!(run("failed", &["W0306"]).exit(), Exit::Failed);
        assert_eq!(run("failed", &["W0306", "W0312"]).exit(), Exit::Stale);
        assert_eq!(run("aborted", &["W0301"]).exit(), Exit::Halted);
        assert_eq!(run("unresolved", &[]).exit(), Exit::Unresolved);
        assert_eq!(run("failed", &["W0306"]).progress(), (1, 1));
        assert!(!run("running", &[]).is_over() && run("cancelled", &[]).is_over());
    }

    #[test]
    fn what_is_not_read_is_kept() {
        let mut value =
            serde_json::json!({"id": "a", "name": "n", "state": "active", "labels": {}, "lastSeen": null});
        value["version"] = "0.1.0".into();
        let agent: Agent = serde_json::from_value(value.clone()).unwrap();
        assert!(!agent.said_hello(None));
        value["lastSeen"] = "2026-01-02T03:04:05Z".into();
        let seen: Agent = serde_json::from_value(value.clone()).unwrap();
        let at = |text| Some(Timestamp::parse(text).unwrap());
        assert!(seen.said_hello(None) && seen.said_hello(at("2026-01-02T03:04:05Z")));
        assert!(
            !seen.said_hello(at("2026-01-02T03:04:06Z")),
            "a hello of an earlier life"
        );
        assert_eq!(serde_json::to_value(&seen).unwrap(), value);
    }
}
