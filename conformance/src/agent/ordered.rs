//! What is ordered: a file and a command that depends on it, in a folder where every effect is seen from outside; and how an order ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use writ_protocol::bundle;
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Isolation, Limits, RunMode, StepMode};
use writ_protocol::graph::{CommandSpec, FileSpec, FileState, GRAPH_VERSION, Graph, Resource, Spec};
use writ_protocol::id::{OrderId, RunId};
use writ_protocol::manifest::Order;
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderDone, OrderOutcome, OrderRefused};
use writ_protocol::time::Timestamp;

use super::desk::LEASE_MS;
use crate::run::{self, bundle_statement};
use crate::world::{self, MakeError, key, seed};

/// Content of the file that every order makes.
pub(super) const CONTENT: &[u8] = b"made by an order of the suite\n";
/// What the command of every order leaves as its artefact.
pub(super) const ARTEFACT: &[u8] = b"the artefact\n";
/// The command of every order.
pub(super) const COMMAND: &str = "command:effect";

/// An order of the suite, and where its effects can be seen.
#[derive(Clone, Debug)]
pub(super) struct Ordered {
    pub(super) order: Order,
    pub(super) bundle: Vec<u8>,
    pub(super) graph: Graph,
    pub(super) blobs: BTreeMap<Digest, Vec<u8>>,
    folder: PathBuf,
}

impl Ordered {
    /// The order of a number, whose effects are to be in this folder.
    pub(super) fn new(number: u32, wish: Wish, folder: PathBuf, now: Timestamp) -> Result<Self, MakeError> {
        let graph = graph(&folder, wish);
        let blobs = BTreeMap::from([(Digest::of(CONTENT), CONTENT.to_vec())]);
        let mut said = bundle_statement();
        said.issued_at = now;
        let (bundle, name) = bundle::build(said, &graph, blobs.clone(), &key(seed::PLAN))?;
        let order = Order {
            order_id: world::id("order", 1_000 + number)?,
            run_id: world::id::<RunId>("run", 1_000 + number)?,
            issued_at: now,
            not_before: now,
            expires_at: now.plus(Duration::from_secs(3_600)),
            lease_ms: LEASE_MS,
            ..run::order(name)?
        };
        Ok(Self {
            order,
            bundle,
            graph,
            blobs,
            folder,
        })
    }

    /// How often its command ran.
    pub(super) fn runs(&self) -> usize {
        let text = fs::read_to_string(self.folder.join("ran")).unwrap_or_default();
        text.lines().count()
    }

    /// The file that it makes.
    pub(super) fn made(&self) -> Option<Vec<u8>> {
        fs::read(self.folder.join("made")).ok()
    }

    /// What was done of it, where that is anything at all.
    pub(super) fn effect(&self) -> Option<String> {
        let entries = fs::read_dir(&self.folder).ok()?;
        let names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        (!names.is_empty()).then(|| format!("{} was made", names.join(", ")))
    }

    pub(super) const fn id(&self) -> OrderId {
        self.order.order_id
    }
}

/// What an order is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) mode: StepMode,
    /// Seconds that the command stays after its effect.
    pub(super) seconds: u32,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            mode: StepMode::Checked,
            seconds: 0,
        }
    }
}

/// How an order ended.
#[derive(Clone, Debug)]
pub(super) enum Ended {
    Done(OrderDone),
    Refused(OrderRefused),
}

impl Ended {
    pub(super) fn has_succeeded(&self) -> bool {
        matches!(self, Self::Done(done) if done.outcome == OrderOutcome::Succeeded)
    }

    pub(super) const fn code(&self) -> Option<Code> {
        match self {
            Self::Done(done) => done.code,
            Self::Refused(refused) => Some(refused.code),
        }
    }

    pub(super) fn told(&self) -> String {
        let code = self
            .code()
            .map_or_else(String::new, |code| format!(" with {code}"));
        match self {
            Self::Done(done) => format!("the order ended {}{code}", done.outcome.name()),
            Self::Refused(_) => format!("the order was refused{code}"),
        }
    }
}

fn graph(folder: &std::path::Path, wish: Wish) -> Graph {
    let path = |name: &str| folder.join(name).display().to_string();
    let file = Resource {
        id: "file:made".to_owned(),
        depends_on: vec![],
        notify: vec![],
        when: None,
        limits: Limits::default(),
        mode: StepMode::Checked,
        spec: Spec::File(FileSpec {
            path: path("made"),
            state: FileState::Content {
                digest: Digest::of(CONTENT),
                length: CONTENT.len() as u64,
            },
            mode: None,
            owner: None,
            group: None,
            backup: false,
        }),
    };
    // One line for each time that it runs; the artefact is there before it sleeps.
    let script = "printf 'the artefact\\n' > \"$ARTEFACT\"; echo ran >> \"$RAN\"; sleep \"$STAYS\"";
    let command = Resource {
        id: COMMAND.to_owned(),
        depends_on: vec![file.id.clone()],
        mode: wish.mode,
        spec: Spec::Command(CommandSpec {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            cwd: None,
            env: BTreeMap::from([
                ("ARTEFACT".to_owned(), path("artefact")),
                ("RAN".to_owned(), path("ran")),
                ("STAYS".to_owned(), wish.seconds.to_string()),
            ]),
            creates: None,
            only_if: None,
            unless: None,
            only_when_notified: false,
            exit_codes: vec![0],
            isolation: Isolation::None,
            artefacts: vec![path("artefact")],
            user: None,
            egress: vec![],
        }),
        ..file.clone()
    };
    // In the order of the graph's rules: who depends stands later.
    Graph {
        version: GRAPH_VERSION,
        project: "conformance".to_owned(),
        resources: vec![file, command],
        selection: None,
        mode: RunMode::Strict,
    }
}
