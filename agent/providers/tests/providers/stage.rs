//! What every test stands on: a host in a directory, blobs, and one resource at a time.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Isolation, Limits, StepMode};
use writ_protocol::graph::{CommandSpec, FileSpec, FileState, Resource, Spec};
use writ_providers::{Applied, Artefact, Change, Context, Error, Host, Observation, Sinks, StepIds};
use writ_sandbox::{CgroupBase, Config, Control, Sandbox};

pub(crate) const ACTOR: &str = env!("CARGO_BIN_EXE_writ-providers-actor");

pub(crate) struct Stage {
    pub(crate) dir: TempDir,
    host: Host,
    sandbox: Sandbox,
    pub(crate) control: Control,
    blobs: HashMap<Digest, Vec<u8>>,
    pub(crate) programs: TempDir,
    ids: StepIds,
    pub(crate) notified: bool,
    pub(crate) artefacts: Vec<Artefact>,
    pub(crate) live: Vec<u8>,
}

impl Stage {
    /// A host whose root is a fresh directory with two users.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("makes a directory");
        std::fs::create_dir(dir.path().join("etc")).expect("makes");
        std::fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nweb:x:1234:1235::/srv:/bin/sh\nalias:x:1234:1235::/srv:/bin/sh\n",
        )
        .expect("writes");
        std::fs::write(dir.path().join("etc/group"), "root:x:0:\nwww:x:1235:\n").expect("writes");
        let host = Host::new(dir.path()).expect("opens");
        Self::with(dir, host)
    }

    /// This machine as the host, and a fresh directory to work in: for commands.
    pub(crate) fn real() -> Self {
        Self::with(
            tempfile::tempdir().expect("makes a directory"),
            Host::new(Path::new("/")).expect("opens"),
        )
    }

    /// A host at a root of its own.
    pub(crate) fn at(root: &Path) -> Self {
        Self::with(
            tempfile::tempdir().expect("makes a directory"),
            Host::new(root).expect("opens"),
        )
    }

    fn with(dir: TempDir, host: Host) -> Self {
        let sandbox = Sandbox::new(Config {
            shim: ACTOR.into(),
            cgroup: CgroupBase::Discover,
            ..Config::default()
        })
        .expect("makes a sandbox");
        let text = |text: &str| text.to_owned();
        let ids = StepIds {
            run_id: text("run_1"),
            order_id: text("ord_2"),
            idempotency_key: text("key3"),
        };
        let (blobs, artefacts, live) = (HashMap::new(), Vec::new(), Vec::new());
        let control = Control::new().expect("makes a handle");
        Self {
            dir,
            host,
            sandbox,
            control,
            blobs,
            programs: tempfile::tempdir().expect("makes a directory"),
            ids,
            notified: false,
            artefacts,
            live,
        }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn text(&self, below: &str) -> String {
        self.path(below).to_str().expect("is UTF-8").to_owned()
    }

    pub(crate) fn content(&mut self, bytes: &[u8]) -> FileState {
        let digest = Digest::of(bytes);
        self.blobs.insert(digest, bytes.to_vec());
        FileState::Content {
            digest,
            length: bytes.len() as u64,
        }
    }

    /// A blob under a name that may be another's.
    pub(crate) fn lie(&mut self, digest: Digest, bytes: &[u8]) {
        self.blobs.insert(digest, bytes.to_vec());
    }

    fn context<R>(&self, work: impl FnOnce(&Context<'_>) -> R) -> R {
        let blob = |digest: &Digest| self.blobs.get(digest).map(Vec::as_slice);
        let (sandbox, control, ids) = (&self.sandbox, &self.control, &self.ids);
        work(&Context {
            sandbox,
            control,
            blob: &blob,
            programs: Some(self.programs.path()),
            ids,
            network: None,
            door: None,
            notified: self.notified,
        })
    }

    pub(crate) fn see(&self, resource: &Resource) -> Result<Observation, Error> {
        self.context(|context| self.host.observe(resource, context))
            .map(|observed| observed.observation)
    }

    pub(crate) fn changes(&self, resource: &Resource) -> Result<Vec<Change>, Error> {
        self.host.diff(resource, &self.see(resource)?)
    }

    pub(crate) fn explained(&self, resource: &Resource) -> Vec<Change> {
        let mut changes = self.changes(resource).expect("differs");
        self.context(|context| self.host.explain(resource, &mut changes, context));
        changes
    }

    pub(crate) fn attributes(&self, resource: &Resource) -> Vec<String> {
        self.changes(resource)
            .expect("differs")
            .into_iter()
            .map(|change| change.attribute)
            .collect()
    }

    /// Applies the given changes.
    pub(crate) fn apply(&mut self, resource: &Resource, changes: &[Change]) -> Result<Applied, Error> {
        let (mut artefacts, mut live) = (Vec::new(), Vec::new());
        let applied = self.context(|context| {
            let mut sinks = Sinks {
                on_output: &mut |_, bytes| live.extend_from_slice(bytes),
                on_artefact: &mut |artefact| artefacts.push(artefact),
            };
            self.host.apply(resource, changes, context, &mut sinks)
        });
        (self.artefacts, self.live) = (artefacts, live);
        applied
    }

    /// Brings a resource about, and holds the engine to its word: what the diff said happened, and nothing is left to do.
    pub(crate) fn converge(&mut self, resource: &Resource) -> Vec<String> {
        let changes = self.changes(resource).expect("differs");
        let applied = self.apply(resource, &changes).expect("applies");
        assert!(applied.failure.is_none(), "{:?}", applied.failure);
        let after = self.see(resource).expect("observes");
        assert_eq!(
            self.host.diff(resource, &after).expect("differs"),
            [],
            "not idempotent: {resource:?}"
        );
        let again = self.apply(resource, &[]).expect("applies nothing");
        assert!(again.failure.is_none());
        assert_eq!(
            self.see(resource).expect("observes").digest().expect("digests"),
            after.digest().expect("digests")
        );
        assert_eq!(self.satisfied(resource).expect("observes"), Some(true));
        changes.into_iter().map(|change| change.attribute).collect()
    }

    pub(crate) fn satisfied(&self, resource: &Resource) -> Result<Option<bool>, Error> {
        self.context(|context| self.host.is_satisfied(resource, context))
    }

    /// Diffs and applies; the error of whichever refuses.
    pub(crate) fn refusal(&mut self, resource: &Resource) -> Error {
        match self.changes(resource) {
            Err(error) => error,
            Ok(changes) => self.apply(resource, &changes).expect_err("refused"),
        }
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn file(path: &str, state: FileState) -> FileSpec {
    FileSpec {
        path: path.to_owned(),
        state,
        mode: None,
        owner: None,
        group: None,
        backup: false,
    }
}

pub(crate) fn resource(spec: FileSpec) -> Resource {
    step(format!("file:{}", spec.path), Spec::File(spec))
}

pub(crate) fn step(id: String, spec: Spec) -> Resource {
    Resource {
        id,
        depends_on: vec![],
        notify: vec![],
        when: None,
        limits: Limits::default(),
        mode: StepMode::Checked,
        spec,
    }
}

pub(crate) fn shell(script: &str) -> CommandSpec {
    CommandSpec {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        cwd: None,
        env: BTreeMap::new(),
        creates: None,
        only_if: None,
        unless: None,
        only_when_notified: false,
        exit_codes: vec![0],
        isolation: Isolation::Namespaces,
        artefacts: vec![],
        user: None,
        egress: vec![],
    }
}

pub(crate) fn command(spec: CommandSpec) -> Resource {
    step("command:test".to_owned(), Spec::Command(spec))
}
