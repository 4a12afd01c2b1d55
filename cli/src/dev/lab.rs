//! Lab hosts: one machine made into several. Each is a mount and uts namespace whose root is an overlay over the machine's own root, kept
//! by a holder process, so that what runs on it can be killed and started again while the host stays.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use writ_protocol::digest::Digest;

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

impl LabSpec {
    /// The same for a lab host of the same place, and another one for every other.
    fn machine_id(&self) -> String {
        let mut id = Digest::of(self.scratch.as_os_str().as_encoded_bytes()).to_hex();
        id.truncate(32);
        id
    }
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
        command.args([
            "--mount",
            "--uts",
            "--propagation",
            "private",
            "sh",
            "-c",
            SCRIPT,
            "lab-host",
        ]);
        command.arg(&spec.name).arg(spec.machine_id()).arg(&spec.scratch);
        for bind in &spec.binds {
            command.arg(&bind.source).arg(&bind.target);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(process::open_log(&spec.log)?);
        command.current_dir("/").process_group(0);
        process::without_our_variables(&mut command);
        let mut child = command.spawn().context("starting `unshare` of util-linux")?;
        let holder = ProcessRef::of(child.id()).context("the lab host ended at once")?;
        let out = child.stdout.take().context("the lab host has no output")?;
        if !says_ready(out) {
            holder.end(Signal::KILL, READY_PATIENCE);
            bail!(
                "the lab host {} did not come up: {}",
                spec.name,
                tail(&spec.log, 4)
            );
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
        // nsenter opens the working folder before it goes in, so `/` would be the machine's.
        let (target, folder) = (
            self.holder.pid.to_string(),
            format!("--wd={}", self.root().display()),
        );
        command.args(["--target", &target, "--mount", "--uts", "--root", &folder, "--"]);
        command.arg(program.as_ref());
        command
    }

    /// Takes it down with everything that runs on it; its mounts go with the last process.
    pub fn end(&self) -> bool {
        let others = process::beside(self.holder);
        let ended = self.holder.end(Signal::KILL, READY_PATIENCE);
        let left = others
            .iter()
            .filter(|other| !other.end(Signal::KILL, READY_PATIENCE))
            .count();
        ended && left == 0
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
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: 0,
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(folder: &Path, name: &str) -> LabHost {
        let state = folder.join(format!("{name}-state"));
        make_folder(&state, 0o700).unwrap();
        LabHost::start(&LabSpec {
            name: name.to_owned(),
            scratch: folder.join(name),
            binds: vec![Bind {
                source: state,
                target: "/var/lib/lab-test".into(),
            }],
            log: folder.join("log"),
        })
        .unwrap()
    }

    fn sh(host: LabHost, script: &str) -> String {
        let output = host.command("/bin/sh").args(["-c", script]).output().unwrap();
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn two_lab_hosts_are_whole_systems_that_leave_no_trace() {
        if let Err(reason) = available() {
            eprintln!("not shown here: {reason}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (lab(folder.path(), "lab-a"), lab(folder.path(), "lab-b"));
        assert_eq!(sh(one, "hostname; cat /etc/hostname; pwd"), "lab-a\nlab-a\n/\n");
        sh(
            one,
            "echo here > /etc/lab-only; rm -rf /usr/share/doc; : > /var/lib/lab-test/kept; ls /proc/self > /dev/null",
        );
        assert_eq!(
            sh(two, "hostname; cat /etc/lab-only 2>/dev/null || echo none"),
            "lab-b\nnone\n"
        );
        assert!(!Path::new("/etc/lab-only").exists(), "the machine is untouched");
        assert!(
            one.root().join("etc/lab-only").exists(),
            "the machine can look in"
        );
        assert!(
            folder.path().join("lab-a-state/kept").exists(),
            "what is bound is kept"
        );

        let sleeper =
            process::start(one.command("/bin/sleep").arg("600"), &folder.path().join("log")).unwrap();
        assert!(sleeper.end(Signal::KILL, READY_PATIENCE));
        let log = folder.path().join("log");
        let forgotten = process::start(one.command("/bin/sleep").arg("601"), &log).unwrap();
        // It is on its way there for a moment, and on a busy machine for longer than what comes next takes.
        let deadline = crate::clock::Deadline::after(READY_PATIENCE);
        while !process::beside(one.holder()).contains(&forgotten) {
            assert!(!deadline.is_over(), "it never came to its host");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(
            sh(one, "cat /etc/lab-only"),
            "here\n",
            "the host survives what runs on it"
        );

        assert!(one.end() && two.end());
        assert!(!forgotten.is_alive(), "what runs on a lab host goes with it");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(
            !mounts.contains(&folder.path().display().to_string()),
            "no mount is left"
        );
        assert_eq!(std::fs::read_dir(folder.path().join("lab-a")).unwrap().count(), 0);
    }

    #[test]
    fn a_lab_host_that_cannot_come_up_says_why() {
        if available().is_err() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let missing = Bind {
            source: "/nonexistent".into(),
            target: "/x/y".into(),
        };
        let spec = LabSpec {
            name: "lab-c".into(),
            scratch: folder.path().join("c"),
            binds: vec![missing],
            log: folder.path().join("log"),
        };
        let error = LabHost::start(&spec).unwrap_err().to_string();
        assert!(
            error.contains("lab-c") && error.contains("nonexistent"),
            "{error}"
        );
    }
}
