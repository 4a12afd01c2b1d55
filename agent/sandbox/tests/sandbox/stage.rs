//! What every test stands on: a sandbox of one kind, a directory, a mark by which leftovers are found.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use writ_protocol::exec::{Isolation, KillConfidence, Limits};
use writ_sandbox::{CgroupBase, Config, Control, Error, Outcome, Sandbox, Spec, Stream};

/// The program of `tests/offender`.
pub(crate) const OFFENDER: &str = env!("CARGO_BIN_EXE_writ-sandbox-offender");

static MARKS: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) dir: TempDir,
    pub(crate) isolation: Isolation,
    pub(crate) mark: String,
}

impl Stage {
    pub(crate) fn new(cgroup: CgroupBase, isolation: Isolation) -> Self {
        let sandbox = Sandbox::new(Config {
            shim: OFFENDER.into(),
            cgroup,
            ..Config::default()
        })
        .expect("makes a sandbox");
        let mark = format!(
            "writ-mark-{}-{}-end",
            std::process::id(),
            MARKS.fetch_add(1, Ordering::Relaxed)
        );
        Self {
            sandbox,
            dir: tempfile::tempdir().expect("makes a directory"),
            isolation,
            mark,
        }
    }

    /// Every kind that this host gives; at least the two without a cgroup.
    pub(crate) fn all() -> Vec<Self> {
        let mut stages = Vec::new();
        for isolation in [Isolation::None, Isolation::Namespaces] {
            for base in [CgroupBase::Discover, CgroupBase::Off] {
                let stage = Self::new(base.clone(), isolation);
                if base == CgroupBase::Off || stage.sandbox.has_cgroups() {
                    stages.push(stage);
                }
            }
        }
        stages
    }

    pub(crate) fn name(&self) -> String {
        format!("{:?}, cgroup {}", self.isolation, self.sandbox.has_cgroups())
    }

    /// A spec for any program, with the mark in its environment.
    pub(crate) fn program(&self, argv: &[&str]) -> Spec {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
        Spec {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            cwd: self.dir.path().to_str().expect("is UTF-8").to_owned(),
            env: BTreeMap::from([
                ("PATH".to_owned(), path),
                ("WRIT_MARK".to_owned(), self.mark.clone()),
            ]),
            limits: Limits::default(),
            isolation: self.isolation,
            network: false,
            grace: Duration::from_millis(200),
        }
    }

    /// A spec for the offender.
    pub(crate) fn offence(&self, words: &[&str]) -> Spec {
        self.program(&[&[OFFENDER], words].concat())
    }

    pub(crate) fn shell(&self, script: &str) -> Spec {
        self.program(&["sh", "-c", script])
    }

    pub(crate) fn try_run(&self, spec: &Spec) -> Result<Outcome, Error> {
        self.sandbox
            .run(spec, &Control::new().expect("makes a handle"), &mut |_, _| {})
    }

    /// Runs to the end and checks that nothing is left.
    pub(crate) fn run(&self, spec: &Spec) -> Outcome {
        let outcome = self
            .try_run(spec)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        self.check_nothing_left(&outcome);
        outcome
    }

    /// Runs and lets `stop` act on the handle when the program has said something.
    pub(crate) fn run_until_it_speaks(&self, spec: &Spec, stop: impl FnOnce(&Control) + Send) -> Outcome {
        let control = Control::new().expect("makes a handle");
        let (spoke, heard) = std::sync::mpsc::sync_channel(1);
        let other = control.clone();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(move || {
                if heard.recv().is_ok() {
                    stop(&other);
                }
            });
            let on_output = &mut |_: Stream, _: &[u8]| {
                let _first_only = spoke.try_send(());
            };
            let outcome = self.sandbox.run(spec, &control, on_output);
            drop(spoke);
            outcome
        });
        let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        self.check_nothing_left(&outcome);
        outcome
    }

    /// Holds at once, not in a while: the run is over when it says so.
    pub(crate) fn check_nothing_left(&self, outcome: &Outcome) {
        assert_eq!(
            marked(&self.mark),
            Vec::<String>::new(),
            "{} left processes",
            self.name()
        );
        let certain = self.sandbox.has_cgroups() || self.isolation == Isolation::Namespaces;
        assert_eq!(
            outcome.kill_confidence == KillConfidence::Certain,
            certain,
            "{}",
            self.name()
        );
        assert_eq!(outcome.isolation_reached, self.isolation);
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("is UTF-8").to_owned()
    }
}

/// Living processes with the mark in their environment.
pub(crate) fn marked(mark: &str) -> Vec<String> {
    let holds = |path: &Path| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        environment
            .windows(mark.len())
            .any(|window| window == mark.as_bytes())
    };
    let processes = std::fs::read_dir("/proc")
        .expect("lists")
        .flatten()
        .map(|entry| entry.path());
    let left = processes.filter(|path| holds(path));
    left.map(|path| std::fs::read_to_string(path.join("stat")).unwrap_or_default())
        .filter(|stat| !stat.is_empty())
        .collect()
}

/// What was said, as text.
pub(crate) fn said(outcome: &Outcome) -> String {
    let whole = [outcome.output.head.as_slice(), outcome.output.tail.as_slice()].concat();
    String::from_utf8(whole).expect("is UTF-8")
}
