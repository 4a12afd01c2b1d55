//! Controllers of a private stack: their configuration, their schema, their start, and the operator's first token.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use super::layout::{Layout, write_file};
use super::nats::Login;
use super::process::{self, ProcessRef, tail};
use super::trust::TENANT;
use crate::clock::Deadline;
use crate::interrupt::Interrupt;

/// How long a controller gets until it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two questions, and bound of each.
const RETRY: Duration = Duration::from_millis(25);
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer of a health door that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What a controller's configuration is made from.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// URL of the database.
    pub database: String,
    /// URLs of the bus.
    pub bus: Vec<String>,
    /// The bus's authority.
    pub ca: PathBuf,
    /// Its login.
    pub login: Login,
    /// Its login in the system account.
    pub system: Login,
    /// Length of a lease, milliseconds.
    pub lease_ms: Option<u64>,
    /// What agents are told about hellos, milliseconds.
    pub hello_interval_ms: Option<u64>,
}

/// One controller.
#[derive(Clone, Debug)]
pub struct Controller {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    port: u16,
}

impl Controller {
    /// The controller of a name, on a port of this machine.
    pub fn of(layout: &Layout, name: &str, program: &Path, port: u16) -> Self {
        Self {
            program: program.to_path_buf(),
            config: layout.root().join(format!("{name}.yaml")),
            log: layout.log(name),
            port,
        }
    }

    /// Where its API is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Writes its configuration.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, layout: &Layout, wiring: &Wiring) -> anyhow::Result<()> {
        let mut config = serde_json::json!({
            "tenant": TENANT,
            "database": { "url": wiring.database },
            "bus": {
                "servers": wiring.bus,
                "ca_file": wiring.ca,
                "credentials": { "jwt_file": wiring.login.jwt, "seed_file": wiring.login.seed },
                "system_credentials": { "jwt_file": wiring.system.jwt, "seed_file": wiring.system.seed },
                "revocation_key_file": layout.keys().join("nats").join("operator-signer.seed"),
                "public_servers": wiring.bus,
            },
            "api": { "listen": format!("127.0.0.1:{}", self.port) },
            "keys_dir": layout.keys(),
            "trust_dir": layout.trust(),
        });
        if let Some(map) = config.as_object_mut() {
            let times = [
                ("lease_ms", wiring.lease_ms),
                ("hello_interval_ms", wiring.hello_interval_ms),
            ];
            map.extend(
                times
                    .into_iter()
                    .filter_map(|(k, v)| Some((k.to_owned(), v?.into()))),
            );
        }
        // JSON is YAML, and needs no quoting rules of its own.
        write_file(&self.config, &serde_json::to_vec_pretty(&config)?, 0o600)
    }

    /// Brings the database's schema up to date.
    ///
    /// # Errors
    /// When the controller refuses; its words are in the error.
    pub fn migrate(&self) -> anyhow::Result<()> {
        self.run(&["migrate"])
            .context("bringing the database's schema up to date")
            .map(|_| ())
    }

    /// Makes an API token and gives its text.
    ///
    /// # Errors
    /// When the controller refuses; its words are in the error.
    pub fn create_token(&self, name: &str, role: &str) -> anyhow::Result<String> {
        let text = self
            .run(&["token", "create", "--name", name, "--role", role])
            .context("making an API token")?;
        let token = text
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty())
            .unwrap_or_default();
        Ok(token.to_owned())
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; the end of its log is in the error.
    pub fn start(&self, interrupt: &Interrupt) -> anyhow::Result<ProcessRef> {
        let process = process::start(self.command().arg("serve"), &self.log)?;
        let ready = self.wait_ready(process, interrupt);
        if ready.is_err() {
            process.end(Self::POLITE, process::END_PATIENCE);
        }
        ready.map(|()| process)
    }

    /// The signal at which it finishes what it has begun.
    pub const POLITE: Signal = Signal::TERM;

    fn wait_ready(&self, process: ProcessRef, interrupt: &Interrupt) -> anyhow::Result<()> {
        let deadline = Deadline::after(READY_PATIENCE);
        loop {
            interrupt.check()?;
            let answer = ask(self.port, "/readyz").unwrap_or_default();
            if answer.split_whitespace().nth(1) == Some("200") {
                return Ok(());
            }
            if !process.is_alive() {
                bail!(
                    "the controller ended while starting; its last words:\n{}",
                    tail(&self.log, 8)
                );
            }
            if deadline.is_over() {
                let said = answer.lines().last().unwrap_or("nothing").to_owned();
                bail!(
                    "the controller was not ready within {READY_PATIENCE:?}; /readyz says {said:?}; its last words:\n{}",
                    tail(&self.log, 8)
                );
            }
            process.wait(RETRY);
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).stdin(Stdio::null());
        process::without_our_variables(&mut command);
        command
    }

    fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.command().args(args).output();
        let output = output.with_context(|| format!("starting {}", self.program.display()))?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            bail!(
                "writ-controller {} failed ({}): {}",
                args.join(" "),
                output.status,
                words.trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// One small request without a client, because a refused connection is the usual answer while something starts.
fn ask(port: u16, path: &str) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_PATIENCE)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    stream.set_write_timeout(Some(ANSWER_PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}
