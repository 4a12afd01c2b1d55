//! What `/proc` says about a process and its descendants: the fallback where there is no cgroup, and the last look for leftovers.

use std::collections::BTreeSet;

use rustix::process::{Pid, Signal};

/// Processor time, microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
}

impl CpuTime {
    pub(crate) const fn total_us(self) -> u64 {
        self.user_us.saturating_add(self.system_us)
    }

    /// The larger of two readings of the same thing.
    pub(crate) const fn max(self, other: Self) -> Self {
        if self.total_us() >= other.total_us() {
            self
        } else {
            other
        }
    }
}

/// Most descendants looked at in one pass to end them.
const KILLED_MAX: usize = 65_536;
/// Most descendants looked at to count what they use: in a flood of processes the look must not hold up the end.
const SAMPLED_MAX: usize = 512;

/// The process ids below `root`, which is not among them; the search ends when it has `most`.
pub(crate) fn descendants(root: i32, most: usize) -> Vec<i32> {
    let mut found = children(root);
    let mut at = 0;
    while let Some(&pid) = found.get(at).filter(|_| found.len() < most) {
        found.extend(children(pid));
        at += 1;
    }
    found
}

fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Kills every descendant of `root` that is seen now, and every process group that one of them is in: a group is killed at once, with
/// those that are just being forked. `root` leads a session of its own, so none of these groups is anybody else's.
pub(crate) fn kill_descendants(root: i32) {
    let mut groups = BTreeSet::from([root]);
    for pid in descendants(root, KILLED_MAX) {
        if let Some(group) = process_group(pid)
            && groups.insert(group)
            && let Some(group) = Pid::from_raw(group)
        {
            // One that is gone already is what we want.
            let _gone = rustix::process::kill_process_group(group, Signal::KILL);
        }
        if let Some(pid) = Pid::from_raw(pid) {
            let _gone = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// The group of a process. One that is just going has none and shows -1, which must never be taken for a number.
fn process_group(pid: i32) -> Option<i32> {
    let group = stat_after_name(pid)?
        .split_ascii_whitespace()
        .nth(2)?
        .parse()
        .ok()?;
    (group > 1).then_some(group)
}

/// Processor time of the descendants of `root`, and of what they and `root` have reaped; as fine as the kernel's tick.
pub(crate) fn descendants_cpu(root: i32) -> CpuTime {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let micros = |ticks: u64| ticks.saturating_mul(1_000_000) / per_second;
    let mut sum = CpuTime::default();
    // Parents before children: who is reaped in between is missed this time, and never counted twice.
    let reaped = stat_after_name(root).map(|stat| {
        let mut fields = stat.split_ascii_whitespace().skip(13);
        let mut next = || micros(fields.next().and_then(|field| field.parse().ok()).unwrap_or(0));
        (next(), next())
    });
    (sum.user_us, sum.system_us) = reaped.unwrap_or_default();
    for stat in descendants(root, SAMPLED_MAX)
        .into_iter()
        .filter_map(stat_after_name)
    {
        // User, system, and the same of reaped children: the 14th to 17th field.
        let mut fields = stat
            .split_ascii_whitespace()
            .skip(11)
            .map(|field| field.parse::<u64>().unwrap_or(0));
        let mut next = || micros(fields.next().unwrap_or(0));
        let (user, system, reaped_user, reaped_system) = (next(), next(), next(), next());
        sum.user_us = sum.user_us.saturating_add(user).saturating_add(reaped_user);
        sum.system_us = sum.system_us.saturating_add(system).saturating_add(reaped_system);
    }
    sum
}

/// What descendants hold, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Largest memory that one of them ever held.
    pub(crate) peak_bytes: u64,
    /// Memory of their own that all of them hold now. What they share since a fork counts in each, what they map from files in none.
    pub(crate) own_bytes: u64,
}

/// Memory of the descendants of `root`.
pub(crate) fn descendants_memory(root: i32) -> Memory {
    let mut memory = Memory::default();
    for pid in descendants(root, SAMPLED_MAX) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kibibytes.saturating_mul(1_024))
        };
        let of = |name: &str| field(name).unwrap_or(0);
        memory.peak_bytes = memory.peak_bytes.max(of("VmHWM:"));
        let own = of("RssAnon:").saturating_add(of("RssShmem:"));
        memory.own_bytes = memory.own_bytes.saturating_add(own);
    }
    memory
}

/// Bytes that `root`, its descendants and what they have reaped wrote to storage.
pub(crate) fn written(root: i32) -> u64 {
    let of = |pid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:"))?;
        line.trim().parse::<u64>().ok()
    };
    let own = of(root).unwrap_or(0);
    let below = descendants(root, SAMPLED_MAX).into_iter().filter_map(of);
    below.fold(own, u64::saturating_add)
}

/// The parent of a process.
pub(crate) fn parent(pid: i32) -> Option<i32> {
    stat_after_name(pid)?
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Whether a process waits for something, and nobody has stopped it or ended it.
pub(crate) fn is_sleeping(pid: i32) -> bool {
    stat_after_name(pid).is_some_and(|stat| stat.trim_start().starts_with('S'))
}

/// The fields of `/proc/PID/stat` after the name, which may itself hold spaces and brackets; the first is the state.
fn stat_after_name(pid: i32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')').map(|(_, rest)| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn grandchildren_are_seen_and_their_parents_known() {
        let me = i32::try_from(std::process::id()).expect("fits");
        // A group of its own, as the reaper has: whoever shares one with a descendant is killed with it.
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 1000 & wait"])
            .process_group(0)
            .spawn()
            .expect("starts");
        let shell_pid = i32::try_from(shell.id()).expect("fits");
        let sleeper = std::iter::repeat_with(|| descendants(shell_pid, 9))
            .find_map(|found| found.first().copied())
            .expect("seen");
        assert!(descendants(me, 999).contains(&shell_pid) && descendants(me, 999).contains(&sleeper));
        assert_eq!(parent(sleeper), Some(shell_pid));
        kill_descendants(shell_pid);
        shell.wait().expect("ends by itself once its child is killed");
        assert!(descendants(shell_pid, 9).is_empty());
    }
}
