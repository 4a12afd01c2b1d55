//! What is told on the feed as rules see it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use writ_domain::alert::{Happening, severity_of};
use writ_domain::drift::finding::Told;
use writ_domain::drift::{Class, Severity};
use writ_domain::halt::ENVIRONMENT_LABEL;
use writ_protocol::id::{AgentId, RunId};
use writ_store::audit::FeedEntry;
use writ_store::{Tx, agent, run};

use crate::app::Error;
use crate::app::drift::{OPERATORS_TOPIC, TOPIC as DRIFT};

/// What alerts are made of; the rest of the feed is about single hosts and steps of runs.
const TOPICS: [&str; 8] = [
    DRIFT,
    OPERATORS_TOPIC,
    "runs",
    "incidents",
    "schedules",
    "agents",
    "budgets",
    "halts",
];
/// How a change of a finding is told.
const FINDING: &str = "drift.finding";
/// How a change of a run is.
const RUN: &str = "run.state";
/// How a change of a remediation is.
const REMEDIATION: &str = "remediation.state";

/// The topics that are read.
pub(super) fn topics() -> Vec<String> {
    TOPICS.iter().map(|topic| (*topic).to_owned()).collect()
}

/// An event as it is kept and sent.
pub(super) fn as_json(one: &Happening) -> Value {
    let mut body = json!({
        "kind": one.kind, "severity": one.severity.name(), "class": one.class.map(Class::name), "subject": one.subject, "about": one.about,
        "host": one.host, "project": one.project, "environment": one.labels.get(ENVIRONMENT_LABEL), "labels": one.labels,
        "summary": one.summary, "at": one.at,
    });
    if let (Some(fields), Some(trace)) = (body.as_object_mut(), &one.traceparent) {
        fields.insert("traceparent".to_owned(), Value::from(trace.as_str()));
    }
    body
}

/// Reads changes; asks for each agent once.
#[derive(Debug, Default)]
pub(super) struct Reader {
    labels: BTreeMap<String, BTreeMap<String, String>>,
}

impl Reader {
    /// What happened; none where nobody is ever told of it.
    pub(super) async fn read(&mut self, tx: &mut Tx, entry: &FeedEntry) -> Result<Option<Happening>, Error> {
        let text = |name: &str| entry.body.get(name).and_then(Value::as_str).map(str::to_owned);
        let subject = text("id").or_else(|| text("name")).unwrap_or_default();
        let mut one = Happening {
            kind: entry.kind.clone(),
            severity: severity_of(&entry.kind),
            class: None,
            is_expected: false,
            about: text("code").or_else(|| text("name")),
            host: None,
            project: text("project"),
            labels: BTreeMap::new(),
            summary: summary(entry, &subject),
            traceparent: text("traceparent"),
            at: entry.at,
            subject,
        };
        match entry.kind.as_str() {
            FINDING => {
                let what = text("what").unwrap_or_default();
                one.kind = format!("drift.{what}");
                one.severity = severity_of_finding(&what, text("severity").as_deref());
                one.class = text("class").as_deref().and_then(Class::of);
                one.is_expected = what == Told::Expected.name();
                one.about = text("resource");
                self.of_host(tx, &mut one, text("host")).await?;
                one.summary = finding_in_words(&one, &what);
            }
            RUN => {
                let state = text("state").unwrap_or_default();
                one.kind = format!("run.{state}");
                one.severity = severity_of(&one.kind);
                if let Ok(id) = one.subject.parse::<RunId>() {
                    one.project = run::read(tx, id).await?.map(|run| run.project);
                }
                let project = one.project.as_deref().unwrap_or("-");
                one.summary = format!("{} of project {project} {state}", one.subject);
            }
            REMEDIATION => {
                let state = text("state").unwrap_or_default();
                one.kind = format!("remediation.{state}");
                one.severity = severity_of(&one.kind);
                self.of_host(tx, &mut one, text("host")).await?;
                // What it is about may be for operators only, so that neither resources nor why are told.
                one.about = None;
                let (host, project) = (one.host.as_deref(), one.project.as_deref());
                let (host, project) = (host.unwrap_or("-"), project.unwrap_or("-"));
                one.summary = format!("{host}: {} of project {project} is {state}", one.subject);
            }
            _ if entry.topic == "agents" => {
                if let Ok(id) = one.subject.parse::<AgentId>() {
                    let found = agent::by_id(tx, id).await?.map(|agent| agent.name);
                    self.of_host(tx, &mut one, found).await?;
                }
                if let Some(host) = &one.host {
                    one.summary = format!("{host}: {}", one.summary);
                }
            }
            _ => {}
        }
        Ok(Some(one).filter(|one| !one.subject.is_empty() || one.about.is_some()))
    }

    async fn of_host(&mut self, tx: &mut Tx, one: &mut Happening, host: Option<String>) -> Result<(), Error> {
        let Some(name) = host else { return Ok(()) };
        if !self.labels.contains_key(&name) {
            let found = agent::by_name(tx, &name).await?;
            let labels = found.map(|agent| agent.labels).unwrap_or_default();
            self.labels.insert(name.clone(), labels);
        }
        one.labels = self.labels.get(&name).cloned().unwrap_or_default();
        one.host = Some(name);
        Ok(())
    }
}

/// How bad it is: as bad as the finding, and mild where something good became of it.
fn severity_of_finding(what: &str, severity: Option<&str>) -> Severity {
    let good = [Told::Cleared, Told::Acknowledged, Told::Expected].map(Told::name);
    if good.contains(&what) {
        return Severity::Info;
    }
    severity.and_then(Severity::of).unwrap_or(Severity::Warn)
}

fn finding_in_words(one: &Happening, what: &str) -> String {
    let (host, about) = (one.host.as_deref(), one.about.as_deref());
    format!(
        "{}: {} is not as project {} wants it: {what} ({})",
        host.unwrap_or("-"),
        about.unwrap_or("-"),
        one.project.as_deref().unwrap_or("-"),
        one.class.map_or("-", Class::name),
    )
}

/// Whatever says most of the body, behind what happened to what.
fn summary(entry: &FeedEntry, subject: &str) -> String {
    let said = ["summary", "detail", "reason", "name", "code"]
        .iter()
        .find_map(|name| entry.body.get(*name).and_then(Value::as_str));
    format!("{} {subject}: {}", entry.kind, said.unwrap_or_default())
        .trim_end_matches([':', ' '])
        .to_owned()
}
