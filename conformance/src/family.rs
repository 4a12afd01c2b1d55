//! The processes of a provider that is killed. A tool that it started may stay a zombie until init comes by, in a container for ever; what the tool had
//! locked by its process id counts as locked as long. So the suite takes in what a provider leaves, and a new life begins when the old one is gone.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

/// Looks for processes that were begun while others were stopped.
const ROUNDS_MAX: usize = 16;
/// Between two looks whether they are gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Most looks: half a minute.
const LOOKS_MAX: usize = 1_500;

/// Processes by their ids, each with the moment of its start, since ids come again.
#[derive(Debug, Default)]
pub(crate) struct Family {
    /// The provider itself, for whom somebody waits already.
    root: Option<Pid>,
    all: BTreeMap<i32, u64>,
}

impl Family {
    /// Stops a process and everything that it started, so that nothing begins any more, and says who that is.
    pub(crate) fn frozen(root: Pid) -> Self {
        adopt();
        let mut family = BTreeMap::new();
        for _ in 0..ROUNDS_MAX {
            let all = processes();
            let is_new = |pid: &i32, parent: i32, known: &BTreeMap<i32, u64>| {
                !known.contains_key(pid)
                    && (*pid == root.as_raw_nonzero().get() || known.contains_key(&parent))
            };
            let found: Vec<(i32, u64)> = all
                .iter()
                .filter(|(pid, (parent, _))| is_new(pid, *parent, &family))
                .map(|(pid, (_, begun))| (*pid, *begun))
                .collect();
            if found.is_empty() {
                break;
            }
            for (pid, begun) in found {
                if let Some(pid) = Pid::from_raw(pid) {
                    // It may have ended by itself.
                    let _gone = kill_process(pid, Signal::STOP);
                }
                family.insert(pid, begun);
            }
        }
        Self {
            root: Some(root),
            all: family,
        }
    }

    /// Kills all of them, also those that are in process groups of their own.
    pub(crate) fn kill(&self) {
        for pid in self.all.keys().filter_map(|pid| Pid::from_raw(*pid)) {
            let _gone = kill_process(pid, Signal::KILL);
        }
    }

    /// Lets those that were not killed end as they do when they are left alone, and waits until none is there.
    pub(crate) fn gone(&self) -> Result<(), String> {
        let pids = || self.all.keys().filter_map(|pid| Pid::from_raw(*pid));
        for pid in pids() {
            let _gone = kill_process(pid, Signal::CONT);
        }
        for _ in 0..LOOKS_MAX {
            for pid in pids().filter(|pid| Some(*pid) != self.root) {
                // Not ours, or not dead yet.
                let _not_yet = waitpid(Some(pid), WaitOptions::NOHANG);
            }
            let all = processes();
            let is_there =
                |(pid, begun): (&i32, &u64)| all.get(pid).is_some_and(|(_, present)| present == begun);
            if !self.all.iter().any(is_there) {
                return Ok(());
            }
            thread::sleep(LOOK_EVERY);
        }
        Err("it was killed, and some of what it started is there still".to_owned())
    }
}

/// Orphans of what this process starts come to it from now on; where that is refused, init takes them in.
pub(crate) fn adopt() {
    let _refused = set_child_subreaper(Some(getpid()));
}

/// Waits for what ended of those that came to us out of another process namespace: it cannot end as long as one of them is a zombie. Nobody else
/// here waits for them, for all that this process starts is in its own.
pub(crate) fn bury_strangers() {
    let own = getpid();
    let strangers = processes()
        .into_iter()
        .filter(|(_, (parent, _))| *parent == own.as_raw_nonzero().get())
        .filter_map(|(pid, _)| Pid::from_raw(pid))
        .filter(|pid| depth(*pid) > depth(own));
    for pid in strangers {
        let _not_yet = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// In how many process namespaces it has a number, seen from here (proc(5), `status`, `NSpid`).
fn depth(pid: Pid) -> usize {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.unwrap_or_default().split_whitespace().count()
}

/// A process that another one started and that is there.
pub(crate) fn child_of(parent: u32) -> Option<u32> {
    let parent = i32::try_from(parent).ok()?;
    let is_child = |(pid, (of, _)): (i32, (i32, u64))| (of == parent).then_some(pid);
    processes()
        .into_iter()
        .find_map(is_child)
        .and_then(|pid| u32::try_from(pid).ok())
}

/// All processes: each one's parent and the moment of its start, in ticks since the machine's (proc(5), `stat`, fields 4 and 22).
fn processes() -> BTreeMap<i32, (i32, u64)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name stands in parentheses and may hold anything; what is told begins after the last one.
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let parent = fields.nth(1)?.parse().ok()?;
            let begun = fields.nth(17)?.parse().ok()?;
            Some((pid, (parent, begun)))
        })
        .collect()
}
