//! The sandbox of one agent: where its shim and its cgroups are, and the door to a run.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::geteuid;
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Exit, Isolation, KillConfidence, Meter, Usage};

use crate::capture::CapturedOutput;
use crate::cell::{Cells, Leftover};
use crate::cgroup::{self, Cgroups};
use crate::clock::boot_us;
use crate::control::{Control, Stop};
use crate::error::Error;
use crate::launch::Launched;
use crate::loopback::{self, Loopback};
use crate::spec::{Network, Outcome, Spec, Stream};
use crate::starter::Starter;
use crate::watch::Watch;

/// How long the shim is kept ready: the steps of an order follow one another within this, and an idle host has none.
const LINGER: Duration = Duration::from_secs(30);
/// Most groups that the kernel lets a process be in (`NGROUPS_MAX`, limits.h).
const GROUPS_MAX: usize = 65_536;

/// Where step cgroups are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupBase {
    /// Below the agent's own cgroup, where the host allows it; otherwise there are none.
    Discover,
    /// Below this directory of a cgroup version 2 hierarchy; not being able to is an error.
    At(PathBuf),
    /// Nowhere.
    Off,
}

/// What a sandbox is built from.
#[derive(Clone, Debug)]
pub struct Config {
    /// A binary that calls [`crate::maybe_run_shim`] first in `main`.
    pub shim: PathBuf,
    /// How long the shim is kept ready after a run; the first run after that waits a millisecond or two for it.
    pub linger: Duration,
    /// Where step cgroups are made.
    pub cgroup: CgroupBase,
    /// Directories that no strict step may have as working directory, have in it, or be in: the agent's own.
    pub closed: Vec<PathBuf>,
}

impl Default for Config {
    /// This very binary, and cgroups where they can be had.
    fn default() -> Self {
        Self {
            shim: "/proc/self/exe".into(),
            linger: LINGER,
            cgroup: CgroupBase::Discover,
            closed: Vec::new(),
        }
    }
}

/// Runs process trees. One per agent; shared by all its threads.
#[derive(Debug)]
pub struct Sandbox {
    /// First, for it uses the others until it is gone.
    cells: Cells,
    starter: Arc<Starter>,
    cgroups: Option<Arc<Cgroups>>,
    /// Why there are none although they were looked for.
    lacking: Option<String>,
    closed: Vec<PathBuf>,
}

impl Sandbox {
    /// A sandbox. Ends what an earlier agent that died left running in cgroups below the same base.
    ///
    /// # Errors
    /// [`Error::Io`] when a base was named and no cgroup can be made there.
    pub fn new(config: Config) -> Result<Self, Error> {
        let mut lacking = None;
        let cgroups = match config.cgroup {
            CgroupBase::Discover => discover().map_err(|why| lacking = Some(why)).ok(),
            CgroupBase::At(base) => {
                Some(Cgroups::open(&base).map_err(Error::io("make a cgroup below the configured base"))?)
            }
            CgroupBase::Off => None,
        };
        let starter = Arc::new(Starter::new(config.shim, config.linger));
        let cgroups = cgroups.map(Arc::new);
        Ok(Self {
            cells: Cells::new(Arc::clone(&starter), cgroups.clone(), config.linger),
            starter,
            cgroups,
            lacking,
            closed: config.closed,
        })
    }

    /// Whether steps get a cgroup of their own: exact metering and a certain end.
    pub const fn has_cgroups(&self) -> bool {
        self.cgroups.is_some()
    }

    /// Why [`CgroupBase::Discover`] found no place for cgroups; `None` when there is one, or none was looked for.
    pub fn lacks_cgroups_because(&self) -> Option<&str> {
        self.lacking.as_deref()
    }

    /// Runs one program to its end, and ends everything that it started. Blocks; stop it from elsewhere through `control`.
    ///
    /// `on_output` sees output as it comes, at most [`crate::OUTPUT_CHUNK_BYTES_MAX`] at once; while it runs nothing else is watched, so it
    /// must not wait.
    ///
    /// # Errors
    /// [`Error`]; then the program was not started.
    pub fn run(
        &self,
        spec: &Spec,
        control: &Control,
        on_output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Outcome, Error> {
        check(spec)?;
        self.check_directory(spec)?;
        if let Stop::Terminate(reason) | Stop::Kill(reason) = control.wanted() {
            return Ok(never_started(spec, reason));
        }
        let (cell, _turn) = self.cells.begin(spec);
        if let Some(Leftover { launched, cgroup, .. }) = cell {
            let (ran, launched) = Watch::new(spec, control, cgroup.as_ref(), launched).run(on_output);
            if let Some(ran) = ran.transpose() {
                control.book_used(ran.as_ref().ok().map(|outcome| &outcome.usage));
                self.cells.leave(Leftover {
                    launched,
                    cgroup,
                    is_spent: true,
                });
                return ran;
            }
            control.book_used(None);
        }
        self.run_the_long_way(spec, control, on_output)
    }

    /// Starts everything that the step needs for it alone.
    fn run_the_long_way(
        &self,
        spec: &Spec,
        control: &Control,
        on_output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Outcome, Error> {
        let own = u64::from(spec.isolation >= Isolation::Namespaces);
        let step = |all: &Arc<Cgroups>| {
            let mut cgroup = all.step(own)?;
            cgroup.limit(&spec.limits).map(|()| cgroup)
        };
        let cgroup = self.cgroups.as_ref().map(step).transpose();
        let cgroup = cgroup.map_err(Error::io("make the step's cgroup"))?;
        let launched = Launched::start(&self.starter, spec, cgroup.as_ref())?;
        let (ran, _) = Watch::new(spec, control, cgroup.as_ref(), launched).run(on_output);
        let ran = ran.and_then(|ran| {
            ran.ok_or_else(|| Error::Shim {
                detail: "it ran nothing and did not say why".to_owned(),
            })
        });
        control.book_used(ran.as_ref().ok().map(|outcome| &outcome.usage));
        ran
    }

    /// Waits until what is done beside the steps is done: what the last one left is taken down, and what the next strict one needs is made ready.
    /// Whether it is. No step needs this; whoever measures or tests one does.
    pub fn settle(&self) -> bool {
        self.cells.settle()
    }

    /// Makes a network with nothing but a loopback in it, for programs to be run in one after another. With a port, somebody listens there: the
    /// other end of what they connect to, in the agent's hands and outside of their network.
    ///
    /// # Errors
    /// [`Error::Isolation`] where the host gives no such namespace.
    pub fn loopback(&self, port: Option<u16>) -> Result<(Loopback, Option<TcpListener>), Error> {
        loopback::make(&self.starter, port)
    }

    /// What a strict step may write must not be the agent's, which may be the same user.
    fn check_directory(&self, spec: &Spec) -> Result<(), Error> {
        if spec.isolation < Isolation::Strict || spec.cwd == "/" {
            return Ok(());
        }
        // One that is not there is refused later on, as such.
        let true_path = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let cwd = true_path(Path::new(&spec.cwd));
        let meets = |closed: &PathBuf| {
            let closed = true_path(closed);
            closed.starts_with(&cwd) || cwd.starts_with(&closed)
        };
        match self.closed.iter().find(|closed| meets(closed)) {
            None => Ok(()),
            Some(closed) => Err(Error::Isolation {
                wanted: spec.isolation,
                detail: format!(
                    "working directory {} meets {}, which is the agent's own; use another",
                    spec.cwd,
                    closed.display()
                ),
            }),
        }
    }
}

/// Whether limits on processes do not bind a step: the kernel exempts root, which a strict step never is.
pub(crate) fn is_exempt_from_process_limit(isolation: Isolation) -> bool {
    geteuid().is_root() && isolation < Isolation::Strict
}

fn discover() -> Result<Cgroups, String> {
    let base =
        cgroup::discover().ok_or("no cgroup version 2 hierarchy that holds this process is mounted")?;
    Cgroups::open(&base).map_err(|error| format!("none can be made below {}: {error}", base.display()))
}

fn check(spec: &Spec) -> Result<(), Error> {
    let refuse = |rule: String| Err(Error::Spec { rule });
    if spec.argv.first().is_none_or(String::is_empty) {
        return refuse("argv is empty".to_owned());
    }
    if matches!(spec.network, Network::Shared(_)) && spec.isolation < Isolation::Namespaces {
        return refuse("a shared loopback is for isolation namespaces and strict".to_owned());
    }
    if spec.looks && spec.isolation != Isolation::Namespaces {
        return refuse("what only looks is for isolation namespaces".to_owned());
    }
    if spec.asks && (spec.looks || spec.isolation != Isolation::Namespaces) {
        return refuse("what only asks is for isolation namespaces".to_owned());
    }
    if let Some(user) = &spec.user {
        if spec.looks || spec.isolation >= Isolation::Strict {
            return refuse("a user is for isolation none and namespaces".to_owned());
        }
        if user.groups.len() > GROUPS_MAX {
            return refuse(format!("a user is in at most {GROUPS_MAX} groups"));
        }
        if !geteuid().is_root() {
            return refuse("only an agent that is root runs a program as another user".to_owned());
        }
    }
    if !Path::new(&spec.cwd).is_absolute() {
        return refuse(format!("working directory {:?} is not absolute", spec.cwd));
    }
    let names = spec
        .env
        .iter()
        .find(|(name, _)| name.is_empty() || name.contains('='));
    if let Some((name, _)) = names {
        return refuse(format!("environment name {name:?} is empty or holds ="));
    }
    let mut texts = spec
        .argv
        .iter()
        .chain([&spec.cwd])
        .chain(spec.env.iter().flat_map(|(name, value)| [name, value]));
    if let Some(text) = texts.find(|text| text.contains('\0')) {
        let shown: String = text.chars().take(80).collect();
        return refuse(format!("{shown:?} holds a zero byte"));
    }
    Ok(())
}

fn never_started(spec: &Spec, reason: String) -> Outcome {
    Outcome {
        exit: Exit::Killed(reason),
        effective: Vec::new(),
        isolation_reached: spec.isolation,
        kill_confidence: KillConfidence::Certain,
        usage: Usage::none(Meter::Agent),
        output: CapturedOutput {
            head: Vec::new(),
            tail: Vec::new(),
            total: 0,
            truncated: false,
            digest: Digest::of(b""),
        },
        pid: 0,
        started_boot_us: boot_us(),
    }
}
