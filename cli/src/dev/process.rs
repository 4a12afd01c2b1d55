//! Processes that outlive us: started in a group of their own, recognised by pid *and* start time, ended with everything they started.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use serde::{Deserialize, Serialize};

use crate::clock::Deadline;

/// How long a process gets to end by itself before it is killed.
pub const END_PATIENCE: Duration = Duration::from_secs(10);
/// How long the kernel gets to take a killed process away.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A process by its pid and the kernel tick at which it started, so that a number used again is not mistaken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessRef {
    /// Its pid, which is also its process group.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub started: u64,
}

impl ProcessRef {
    /// The process that has this pid now.
    pub fn of(pid: u32) -> Option<Self> {
        let (_, started) = stat(pid)?;
        Some(Self { pid, started })
    }

    /// Whether it still runs; one that has ended and was not yet fetched does not.
    pub fn is_alive(&self) -> bool {
        self.reap();
        matches!(stat(self.pid), Some((state, started)) if started == self.started && !has_ended(state, threads(self.pid)))
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        if let (true, Some(pid)) = (self.is_alive(), self.rustix()) {
            // It may end in between, which is what signals are mostly for.
            rustix::process::kill_process(pid, signal).ok();
        }
    }

    /// Sends a signal to its whole group.
    pub fn signal_group(&self, signal: Signal) {
        if let (true, Some(pid)) = (self.is_alive(), self.rustix()) {
            rustix::process::kill_process_group(pid, signal).ok();
        }
    }

    /// Waits until it has ended, at most `patience`; whether it has.
    pub fn wait(&self, patience: Duration) -> bool {
        let deadline = Deadline::after(patience);
        let Some(pid) = self.rustix() else { return true };
        while self.is_alive() {
            let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
                break;
            };
            let left = deadline.left();
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut handles = [PollFd::new(&handle, PollFlags::IN)];
            poll(&mut handles, Some(&timeout)).ok();
            if deadline.is_over() {
                break;
            }
        }
        !self.is_alive()
    }

    /// Ends it: `polite` first, then SIGKILL to the whole group. Whether it is gone.
    pub fn end(&self, polite: Signal, patience: Duration) -> bool {
        if self.is_alive() {
            self.signal(polite);
            if !self.wait(patience) {
                self.signal_group(Signal::KILL);
                self.wait(KILL_PATIENCE);
            }
        }
        // What it started in its group goes with it, even when it went first.
        if let Some(pid) = self.rustix().filter(|_| stat(self.pid).is_none()) {
            rustix::process::kill_process_group(pid, Signal::KILL).ok();
        }
        !self.is_alive()
    }

    /// Takes the exit status when it is our child, so that no zombie is left.
    fn reap(&self) {
        if let Some(pid) = self.rustix() {
            rustix::process::waitpid(Some(pid), WaitOptions::NOHANG).ok();
        }
    }

    fn rustix(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }
}

/// Processes whose working folder is this one.
pub fn working_in(folder: &Path) -> Vec<ProcessRef> {
    with_link("cwd", folder)
}

/// The other processes in the mount namespace of a process; none when that is the machine's own.
pub fn beside(process: ProcessRef) -> Vec<ProcessRef> {
    let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    match link(&process.pid.to_string()) {
        Some(space) if process.is_alive() && link("self").is_some_and(|ours| ours != space) => {
            let mut all = with_link("ns/mnt", &space);
            all.retain(|other| *other != process);
            all
        }
        _ => Vec::new(),
    }
}

/// Processes that run and whose link of this name in `/proc/PID` points there.
fn with_link(name: &str, target: &Path) -> Vec<ProcessRef> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/{name}")).is_ok_and(|found| found == target))
        .filter_map(ProcessRef::of)
        .filter(ProcessRef::is_alive)
        .collect()
}

/// State letter and start time of a process.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows the last one is fixed.
    let rest = text.rsplit_once(") ")?.1;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// How many threads of a process are not gone yet.
fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// Whether a process in this state has ended. One whose first thread has gone keeps its files, and the port that it listens on, until the last has:
/// a killed server of ten thousand connections takes a second or more.
const fn has_ended(state: char, threads: usize) -> bool {
    matches!(state, 'X') || (matches!(state, 'Z') && threads <= 1)
}

/// Starts a command that goes on without us: own process group, no terminal, output appended to `log`, our own variables taken out.
///
/// # Errors
/// When the log cannot be opened or the program does not start.
pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<ProcessRef> {
    let out = open_log(log)?;
    let err = out.try_clone().context("sharing the log")?;
    command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0);
    without_our_variables(command);
    let child = command
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    let pid = child.id();
    ProcessRef::of(pid).with_context(|| {
        format!(
            "{} ended at once; see {}",
            command.get_program().display(),
            log.display()
        )
    })
}

/// Our variables (`WRIT_…`) configure us; a controller or agent would take them for its own configuration.
pub fn without_our_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"WRIT_")) {
        command.env_remove(name);
    }
}

/// Opens a log for appending.
///
/// # Errors
/// When it cannot be opened.
pub fn open_log(log: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    file.with_context(|| format!("opening {}", log.display()))
}

/// The last lines of a log, for an error message.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> ProcessRef {
        start(Command::new("sleep").arg("600"), &folder.join("log")).unwrap()
    }

    #[test]
    fn a_process_is_known_by_pid_and_start_time() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        assert!(process.is_alive());
        let another_with_its_number = ProcessRef {
            pid: process.pid,
            started: process.started + 1,
        };
        assert!(
            !another_with_its_number.is_alive(),
            "a stale pid file is recognised"
        );
        another_with_its_number.signal(Signal::KILL);
        assert!(process.is_alive(), "a stranger is never signalled");
        assert!(process.end(Signal::TERM, END_PATIENCE));
        assert!(!process.is_alive());
        assert!(ProcessRef::of(process.pid).is_none(), "no zombie is left");
    }

    #[test]
    fn ending_takes_the_group_along() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; sleep 601 & echo $!; wait; wait";
        let process = start(
            Command::new("sh").args(["-c", script]),
            &folder.path().join("log"),
        )
        .unwrap();
        let deadline = Deadline::after(Duration::from_secs(10));
        let child = loop {
            let text = tail(&folder.path().join("log"), 1);
            if let Some(child) = text.trim().parse().ok().and_then(ProcessRef::of) {
                break child;
            }
            assert!(!deadline.is_over());
            std::thread::yield_now();
        };
        assert!(
            process.end(Signal::TERM, Duration::from_millis(200)),
            "SIGTERM is ignored, SIGKILL is not"
        );
        assert!(child.wait(Duration::from_secs(5)));
    }

    #[test]
    fn a_process_has_ended_when_its_last_thread_has() {
        assert!(has_ended('Z', 1) && has_ended('Z', 0) && has_ended('X', 0));
        assert!(
            !has_ended('Z', 2),
            "its other threads still hold its files and its port"
        );
        assert!(!has_ended('S', 1));
    }

    #[test]
    fn the_tail_of_a_missing_log_is_empty() {
        assert_eq!(tail(Path::new("/nonexistent/log"), 3), "");
    }
}
