//! A whole world for a story: real PostgreSQL, real nats-server, real controllers and agents in a folder of its own, and the verbs to use and
//! to hurt them. The stack is the one that `writ dev` brings up; agents are plain processes, and a story's configs touch only its own folder.

mod clocks;
mod disk;
mod door;
mod harm;
mod intruder;
mod ledger;
mod patience;
mod restore;
mod verbs;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;
use writ_cli::api::Client;
use writ_cli::dev::guard::GuardedStack;
use writ_cli::dev::process::{ProcessRef, tail};
use writ_cli::dev::programs::{Programs, Wanted};
use writ_cli::dev::stack::StackOptions;
use writ_cli::dev::state::PartKind;
use writ_cli::interrupt::Interrupt;
use writ_cli::output::Teller;
use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;

pub use intruder::Impostor;
pub use patience::{LONG, SHORT, eventually};
pub use verbs::TWO_STEPS;
pub use wire::Wire;

/// Lines of each log that are told when a story fails.
const TOLD_LINES: usize = 40;

/// What a world is to be.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Agents: `lab-1`, `lab-2`, …
    pub agents: usize,
    /// Controllers: `controller-1`, …
    pub controllers: usize,
    /// Length of a lease, milliseconds; the controller's default when absent.
    pub lease_ms: Option<u64>,
    /// Time between hellos, milliseconds: small, because a hello is how an agent that missed something catches up.
    pub hello_interval_ms: u64,
    /// Whether clocks of agents and controllers are to jump; [`World::can_jump`] says whether they can.
    pub clocks: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            agents: 1,
            controllers: 1,
            lease_ms: None,
            hello_interval_ms: 1_000,
            clocks: false,
        }
    }
}

/// Tells a story in a world of its own. When it goes wrong, the ends of all logs are told too; in any case everything is taken down.
///
/// # Errors
/// When the world does not come up, or what the story says.
pub fn story(options: Options, tale: impl FnOnce(&mut World) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut world = World::start(options)?;
    let told = tale(&mut world);
    if told.is_err() {
        world.tell_logs();
    }
    told
}

/// A running world. Dropped, it leaves nothing behind; dropped in a panic, it tells the ends of its logs.
#[derive(Debug)]
pub struct World {
    // Before the folder that it lies in.
    stack: GuardedStack,
    folder: TempDir,
    strays: Vec<ProcessRef>,
    mounts: Vec<PathBuf>,
    /// Since when a restore can reach every moment.
    backed_up: Option<Timestamp>,
    /// Why clocks cannot jump.
    no_jumps: Option<String>,
}

impl World {
    /// Brings a world up and waits until every agent is heard.
    ///
    /// # Errors
    /// When a program is missing (the error says how to get it) or a part does not come up.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        Self::start_unless(options, &Interrupt::never())
    }

    /// As [`World::start`]; an interrupt ends the start, and every later start of a part.
    ///
    /// # Errors
    /// As [`World::start`].
    pub fn start_unless(options: Options, interrupt: &Interrupt) -> anyhow::Result<Self> {
        Programs::find(&Wanted::default())
            .context("a story needs every part; build them with `cargo build --workspace --bins`")?;
        let folder = tempfile::Builder::new().prefix("writ-story-").tempdir()?;
        fs::create_dir(folder.path().join("host"))?;
        let clocks = clocks::wrap(folder.path(), options.clocks);
        let wanted = StackOptions {
            own: clocks.as_ref().ok().cloned(),
            data: folder.path().join("data"),
            agents: options.agents,
            controllers: options.controllers,
            plain: true,
            lease_ms: options.lease_ms,
            hello_interval_ms: Some(options.hello_interval_ms),
            ..StackOptions::default()
        };
        let stack = GuardedStack::up_unless(wanted, interrupt)?;
        Ok(Self {
            stack,
            folder,
            strays: Vec::new(),
            mounts: Vec::new(),
            backed_up: None,
            no_jumps: clocks.err(),
        })
    }

    /// The folder that a story's configs may change, as text for a config.
    pub fn place(&self) -> String {
        self.host().to_string_lossy().into_owned()
    }

    /// A file in that folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.host().join(name)
    }

    /// What a file in that folder holds; nothing when it is not there.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// How many lines a file in that folder has: programs that append to one show how often they were started.
    pub fn lines(&self, name: &str) -> usize {
        self.read(name).lines().count()
    }

    /// Processes that name the story's folder on their command line: the programs of its steps.
    pub fn programs(&self) -> Vec<PathBuf> {
        let place = self.place();
        let names = |entry: &PathBuf| {
            let line = fs::read(entry.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&place)
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(names).collect()
    }

    /// A client of the first controller that runs, as the operator.
    ///
    /// # Errors
    /// When none runs.
    pub fn client(&self) -> anyhow::Result<Client> {
        let mut parts = self.stack.state().parts.iter();
        let alive = parts.find(|part| part.kind == PartKind::Controller && part.state() == "running");
        self.stack.client(&alive.context("no controller runs")?.name)
    }

    /// The first controller that is not ready, and what it lacks.
    ///
    /// # Errors
    /// When one does not answer.
    pub fn unready(&self) -> anyhow::Result<Option<String>> {
        for name in self.controllers() {
            let failing = self.stack.client(&name)?.ready()?.failing();
            if !failing.is_empty() {
                return Ok(Some(format!("{name} is not ready: {}", failing.join("; "))));
            }
        }
        Ok(None)
    }

    /// The fingerprint by which the root of trust is pinned.
    pub fn root(&self) -> &Digest {
        self.stack.root()
    }

    /// The operator's own signing key.
    pub fn operator_key(&self) -> PathBuf {
        self.stack.layout().operator_key()
    }

    fn host(&self) -> PathBuf {
        self.folder.path().join("host")
    }

    /// Tells the ends of all logs.
    pub fn tell_logs(&self) {
        for log in self.logs() {
            tell(&log);
        }
    }

    fn logs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.stack.layout().logs())
            .into_iter()
            .flatten()
            .flatten();
        let mut logs: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        logs.sort();
        logs
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell_logs();
        }
        self.end_strays();
        self.unmount();
        clocks::sweep();
    }
}

fn tell(log: &Path) {
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    Teller::default().say(&format!("── {name}\n{}", tail(log, TOLD_LINES)));
}
