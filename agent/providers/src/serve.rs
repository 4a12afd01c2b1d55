//! The providers of this crate behind the protocol of external ones: the conformance suite asks both in the same words. Here an agent's own engine
//! asks them without a process between.

use std::path::Path;

use serde_json::{Value, json};
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Limits, RunMode, StepMode};
use writ_protocol::graph::{GRAPH_VERSION, Graph, GraphError, Resource, Spec};
use writ_protocol::provider::{self, Capability, Problem, Reason};
use writ_provider_sdk::{Description, Provider, Work};
use writ_sandbox::{Control, Sandbox};

use crate::context::{Context, Sinks, StepIds};
use crate::error::Error;
use crate::host::Host;
use crate::observation::{Change, Observation};

/// Kinds and the schemas of their specs, which are the graph's own forms.
const KINDS: [(&str, &str); 6] = [
    ("command", include_str!("serve/command.json")),
    ("file", include_str!("serve/file.json")),
    ("group", include_str!("serve/group.json")),
    ("package", include_str!("serve/package.json")),
    ("service", include_str!("serve/service.json")),
    ("user", include_str!("serve/user.json")),
];

/// The built-in providers of one host.
#[derive(Debug)]
pub struct BuiltIns {
    host: Host,
    sandbox: Sandbox,
    ids: StepIds,
}

impl BuiltIns {
    /// Those of the host whose paths begin at `root`.
    ///
    /// # Errors
    /// As [`Host::new`].
    pub fn new(root: &Path, sandbox: Sandbox) -> Result<Self, Error> {
        let ids = StepIds {
            run_id: String::new(),
            order_id: String::new(),
            idempotency_key: String::new(),
        };
        Ok(Self {
            host: Host::new(root)?,
            sandbox,
            ids,
        })
    }

    fn with<T>(
        &self,
        work: &Work<'_>,
        answer: impl FnOnce(&Resource, &Context<'_>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let resource = resource(work)?;
        let control = Control::new().map_err(|error| Problem::new(Reason::Failed, &error.to_string()))?;
        let stop = control.clone();
        work.cancel.on_ask(move || stop.terminate("cancelled"));
        let blob = |digest: &Digest| work.lent.get(digest).map(Vec::as_slice);
        let context = Context {
            sandbox: &self.sandbox,
            control: &control,
            blob: &blob,
            programs: None,
            ids: &self.ids,
            network: None,
            door: None,
            notified: work.subject.notified,
        };
        answer(&resource, &context)
    }
}

impl Provider for BuiltIns {
    fn describe(&self) -> Description {
        let kinds = KINDS
            .iter()
            .filter_map(|(name, schema)| Description::kind(name, schema).ok());
        Description {
            name: "writ".to_owned(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: [Capability::Cancel].into(),
            kinds: kinds.collect(),
        }
    }

    fn observe(&mut self, work: &Work<'_>) -> Result<Value, Problem> {
        self.with(work, |resource, context| {
            let seen = self
                .host
                .observe(resource, context)
                .map_err(|error| problem(&error))?;
            serde_json::to_value(seen.observation).map_err(|error| invalid(&error.to_string()))
        })
    }

    fn diff(&mut self, work: &Work<'_>, observation: &Value) -> Result<Vec<provider::Change>, Problem> {
        let resource = resource(work)?;
        let seen: Observation = serde_json::from_value(observation.clone())
            .map_err(|error| invalid(&format!("not an observation of ours: {error}")))?;
        let changes = self
            .host
            .diff(&resource, &seen)
            .map_err(|error| problem(&error))?;
        let said = changes.into_iter().map(|change| provider::Change {
            attribute: change.attribute,
            want: change.want,
            got: change.got,
        });
        Ok(said.collect())
    }

    fn apply(&mut self, work: &Work<'_>, changes: &[provider::Change]) -> Result<(), Problem> {
        // As an engine does, which asks for nothing where nothing differs.
        if changes.is_empty() {
            return resource(work).map(drop);
        }
        let changes: Vec<Change> = changes
            .iter()
            .map(|change| Change::new(&change.attribute, change.want.as_str(), change.got.as_str()))
            .collect();
        self.with(work, |resource, context| {
            let mut sinks = Sinks {
                on_output: &mut |_, _| {},
                on_artefact: &mut |_| {},
            };
            let applied = self.host.apply(resource, &changes, context, &mut sinks);
            let failure = applied.map_err(|error| problem(&error))?.failure;
            failure.map_or(Ok(()), |error| Err(problem(&error)))
        })
    }
}

/// The subject as the graph's own resource, held to every rule of a graph.
fn resource(work: &Work<'_>) -> Result<Resource, Problem> {
    let subject = work.subject;
    let spec: Spec = serde_json::from_value(json!({ subject.kind.as_str(): subject.spec }))
        .map_err(|error| invalid(&format!("{}: {error}", subject.id)))?;
    if let Spec::Command(command) = &spec
        && !(command.artefacts.is_empty() && command.egress.is_empty())
    {
        return Err(invalid(
            "artefacts and egress are an agent's own work, and not served here",
        ));
    }
    if matches!(spec, Spec::External(_)) {
        return Err(invalid(
            "a provider of a config's own is an agent's to start, and not served here",
        ));
    }
    let limits = Limits {
        wall_ms: subject.wall_ms,
        ..Limits::default()
    };
    let graph = Graph {
        version: GRAPH_VERSION,
        project: String::new(),
        resources: vec![Resource {
            id: subject.id.clone(),
            depends_on: vec![],
            notify: vec![],
            when: None,
            limits,
            mode: StepMode::Checked,
            spec,
        }],
        selection: None,
        mode: RunMode::Strict,
    };
    graph
        .validate()
        .map_err(|error: GraphError| invalid(&error.to_string()))?;
    graph
        .resources
        .into_iter()
        .next()
        .ok_or_else(|| invalid("no resource"))
}

fn invalid(detail: &str) -> Problem {
    Problem::new(Reason::Invalid, detail)
}

fn problem(error: &Error) -> Problem {
    let reason = match error {
        Error::WrongKind { .. }
        | Error::NotEmpty { .. }
        | Error::ForeignLink { .. }
        | Error::UnknownAccount { .. } => Reason::Refused,
        Error::Stopped { .. } => Reason::Cancelled,
        Error::Mismatch { .. } => Reason::Invalid,
        _ => Reason::Failed,
    };
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        said = format!("{said}: {next}");
        cause = next.source();
    }
    Problem::new(reason, &said)
}
