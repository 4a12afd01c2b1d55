//! A private nats-server for tests: operator mode, TLS, the accounts of the protocol, and the ways in which a bus fails.
//!
//! The configuration comes from `writ_protocol::nats::server`, as in `writ dev`. The server dies with its [`NatsServer`].

mod cluster;
mod keys;
mod login;
mod tls;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use writ_chassis::clock::{Clock as _, SystemClock};
use writ_protocol::nats::server::{Resolver, ServerClaims, ServerSettings, ServerTls, server_config};

pub use cluster::NatsCluster;
pub use keys::BusKeys;
pub use login::Login;

/// How long a server gets to start: it reads its streams first.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at the file of ports.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Bytes of disk that its streams may take.
pub const STORE_BYTES: i64 = 16 << 30;

/// A running private server.
#[derive(Debug)]
pub struct NatsServer {
    dir: PathBuf,
    program: PathBuf,
    child: Option<Child>,
    port: u16,
    ca_pem: String,
    keys: Arc<BusKeys>,
    claims: ServerClaims,
    memory_resolver: bool,
    /// Its name and the part of its configuration that is about the other servers, in a cluster.
    member: Option<(String, String)>,
}

impl NatsServer {
    /// Starts a server below `dir`, with fresh keys and a free port.
    ///
    /// # Errors
    /// When there is no nats-server (`cargo xtask parts` brings one), or it does not start.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(dir, false)
    }

    /// The same with account claims in memory: claims are changed by [`Self::reload`] instead of by pushing.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(dir: &Path, memory_resolver: bool) -> anyhow::Result<Self> {
        let mut server = Self::stopped(dir, program()?, memory_resolver)?;
        server.restart()?;
        Ok(server)
    }

    /// A server with all that it needs below `dir`, not started.
    fn stopped(dir: &Path, program: PathBuf, memory_resolver: bool) -> anyhow::Result<Self> {
        fs::create_dir_all(dir.join("ports"))?;
        let keys = BusKeys::generate()?;
        let ca_pem = tls::write(dir)?;
        let operator = (&keys.operator, &keys.operator_signer);
        let claims = ServerClaims::sign(operator, &keys.public(), STORE_BYTES, SystemClock.now())?;
        Ok(Self {
            dir: dir.to_owned(),
            program,
            child: None,
            port: 0,
            ca_pem,
            keys: Arc::new(keys),
            claims,
            memory_resolver,
            member: None,
        })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("tls://127.0.0.1:{}", self.port)
    }

    /// The authority of its certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The same as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Every private key of the bus.
    pub fn keys(&self) -> &BusKeys {
        &self.keys
    }

    /// The folder of its streams.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The server's process id, when it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills the server at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Freezes the server: connections stay and nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Writes other account claims into the configuration and has the server read it again.
    ///
    /// # Errors
    /// When it does not run or the configuration cannot be written.
    pub fn reload(&mut self, accounts: &[(String, String)]) -> anyhow::Result<()> {
        for (key, jwt) in accounts {
            self.claims.accounts.retain(|(known, _)| known != key);
            self.claims.accounts.push((key.clone(), jwt.clone()));
        }
        self.write_config()?;
        self.signal(Signal::HUP)
    }

    /// Starts the server again, on the same port with the same streams. Kills it before, if it runs.
    ///
    /// # Errors
    /// When it does not start; the end of its log is in the error.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let ports = self.dir.join("ports");
        for entry in fs::read_dir(&ports)?.flatten() {
            fs::remove_file(entry.path())?;
        }
        self.write_config()?;
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(self.config())
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.join("stderr.log"))?)
            .spawn()
            .context("starting nats-server")?;
        let file = ports.join(format!("nats-server_{}.ports", child.id()));
        self.child = Some(child);
        self.wait(&file)
    }

    /// Removes the streams and starts the server again: a bus that lost everything.
    ///
    /// # Errors
    /// As [`Self::restart`].
    pub fn wipe(&mut self) -> anyhow::Result<()> {
        self.kill();
        remove(&self.store())?;
        self.restart()
    }

    /// Keeps a copy of the streams, taken while the server is down; it is up again afterwards.
    ///
    /// # Errors
    /// When the copy fails.
    pub fn snapshot(&mut self, name: &str) -> anyhow::Result<()> {
        self.kill();
        self.copy_store(name)?;
        self.restart()
    }

    fn copy_store(&self, name: &str) -> anyhow::Result<()> {
        let to = self.dir.join(format!("snapshot-{name}"));
        remove(&to)?;
        copy(&self.store(), &to)
    }

    /// Puts the streams back as they were at [`Self::snapshot`] and starts the server again: a bus that went back in time.
    ///
    /// # Errors
    /// When there is no such copy.
    pub fn rollback(&mut self, name: &str) -> anyhow::Result<()> {
        self.kill();
        self.put_store_back(name)?;
        self.restart()
    }

    fn put_store_back(&self, name: &str) -> anyhow::Result<()> {
        remove(&self.store())?;
        copy(&self.dir.join(format!("snapshot-{name}")), &self.store())
    }

    /// The server's log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.dir.join("server.log"))?)
    }

    fn config(&self) -> PathBuf {
        self.dir.join("server.conf")
    }

    fn write_config(&self) -> anyhow::Result<()> {
        let port = if self.port == 0 { -1 } else { i32::from(self.port) };
        let settings = ServerSettings {
            name: self
                .member
                .as_ref()
                .map_or("writ-test", |(name, _)| name)
                .to_owned(),
            listen: format!("127.0.0.1:{port}"),
            store_dir: self.store(),
            resolver: if self.memory_resolver {
                Resolver::Memory
            } else {
                Resolver::Full(self.dir.join("accounts"))
            },
            tls: Some(ServerTls {
                certificate: self.dir.join("server.pem"),
                key: self.dir.join("server.key"),
                client_ca: None,
            }),
            max_file_store: STORE_BYTES,
            ports_dir: Some(self.dir.join("ports")),
            pid_file: None,
            log_file: Some(self.dir.join("server.log")),
            sync_always: false,
        };
        let mut text = server_config(&settings, &self.claims);
        if let Some((_, others)) = &self.member {
            text.push_str(others);
        }
        Ok(fs::write(self.config(), text)?)
    }

    fn wait(&mut self, ports: &Path) -> anyhow::Result<()> {
        let started = SystemClock.boot();
        loop {
            if let Some(port) = fs::read_to_string(ports).ok().and_then(|text| port_in(&text)) {
                self.port = port;
                return Ok(());
            }
            let ended = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten());
            if ended.is_some() || SystemClock.boot().since(started) > START_PATIENCE {
                let log = self.log().unwrap_or_default();
                let words = fs::read_to_string(self.dir.join("stderr.log")).unwrap_or_default();
                bail!("nats-server did not start ({ended:?}): {words}{log}");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.pid().context("nats-server does not run")?;
        let pid = Pid::from_raw(i32::try_from(id)?).context("nats-server has no process id")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn port_in(ports: &str) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_str(ports).ok()?;
    let url = ports.get("nats")?.get(0)?.as_str()?;
    url.rsplit(':').next()?.parse().ok()
}

/// The nats-server of this workspace: named by `WRIT_NATS_SERVER`, else below `target/parts`, else on the search path.
///
/// # Errors
/// When there is none.
pub fn program() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("WRIT_NATS_SERVER") {
        return Ok(named.into());
    }
    let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/parts");
    let folders = fs::read_dir(parts)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders
        .filter(|folder| {
            folder
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("nats-server-"))
        })
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("nats-server"))
        .find(|program| program.is_file())
        .context("there is no nats-server; `cargo xtask parts` brings one")
}

/// The nats-server of the generation before: named by `WRIT_FORMER_NATS_SERVER`, else below `target/parts`.
///
/// # Errors
/// When there is none.
pub fn former_program() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("WRIT_FORMER_NATS_SERVER") {
        return Ok(named.into());
    }
    let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/parts");
    let folders = fs::read_dir(parts).into_iter().flatten().flatten();
    folders
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("former-nats-server-"))
        .map(|entry| entry.path().join("nats-server"))
        .find(|program| program.is_file())
        .context("there is no nats-server 2.14; `cargo xtask parts` brings one, or name one in WRIT_FORMER_NATS_SERVER")
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
