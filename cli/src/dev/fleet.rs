//! Agents of a private stack: each on a lab host of its own, or as a plain process where lab hosts cannot be had.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use super::lab::{Bind, LabHost, LabSpec};
use super::layout::{Layout, make_folder, write_file};
use super::process::{self, ProcessRef};

/// Where things lie on a lab host.
const LAB_PROGRAM: &str = "/usr/local/bin/writ-agent";
const LAB_CONFIG: &str = "/etc/writ/agent.yaml";
const LAB_STATE: &str = "/var/lib/writ-agent";
/// The file, in the state directory, that a join token waits in.
const TOKEN: &str = "join.token";

/// One agent and where it lives.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its name and, on a lab host, its hostname.
    pub name: String,
    program: PathBuf,
    folder: PathBuf,
    log: PathBuf,
    hello_interval_ms: Option<u64>,
    plain: bool,
}

impl Agent {
    /// The agent of a name.
    pub fn of(layout: &Layout, name: &str, program: &Path, plain: bool) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_path_buf(),
            folder: layout.agent(name),
            log: layout.log(name),
            hello_interval_ms: None,
            plain,
        }
    }

    /// With its own idea of how often to say hello: for tests.
    #[must_use]
    pub fn hello_interval_ms(mut self, interval: Option<u64>) -> Self {
        self.hello_interval_ms = interval;
        self
    }

    /// Its state directory, as the machine sees it.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Its configuration file, as the machine sees it.
    pub fn config(&self) -> PathBuf {
        self.folder.join("agent.yaml")
    }

    /// Whether it has been enrolled.
    pub fn is_enrolled(&self) -> bool {
        self.state().join("identity").is_dir()
    }

    /// Makes its folders and writes its configuration.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn configure(&self) -> anyhow::Result<()> {
        make_folder(&self.folder, 0o755)?;
        make_folder(&self.state(), 0o700)?;
        let config = serde_json::json!({
            "state_dir": self.seen(&self.state(), LAB_STATE),
            "environment": "dev",
            "hello_interval_ms": self.hello_interval_ms,
            "drain_seconds": 10,
            "log": { "format": "text" },
        });
        // JSON is YAML, and needs no quoting rules of its own.
        write_file(&self.config(), &serde_json::to_vec_pretty(&config)?, 0o644)
    }

    /// Brings its lab host up.
    ///
    /// # Errors
    /// When lab hosts cannot be had.
    pub fn start_host(&self) -> anyhow::Result<LabHost> {
        let bind = |source: PathBuf, target: &str| Bind {
            source,
            target: target.into(),
        };
        LabHost::start(&LabSpec {
            name: self.name.clone(),
            scratch: self.folder.join("scratch"),
            binds: vec![
                bind(self.state(), LAB_STATE),
                bind(self.program.clone(), LAB_PROGRAM),
                bind(self.config(), LAB_CONFIG),
            ],
            log: self.log.clone(),
        })
    }

    /// Enrols it with a join token.
    ///
    /// # Errors
    /// When the agent is refused; its words are in the error.
    pub fn enrol(&self, host: Option<LabHost>, token: &str) -> anyhow::Result<()> {
        let file = self.state().join(TOKEN);
        write_file(&file, token.as_bytes(), 0o600)?;
        let state = self.seen(&self.state(), LAB_STATE);
        let mut command = self.command(host);
        command
            .args(["enroll", "--name", &self.name, "--state"])
            .arg(&state)
            .arg("--token")
            .arg(state.join(TOKEN));
        let output = command.stdin(Stdio::null()).output();
        drop(fs::remove_file(&file));
        let Output {
            status,
            stdout,
            stderr,
        } = output.context("starting writ-agent")?;
        if !status.success() {
            let words = [stdout, stderr].concat();
            bail!(
                "{} could not be enrolled ({status}): {}",
                self.name,
                String::from_utf8_lossy(&words).trim()
            );
        }
        Ok(())
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, host: Option<LabHost>) -> anyhow::Result<ProcessRef> {
        let mut command = self.command(host);
        command
            .args(["run", "--config"])
            .arg(self.seen(&self.config(), LAB_CONFIG));
        process::start(&mut command, &self.log)
    }

    /// The signal at which it drains.
    pub const POLITE: Signal = Signal::TERM;

    fn command(&self, host: Option<LabHost>) -> Command {
        let mut command = match host {
            Some(host) => host.command(LAB_PROGRAM),
            None => Command::new(&self.program),
        };
        process::without_our_variables(&mut command);
        command
    }

    /// A path as the agent sees it.
    fn seen(&self, here: &Path, on_lab: &str) -> PathBuf {
        if self.plain {
            here.to_path_buf()
        } else {
            on_lab.into()
        }
    }
}
