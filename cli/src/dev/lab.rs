//! Lab hosts: one machine made into several. Each is a mount and uts namespace whose root is an overlay over the machine's own root, kept
//! by a holder process, so that what runs on it can be killed and started again while the host stays.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::layout::make_folder;
use super::process::{self, ProcessRef, tail};

/// The script that the holder runs.
const SCRIPT: &str = include_str!("lab.sh");
/// How long a lab host gets to come up.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// The word that it says when it is up.
const READY: &[u8] = b"ready\n";

/// A path of the machine that a lab host sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it is on the machine; a folder or a file.
    pub source: PathBuf,
    /// Where it is on the lab host; absolute.
    pub target: PathBuf,
}

/// What a lab host is to be.
#[derive(Clone, Debug)]
pub struct LabSpec {
    /// Its hostname.
    pub name: String,
    /// A folder of the machine for mounting; stays empty as the machine sees it.
    pub scratch: PathBuf,
    /// What of the machine it shares.
    pub binds: Vec<Bind>,
    /// Where the holder's complaints go.
    pub log: PathBuf,
}

/// A lab host that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabHost {
    holder: ProcessRef,
}

impl LabHost {
    /// Brings a lab host up.
    ///
    /// # Errors
    /// When the namespaces or mounts cannot be had; the holder's words are in the error.
    pub fn start(spec: &LabSpec) -> anyhow::Result<Self> {
        make_folder(&spec.scratch, 0o700)?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--uts", "--propagation", "private", "sh", "-c", SCRIPT, "lab-host"]);
        command.arg(&spec.name).arg(&spec.scratch);
        for bind in &spec.binds {
            command.arg(&bind.source).arg(&bind.target);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(process::open_log(&spec.log)?);
        command.current_dir("/").process_group(0);
        process::without_our_variables(&mut command);
        let mut child = command.spawn().context("starting `unshare` of util-linux")?;
        let holder = ProcessRef::of(child.id()).context("the lab host ended at once")?;
        let out = child.stdout.take().context("the lab host has no output")?;
        if !says_ready(out) {
            holder.end(Signal::KILL, READY_PATIENCE);
            bail!("the lab host {} did not come up: {}", spec.name, tail(&spec.log, 4));
        }
        Ok(Self { holder })
    }

    /// The lab host that a process holds.
    pub const fn held_by(holder: ProcessRef) -> Self {
        Self { holder }
    }

    /// Its holder.
    pub const fn holder(&self) -> ProcessRef {
        self.holder
    }

    /// Its root, as seen from the machine.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.holder.pid))
    }

    /// A command that runs on it, in its root folder. The process keeps the pid that starting it gives.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.pid.to_string(), "--mount", "--uts", "--root", "--wd=/", "--"]);
        command.arg(program.as_ref());
        command
    }

    /// Takes it down; its mounts go with the last process in it.
    pub fn end(&self) -> bool {
        self.holder.end(Signal::KILL, READY_PATIENCE)
    }
}

/// Whether lab hosts can be had here: why not, for people.
///
/// # Errors
/// The reason.
pub fn available() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("lab hosts need Linux".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Err("lab hosts need root".to_owned());
    }
    let try_one = Command::new("unshare")
        .args(["--mount", "--uts", "--propagation", "private", "true"])
        .stdin(Stdio::null())
        .output();
    match try_one {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "this machine gives no namespaces ({})",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Err(format!("`unshare` of util-linux cannot be started ({error})")),
    }
}

/// Reads until the ready word, the end of the output, or the end of patience.
fn says_ready(mut out: impl std::io::Read + std::os::fd::AsFd) -> bool {
    let deadline = crate::clock::Deadline::after(READY_PATIENCE);
    let mut said = Vec::new();
    while said.len() < READY.len() && !deadline.is_over() {
        let left = deadline.left();
        let timeout = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
        let mut handles = [PollFd::new(&out, PollFlags::IN)];
        if !matches!(poll(&mut handles, Some(&timeout)), Ok(1..)) {
            continue;
        }
        let mut byte = [0_u8; 1];
        match out.read(&mut byte) {
            Ok(1..) => said.extend_from_slice(&byte),
            Ok(0) | Err(_) => break,
        }
    }
    said == READY
}
