//! What every test stands on: a sandbox of one kind, a directory, a mark by which leftovers are found.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use writ_protocol::exec::{Isolation, KillConfidence, Limits};
use writ_sandbox::{CgroupBase, Config, Control, Error, Network, Outcome, Sandbox, Spec, Stream};

/// The program of `tests/offender`.
pub(crate) const OFFENDER: &str = env!("CARGO_BIN_EXE_writ-sandbox-offender");

/// An id without rights that every Linux has.
pub(crate) const NOBODY: u32 = 65_534;

static MARKS: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) dir: TempDir,
    pub(crate) isolation: Isolation,
    pub(crate) mark: String,
}

impl Stage {
    pub(crate) fn new(cgroup: CgroupBase, isolation: Isolation) -> Self {
        let looks = cgroup == CgroupBase::Discover;
        let sandbox = Sandbox::new(Config {
            shim: OFFENDER.into(),
            cgroup,
            ..Config::default()
        })
        .expect("makes a sandbox");
        let looked_and_found_none = looks && !sandbox.has_cgroups();
        assert_eq!(
            sandbox.lacks_cgroups_because().is_some(),
            looked_and_found_none,
            "the reason is to be said"
        );
        let mark = format!(
            "writ-mark-{}-{}-end",
            std::process::id(),
            MARKS.fetch_add(1, Ordering::Relaxed)
        );
        let dir = tempfile::tempdir().expect("makes a directory");
        if rustix::process::geteuid().is_root() && isolation == Isolation::Strict {
            // A strict step of root's agent is the owner of its directory.
            std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).expect("gives it away");
        }
        Self {
            sandbox,
            dir,
            isolation,
            mark,
        }
    }

    /// Every kind that this host gives; at least the two without a cgroup that every host gives.
    pub(crate) fn all() -> Vec<Self> {
        let mut stages = Vec::new();
        for isolation in [Isolation::None, Isolation::Namespaces, Isolation::Strict] {
            for base in [CgroupBase::Discover, CgroupBase::Off] {
                let stage = Self::new(base.clone(), isolation);
                let has_base = base == CgroupBase::Off || stage.sandbox.has_cgroups();
                if has_base && stage.is_offered() {
                    stages.push(stage);
                }
            }
        }
        stages
    }

    /// Only of `strict` a host may lack a part; it then says which, and runs nothing.
    pub(crate) fn is_offered(&self) -> bool {
        if self.isolation < Isolation::Strict {
            return true;
        }
        match self.try_run(&self.program(&["true"])) {
            Ok(_) => true,
            Err(Error::Isolation { wanted, detail }) => {
                assert_eq!(wanted, Isolation::Strict);
                check_is_the_hosts(&detail);
                false
            }
            Err(error) => panic!("{}: {error}", self.name()),
        }
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
            input: None,
            looks: false,
            asks: false,
            user: None,
            network: Network::Own,
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
        let certain = self.sandbox.has_cgroups() || self.isolation >= Isolation::Namespaces;
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

/// A host may refuse namespaces and mounts. Whatever else fails is our own mistake.
pub(crate) fn check_is_the_hosts(why: &str) {
    let hosts = [
        "make ",
        "write /proc/self/",
        "mount ",
        "copy the mount",
        "bind ",
        "change the root",
    ];
    assert!(
        hosts.iter().any(|beginning| why.starts_with(beginning)),
        "isolation was refused, and not for want of the host: {why}"
    );
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
