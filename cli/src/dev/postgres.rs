//! A private PostgreSQL cluster: its own folder, a Unix socket and no network, fsync on, an unprivileged user.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::account::Account;
use super::layout::{Layout, PG_SOCKET, make_folder, write_file};
use super::process::{self, ProcessRef, tail};
use super::programs::Programs;
use crate::clock::Deadline;
use crate::interrupt::Interrupt;

/// Name of the database and of its owner.
pub const DATABASE: &str = "writ";
/// How long the server gets to answer after its start; recovery after a crash replays its log first.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two attempts to connect.
const RETRY: Duration = Duration::from_millis(20);
/// Connections: the controllers' pools, psql, and a few for tests.
const CONNECTIONS: u32 = 100;

/// A private cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    folder: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    account: Option<Account>,
}

impl Cluster {
    /// The cluster of a stack. It lies in the data folder unless its user cannot enter that.
    ///
    /// # Errors
    /// When there is no user that it may run as.
    pub fn of(layout: &Layout) -> anyhow::Result<Self> {
        let account = Account::for_servers()?;
        let folder = if Account::can_enter(account.as_ref(), layout.root()) {
            layout.root().join("pg")
        } else {
            PathBuf::from(format!("/var/tmp/writ-{}-pg", layout.short_name()))
        };
        let socket = layout.pg_socket_folder(&folder);
        Ok(Self {
            folder,
            socket,
            log: layout.log("postgres"),
            account,
        })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its URL, over the socket.
    pub fn url(&self) -> String {
        let mut host = String::new();
        for byte in self.socket.as_os_str().as_encoded_bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    host.push(char::from(*byte));
                }
                other => {
                    // Writing to a String cannot fail.
                    let _: std::fmt::Result = write!(host, "%{other:02X}");
                }
            }
        }
        format!("postgres://{DATABASE}@localhost/{DATABASE}?host={host}")
    }

    /// Makes the cluster when it is not there yet. Half a cluster is made again.
    ///
    /// # Errors
    /// When `initdb` fails; its words are in the error.
    pub fn ensure(&self, programs: &Programs) -> anyhow::Result<()> {
        self.own_folder(&self.folder)?;
        self.own_folder(&self.socket)?;
        let data = self.data();
        if data.join("PG_VERSION").is_file() && self.made().is_file() {
            return Ok(());
        }
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
        }
        let mut command = self.command(&programs.pg("initdb")?);
        command.args([
            "--username",
            DATABASE,
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--pgdata",
        ]);
        run(command.arg(&data)).context("making the PostgreSQL cluster")?;
        let settings = format!(
            "listen_addresses = ''\nunix_socket_permissions = 0700\nmax_connections = {CONNECTIONS}\n\
             fsync = on\nshared_buffers = '64MB'\nlog_line_prefix = '%m [%p] %q%a '\nlog_checkpoints = off\n\
             recovery_init_sync_method = syncfs\n"
        );
        let path = data.join("postgresql.conf");
        let present = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        fs::write(&path, present + &settings).with_context(|| format!("writing {}", path.display()))?;
        // One flush of the file system instead of one for each of a thousand files.
        let folder = fs::File::open(&data).with_context(|| format!("opening {}", data.display()))?;
        rustix::fs::syncfs(&folder).with_context(|| format!("flushing {}", data.display()))?;
        write_file(&self.made(), b"", 0o600)
    }

    /// Starts the server and waits until it answers; makes the database when it is not there yet.
    ///
    /// # Errors
    /// When the server ends or does not answer in time; the end of its log is in the error.
    pub fn start(&self, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<ProcessRef> {
        self.forget_killed_server()?;
        let mut command = self.command(&programs.pg("postgres")?);
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.socket);
        let process = process::start(&mut command, &self.log)?;
        let waited = self
            .wait_ready(programs, process, interrupt)
            .and_then(|()| self.ensure_database(programs));
        if waited.is_err() {
            process.end(Self::POLITE, process::END_PATIENCE);
        }
        waited.map(|()| process)
    }

    /// A server that was killed leaves its pid file, and PostgreSQL believes it as long as the number is taken, be it by a dead process that
    /// nobody has fetched. It goes once nobody works in the cluster's folder any more, as the server's orphans do for a moment.
    fn forget_killed_server(&self) -> anyhow::Result<()> {
        let data = self.data();
        let lock = format!("{}.lock", PG_SOCKET.trim_start_matches('/'));
        let files = [data.join("postmaster.pid"), self.socket.join(lock)];
        let deadline = Deadline::after(process::END_PATIENCE);
        while let Some(user) = process::working_in(&data).first() {
            if deadline.is_over() {
                bail!(
                    "another PostgreSQL works in {} (process {}); end it first",
                    data.display(),
                    user.pid
                );
            }
            std::thread::sleep(RETRY);
        }
        for file in files.iter().filter(|file| file.exists()) {
            fs::remove_file(file).with_context(|| format!("removing {}", file.display()))?;
        }
        Ok(())
    }

    /// The signal that shuts it down quickly and cleanly: fast mode.
    pub const POLITE: rustix::process::Signal = rustix::process::Signal::INT;

    fn wait_ready(
        &self,
        programs: &Programs,
        process: ProcessRef,
        interrupt: &Interrupt,
    ) -> anyhow::Result<()> {
        let deadline = Deadline::after(READY_PATIENCE);
        loop {
            interrupt.check()?;
            // Who asks before it is ready fills its log with refusals.
            if self.says_ready() && self.answers(programs)? {
                return Ok(());
            }
            if !process.is_alive() {
                bail!(
                    "PostgreSQL ended while starting; its last words:\n{}",
                    tail(&self.log, 8)
                );
            }
            if deadline.is_over() {
                bail!(
                    "PostgreSQL did not answer within {READY_PATIENCE:?}; its last words:\n{}",
                    tail(&self.log, 8)
                );
            }
            process.wait(RETRY);
        }
    }

    /// Whether the server has written `ready` where `pg_ctl` looks for it: the eighth line of its pid file.
    fn says_ready(&self) -> bool {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        text.lines().nth(7).is_some_and(|line| line.trim() == "ready")
    }

    fn answers(&self, programs: &Programs) -> anyhow::Result<bool> {
        let mut ask = self.command(&programs.pg("pg_isready")?);
        ask.args([
            "--quiet",
            "--timeout=5",
            "--username",
            DATABASE,
            "--dbname",
            "postgres",
            "--host",
        ]);
        ask.arg(&self.socket).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(ask.status().context("starting pg_isready")?.success())
    }

    fn ensure_database(&self, programs: &Programs) -> anyhow::Result<()> {
        let question = format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'");
        let mut ask = self.psql(programs, "postgres")?;
        let there = run(ask.args(["--tuples-only", "--no-align", "--command", &question]))?;
        if there.trim() == "1" {
            return Ok(());
        }
        let mut make = self.psql(programs, "postgres")?;
        run(make.args(["--command", &format!("CREATE DATABASE {DATABASE}")]))
            .context("making the database")?;
        Ok(())
    }

    /// `psql` on a database of the cluster, without the user's own settings.
    ///
    /// # Errors
    /// When there is no `psql`.
    pub fn psql(&self, programs: &Programs, database: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(programs.pg("psql")?);
        command
            .args([
                "--no-psqlrc",
                "--username",
                DATABASE,
                "--dbname",
                database,
                "--host",
            ])
            .arg(&self.socket);
        Ok(command)
    }

    /// Removes what lies outside the data folder.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self) -> anyhow::Result<()> {
        for folder in [&self.folder, &self.socket].into_iter().filter(|f| f.exists()) {
            fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Stands when `initdb` has finished.
    fn made(&self) -> PathBuf {
        self.folder.join("made")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .env_remove("PGDATA")
            .env("TZ", "UTC");
        Account::wear(self.account.as_ref(), &mut command);
        command
    }

    /// Makes a folder that belongs to the server's user alone. One that somebody else put there is refused.
    fn own_folder(&self, folder: &Path) -> anyhow::Result<()> {
        let wanted = self
            .account
            .as_ref()
            .map_or_else(|| rustix::process::geteuid().as_raw(), |a| a.uid);
        if let Ok(found) = fs::symlink_metadata(folder) {
            if !found.is_dir() || found.uid() != wanted {
                bail!("{} is there and is not ours; remove it", folder.display());
            }
            return Ok(());
        }
        make_folder(folder, 0o700)?;
        Account::own(self.account.as_ref(), folder)
    }
}

/// Runs a command to its end and gives what it printed.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_carries_any_socket_path() {
        let cluster = Cluster {
            folder: "/x".into(),
            socket: "/srv/a b/ü".into(),
            log: "/x/log".into(),
            account: None,
        };
        assert_eq!(
            cluster.url(),
            "postgres://writ@localhost/writ?host=%2Fsrv%2Fa%20b%2F%C3%BC"
        );
    }
}
