//! A private nats-server: operator mode with our accounts, TLS under our own authority, JetStream in the data folder.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use writ_protocol::nats::NkeyPair;
use writ_protocol::nats::access;
use writ_protocol::nats::claims::{self, Allow, UserGrant, UserLimits};
use writ_protocol::nats::server::{Resolver, ServerClaims, ServerSettings, ServerTls, server_config};
use writ_protocol::subject;
use writ_protocol::time::Timestamp;

use super::bus_keys::BusKeys;
use super::layout::{Layout, write_file};
use super::process::{self, ProcessRef, tail};
use super::tls::TlsFiles;
use crate::clock::Deadline;
use crate::interrupt::Interrupt;

/// How long the server gets to answer after its start; it reads its streams first.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two attempts to connect, and bound of each.
const RETRY: Duration = Duration::from_millis(20);
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of disk that the streams may take.
const JETSTREAM_BYTES: i64 = 4 << 30;
/// Longest first line of a server, bytes.
const GREETING_BYTES_MAX: u64 = 64 << 10;

/// The private bus server.
#[derive(Clone, Debug)]
pub struct Bus {
    folder: PathBuf,
    log: PathBuf,
    port: u16,
}

impl Bus {
    /// The bus of a stack on a port.
    pub fn of(layout: &Layout, port: u16) -> Self {
        Self {
            folder: layout.nats(),
            log: layout.log("nats"),
            port,
        }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("tls://127.0.0.1:{}", self.port)
    }

    /// The folder of its streams; to wipe it is to lose the bus.
    pub fn store(&self) -> PathBuf {
        self.folder.join("jetstream")
    }

    /// Writes its configuration and the logins of the controller.
    ///
    /// # Errors
    /// When something cannot be signed or written.
    pub fn configure(&self, keys: &BusKeys, tls: &TlsFiles, now: Timestamp) -> anyhow::Result<()> {
        let signed_at = self.signed_at(now)?;
        let operator = (&keys.operator, &keys.operator_signer);
        let claims = ServerClaims::sign(operator, &keys.accounts(), JETSTREAM_BYTES, signed_at)?;
        let settings = ServerSettings {
            name: "writ-dev".to_owned(),
            listen: format!("127.0.0.1:{}", self.port),
            store_dir: self.store(),
            resolver: Resolver::Full(self.folder.join("accounts")),
            tls: Some(ServerTls {
                certificate: tls.certificate.clone(),
                key: tls.key.clone(),
                client_ca: None,
            }),
            max_file_store: JETSTREAM_BYTES,
            ports_dir: None,
            pid_file: None,
            log_file: None,
            sync_always: false,
        };
        let config = server_config(&settings, &claims);
        write_file(&self.folder.join("server.conf"), config.as_bytes(), 0o600)
    }

    /// When the accounts' claims were signed: once. Claims signed anew would count as newer than those that the controller has pushed,
    /// and revoked agents would be back.
    fn signed_at(&self, now: Timestamp) -> anyhow::Result<Timestamp> {
        let path = self.folder.join("signed-at");
        if let Ok(text) = fs::read_to_string(&path) {
            return Timestamp::parse(text.trim()).with_context(|| format!("reading {}", path.display()));
        }
        write_file(&path, now.to_string().as_bytes(), 0o600)?;
        Ok(now)
    }

    /// Starts the server and waits until it greets.
    ///
    /// # Errors
    /// When it ends or does not answer in time; the end of its log is in the error.
    pub fn start(&self, program: &Path, interrupt: &Interrupt) -> anyhow::Result<ProcessRef> {
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(self.folder.join("server.conf"))
            .current_dir(&self.folder);
        let process = process::start(&mut command, &self.log)?;
        let ready = self.wait_ready(process, interrupt);
        if ready.is_err() {
            process.end(Self::POLITE, process::END_PATIENCE);
        }
        ready.map(|()| process)
    }

    /// The signal that stops it after its streams are written.
    pub const POLITE: Signal = Signal::TERM;

    fn wait_ready(&self, process: ProcessRef, interrupt: &Interrupt) -> anyhow::Result<()> {
        let deadline = Deadline::after(READY_PATIENCE);
        while !greets(self.port) {
            interrupt.check()?;
            if !process.is_alive() {
                bail!(
                    "nats-server ended while starting; its last words:\n{}",
                    tail(&self.log, 8)
                );
            }
            if deadline.is_over() {
                bail!(
                    "nats-server did not answer within {READY_PATIENCE:?}; its last words:\n{}",
                    tail(&self.log, 8)
                );
            }
            process.wait(RETRY);
        }
        Ok(())
    }
}

/// Whether a server says its first line (`INFO {…}`), which it does before TLS begins and after its streams are up.
fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ask = || {
        let stream = TcpStream::connect_timeout(&address, CONNECT_PATIENCE)?;
        stream.set_read_timeout(Some(CONNECT_PATIENCE))?;
        let mut line = String::new();
        BufReader::new(std::io::Read::take(stream, GREETING_BYTES_MAX)).read_line(&mut line)?;
        std::io::Result::Ok(line.starts_with("INFO "))
    };
    ask().unwrap_or(false)
}

/// Files of one login on the bus.
#[derive(Clone, Debug)]
pub struct Login {
    /// User claims.
    pub jwt: PathBuf,
    /// The user's seed.
    pub seed: PathBuf,
    /// The prefix of its reply subjects, which its claims allow.
    pub inbox: String,
}

/// Writes the controller's login in CORE, and its login in the system account, which may push account claims.
///
/// # Errors
/// When they cannot be signed or written.
pub fn logins(keys: &BusKeys, folder: &Path, now: Timestamp) -> anyhow::Result<(Login, Login)> {
    let controller = Entry {
        name: "controller",
        user: &keys.controller,
        account: &keys.core,
        signer: &keys.core_signer,
    };
    let system = Entry {
        name: "controller-system",
        user: &keys.controller_system,
        account: &keys.system,
        signer: &keys.system_signer,
    };
    let core = controller.write(
        folder,
        access::controller_allow(&subject::inbox(&keys.controller.user_key()?)),
        now,
    )?;
    let system = system.write(
        folder,
        access::system_allow(&subject::inbox(&keys.controller_system.user_key()?)),
        now,
    )?;
    Ok((core, system))
}

struct Entry<'a> {
    name: &'a str,
    user: &'a NkeyPair,
    account: &'a NkeyPair,
    signer: &'a NkeyPair,
}

impl Entry<'_> {
    fn write(&self, folder: &Path, allow: Allow, now: Timestamp) -> anyhow::Result<Login> {
        let grant = UserGrant {
            name: self.name,
            user: &self.user.public(),
            account: &self.account.public(),
            expires_at: None,
            allow: Some((allow, UserLimits::NONE)),
        };
        let jwt = folder.join(format!("{}.jwt", self.name));
        write_file(&jwt, claims::user(&grant, self.signer, now)?.as_bytes(), 0o600)?;
        Ok(Login {
            jwt,
            seed: folder.join(format!("{}.seed", self.name)),
            inbox: subject::inbox(&self.user.user_key()?),
        })
    }
}

/// Removes the streams of a stopped server, as if its disk had been lost.
///
/// # Errors
/// When they cannot be removed.
pub fn wipe(bus: &Bus) -> anyhow::Result<()> {
    let store = bus.store();
    if store.exists() {
        fs::remove_dir_all(&store).with_context(|| format!("removing {}", store.display()))?;
    }
    Ok(())
}
