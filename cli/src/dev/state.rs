//! What a stack consists of and what of it runs: one small file, so that any later command finds the processes again.

use std::fs::{self, File};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::layout::{Layout, write_file};
use super::process::ProcessRef;
use crate::exit::Exit;
use crate::fault::Fault;

/// Longest state file, bytes.
const STATE_BYTES_MAX: usize = 4 << 20;

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// The private PostgreSQL.
    Postgres,
    /// The private nats-server.
    Nats,
    /// A controller.
    Controller,
    /// The process that keeps a lab host's namespaces.
    LabHost,
    /// An agent.
    Agent,
}

/// One process of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name: `postgres`, `nats`, `controller-1`, `lab-1.host`, `lab-1`.
    pub name: String,
    /// What it is.
    pub kind: PartKind,
    /// Its process, when it was started and not stopped.
    pub process: Option<ProcessRef>,
    /// The port it listens on.
    pub port: Option<u16>,
}

impl Part {
    /// `running`, `stopped`, or `gone` when it ended without being stopped.
    pub fn state(&self) -> &'static str {
        match &self.process {
            None => "stopped",
            Some(process) if process.is_alive() => "running",
            Some(_) => "gone",
        }
    }
}

/// A stack, as it was last brought up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Whether it was brought up completely.
    pub ready: bool,
    /// A given database instead of the private one.
    pub pg: Option<String>,
    /// A given bus instead of the private one.
    pub nats: Vec<String>,
    /// Whether agents run as plain processes.
    pub plain: bool,
    /// Its processes, in the order of their start.
    pub parts: Vec<Part>,
}

impl State {
    /// Reads the state of a stack; an empty one when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn load(layout: &Layout) -> anyhow::Result<Self> {
        let path = layout.state();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        if bytes.len() > STATE_BYTES_MAX {
            bail!("{} is larger than {STATE_BYTES_MAX} bytes", path.display());
        }
        serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, layout: &Layout) -> anyhow::Result<()> {
        // The URL of a given database may hold a password.
        write_file(&layout.state(), &serde_json::to_vec_pretty(self)?, 0o600)
    }

    /// A part by its name.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// Puts a part in, in the place of one with the same name.
    pub fn put(&mut self, part: Part) {
        match self.parts.iter_mut().find(|other| other.name == part.name) {
            Some(other) => *other = part,
            None => self.parts.push(part),
        }
    }

    /// Whether anything of it runs.
    pub fn is_running(&self) -> bool {
        self.parts.iter().any(|part| part.state() == "running")
    }

    /// Whether all of it runs.
    pub fn is_whole(&self) -> bool {
        self.ready && self.parts.iter().all(|part| part.state() == "running")
    }

    /// How many parts are of a kind.
    pub fn count(&self, kind: PartKind) -> usize {
        self.parts.iter().filter(|part| part.kind == kind).count()
    }

    /// The port of a part.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.part(name).and_then(|part| part.port)
    }
}

/// Held while a command changes the stack, so that two do not do so at once.
///
/// # Errors
/// When another command holds it.
pub fn lock(layout: &Layout) -> anyhow::Result<File> {
    let path = layout.lock();
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let what = format!(
                "another `writ dev` is starting or stopping {}",
                layout.root().display()
            );
            Err(Fault::new(Exit::Failed, what)
                .help("wait for it, then try again")
                .into())
        }
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, process: Option<ProcessRef>) -> Part {
        Part {
            name: name.into(),
            kind: PartKind::Agent,
            process,
            port: None,
        }
    }

    #[test]
    fn a_stale_pid_counts_as_gone() {
        let me = ProcessRef::of(std::process::id()).unwrap();
        let stale = ProcessRef {
            started: me.started + 1,
            ..me
        };
        assert_eq!(part("a", Some(me)).state(), "running");
        assert_eq!(part("a", Some(stale)).state(), "gone");
        assert_eq!(part("a", None).state(), "stopped");
        let mut state = State {
            ready: true,
            parts: vec![part("a", Some(me))],
            ..State::default()
        };
        assert!(state.is_whole());
        state.put(part("b", Some(stale)));
        assert!(state.is_running() && !state.is_whole());
    }

    #[test]
    fn state_reads_back_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        assert_eq!(State::load(&layout).unwrap(), State::default());
        let state = State {
            plain: true,
            parts: vec![part("lab-1", None)],
            ..State::default()
        };
        state.save(&layout).unwrap();
        assert_eq!(State::load(&layout).unwrap(), state);
        std::fs::write(layout.state(), "{").unwrap();
        let error = State::load(&layout).unwrap_err().to_string();
        assert!(error.contains("state.json"), "{error}");
    }

    #[test]
    fn one_command_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        let held = lock(&layout).unwrap();
        assert!(
            lock(&layout)
                .unwrap_err()
                .to_string()
                .contains("another `writ dev`")
        );
        drop(held);
        lock(&layout).unwrap();
    }
}
