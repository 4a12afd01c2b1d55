//! The step's own cgroup (version 2): what it used, and its end. `cpu.stat` and `cgroup.kill` are there without any controller; memory and
//! process limits only where the host delegates them.
//!
//! Layout below the base: `writ-steps/<owner>/<n>`. The owner directory is locked for as long as the agent lives, so a later agent can tell
//! a dead one's leftovers from a living neighbour's steps, whatever process namespaces they live in.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FlockOperation;
use writ_protocol::exec::{EffectiveLimit, Limits};

use crate::clock::{boot_us, wait_for};
use crate::tree::CpuTime;

/// Longest wait for a killed cgroup to be empty.
const EMPTY_WAIT_MAX: Duration = Duration::from_secs(5);

/// Most owner directories that are made and lost to a neighbour's sweep before starting fails.
const CLAIMS_MAX: u32 = 1_000;

/// The place for this process's step cgroups.
#[derive(Debug)]
pub(crate) struct Cgroups {
    dir: PathBuf,
    delegated: Delegated,
    /// Holds the lock.
    _lock: File,
    next: AtomicU64,
}

/// Controllers that the host delegates. What none counts has no file, and is not looked for at every step.
#[derive(Clone, Copy, Debug)]
struct Delegated {
    memory: bool,
    pids: bool,
    io: bool,
}

impl Delegated {
    /// To the cgroups below this one.
    fn below(dir: &Path) -> Self {
        let text = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
        let has = |name| text.split_ascii_whitespace().any(|one| one == name);
        Self {
            memory: has("memory"),
            pids: has("pids"),
            io: has("io"),
        }
    }
}

/// One step's cgroup; removed when dropped.
#[derive(Debug)]
pub(crate) struct StepCgroup {
    dir: PathBuf,
    delegated: Delegated,
    /// Processes of ours that live in it beside the step's.
    own: u64,
    /// Limits that the kernel confirmed.
    pub(crate) effective: Vec<EffectiveLimit>,
}

/// Which figures a cgroup has, and one of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Memory now and at its peak.
    pub(crate) memory: bool,
    /// Bytes to and from storage.
    pub(crate) storage: bool,
    /// Most processes and threads of the step at once; 0 where nobody counts them.
    pub(crate) processes_peak: u64,
}

/// Where this process may make cgroups: its own one in the version 2 hierarchy.
pub(crate) fn discover() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    place(&mounts, &own)
}

fn place(mounts: &str, own: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        right.starts_with("cgroup2 ").then_some(())?;
        let mut fields = left.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A mount may show only a part of the hierarchy; paths are relative to that part.
        let below = Path::new(own).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below))
    })
}

impl Cgroups {
    /// Makes this process's place below `base`, and ends what dead owners left there.
    pub(crate) fn open(base: &Path) -> io::Result<Self> {
        let all = base.join("writ-steps");
        make(&all)?;
        // Controllers are welcome and not needed: a base with processes of its own may refuse them.
        for dir in [base, &all] {
            for controller in ["+memory", "+pids", "+io"] {
                let _unsupported = fs::write(dir.join("cgroup.subtree_control"), controller);
            }
        }
        let (dir, lock) = claim(&all)?;
        for controller in ["+memory", "+pids", "+io"] {
            let _unsupported = fs::write(dir.join("cgroup.subtree_control"), controller);
        }
        sweep(&all);
        Ok(Self {
            delegated: Delegated::below(&dir),
            dir,
            _lock: lock,
            next: AtomicU64::new(0),
        })
    }

    /// A cgroup for one step, without limits; `own` processes of ours will live in it beside the step's.
    pub(crate) fn step(&self, own: u64) -> io::Result<StepCgroup> {
        let dir = self
            .dir
            .join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&dir)?;
        Ok(StepCgroup {
            dir,
            delegated: self.delegated,
            own,
            effective: Vec::new(),
        })
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        // Left for the next agent's sweep if a step is still being removed.
        let _left = fs::remove_dir(&self.dir);
    }
}

impl StepCgroup {
    /// Sets the limits that can be set here, and reads them back.
    pub(crate) fn limit(&mut self, limits: &Limits) -> io::Result<()> {
        let processes = limits.processes.saturating_add(self.own);
        let Delegated { memory, pids, .. } = self.delegated;
        let files = [
            (memory, "cgroup.memory", "memory.max", limits.memory_bytes),
            (pids, "cgroup.pids", "pids.max", processes),
        ];
        for (_, name, file, wanted) in files.into_iter().filter(|(is_there, ..)| *is_there) {
            let path = self.dir.join(file);
            fs::write(&path, wanted.to_string())?;
            let read = fs::read_to_string(&path)?;
            // The kernel rounds memory down to pages; "max" is what it makes of numbers beyond its range.
            let effective = read.trim().parse().unwrap_or(u64::MAX);
            if effective > wanted {
                return Err(io::Error::other(format!(
                    "{file} of {wanted} reads back as {}",
                    read.trim()
                )));
            }
            self.effective.push(EffectiveLimit {
                name: name.to_owned(),
                requested: wanted,
                effective,
                by: "cgroup".to_owned(),
            });
        }
        Ok(())
    }

    pub(crate) fn procs(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    pub(crate) fn kill(&self) {
        kill(&self.dir);
    }

    /// Kills what is left and waits until it is gone; whether it is.
    pub(crate) fn end(&self) -> bool {
        self.kill();
        wait_until_empty(&self.dir)
    }

    pub(crate) fn cpu(&self) -> CpuTime {
        let text = fs::read_to_string(self.dir.join("cpu.stat")).unwrap_or_default();
        CpuTime {
            user_us: field(&text, "user_usec "),
            system_us: field(&text, "system_usec "),
        }
    }

    /// Processes and threads at the moment.
    pub(crate) fn tasks(&self) -> u64 {
        fs::read_to_string(self.dir.join("cgroup.threads")).map_or(0, |text| text.lines().count() as u64)
    }

    /// Memory now and at its largest, where the host counts it.
    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        if !self.delegated.memory {
            return None;
        }
        Some((self.number("memory.current")?, self.number("memory.peak")?))
    }

    /// What the host counts in this cgroup beside processor time.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            memory: self.memory().is_some(),
            storage: self.storage().is_some(),
            processes_peak: self.most_tasks().saturating_sub(self.own),
        }
    }

    fn most_tasks(&self) -> u64 {
        if !self.delegated.pids {
            return 0;
        }
        self.number("pids.peak").unwrap_or(0)
    }

    fn number(&self, file: &str) -> Option<u64> {
        let text = fs::read_to_string(self.dir.join(file)).ok()?;
        text.trim().parse().ok()
    }

    /// Whether the kernel killed a process of it for want of memory.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.delegated.memory
            && fs::read_to_string(self.dir.join("memory.events"))
                .is_ok_and(|text| field(&text, "oom_kill ") > 0)
    }

    /// Bytes read from and written to storage, where the host counts them.
    pub(crate) fn storage(&self) -> Option<(u64, u64)> {
        if !self.delegated.io {
            return None;
        }
        let text = fs::read_to_string(self.dir.join("io.stat")).ok()?;
        let sum = |name: &str| {
            let values = text
                .split_ascii_whitespace()
                .filter_map(|part| part.strip_prefix(name));
            values.filter_map(|value| value.parse::<u64>().ok()).sum()
        };
        Some((sum("rbytes="), sum("wbytes=")))
    }
}

impl Drop for StepCgroup {
    fn drop(&mut self) {
        if fs::remove_dir(&self.dir).is_err() && self.end() {
            let _left = fs::remove_dir(&self.dir);
        }
    }
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

fn make(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir).or_else(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            Ok(())
        } else {
            Err(error)
        }
    })
}

/// A new owner directory, and the lock on it.
///
/// Until it is locked it looks like a dead owner's, and a neighbour that starts at the same moment may sweep it away; then another is made.
/// Nobody waits for anybody here: a neighbour that is frozen in the middle of its sweep holds up no start.
fn claim(all: &Path) -> io::Result<(PathBuf, File)> {
    for _ in 0..CLAIMS_MAX {
        let dir = all.join(format!("{}-{}", std::process::id(), boot_us()));
        match fs::create_dir(&dir) {
            // Another process namespace has the same number, and the same microsecond.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        }
        let Ok(lock) = File::open(&dir) else { continue };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        // Removal needs the lock, so what is there now stays; what was removed before keeps its lock and has no name.
        let same =
            fs::metadata(&dir).is_ok_and(|now| lock.metadata().is_ok_and(|held| held.ino() == now.ino()));
        if same {
            return Ok((dir, lock));
        }
    }
    Err(io::Error::other(format!(
        "{CLAIMS_MAX} directories below {} were swept away by starting neighbours before they could be locked",
        all.display()
    )))
}

fn kill(dir: &Path) {
    // A cgroup that is gone has nobody in it.
    let _gone = fs::write(dir.join("cgroup.kill"), "1");
}

fn wait_until_empty(dir: &Path) -> bool {
    let Ok(mut events) = File::open(dir.join("cgroup.events")) else {
        return !dir.exists();
    };
    wait_for(EMPTY_WAIT_MAX, |left| {
        let mut text = String::new();
        let read = events.rewind().and_then(|()| events.read_to_string(&mut text));
        if read.is_ok() && text.lines().any(|line| line == "populated 0") {
            return true;
        }
        // The kernel signals a change of the file as exceptional data.
        let _changed = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left));
        false
    })
}

/// Ends and removes what agents that are no more left behind.
fn sweep(all: &Path) {
    let Ok(owners) = fs::read_dir(all) else { return };
    for owner in owners
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
    {
        let Ok(lock) = File::open(&owner) else { continue };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        kill(&owner);
        wait_until_empty(&owner);
        for step in fs::read_dir(&owner)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().is_dir())
        {
            let _busy = fs::remove_dir(step.path());
        }
        let _busy = fs::remove_dir(&owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of the form that the kernel gives a cgroup with every controller: what is read and written here is the same, who answers is not.
    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, StepCgroup) {
        let dir = tempfile::tempdir().expect("makes a directory");
        for (name, text) in files
            .iter()
            .chain(&[("cgroup.events", "populated 0\nfrozen 0\n")])
        {
            fs::write(dir.path().join(name), text).expect("writes");
        }
        let has = |controller| files.iter().any(|(name, _)| name.starts_with(controller));
        let cgroup = StepCgroup {
            dir: dir.path().to_path_buf(),
            delegated: Delegated {
                memory: has("memory."),
                pids: has("pids."),
                io: has("io."),
            },
            own: 1,
            effective: Vec::new(),
        };
        (dir, cgroup)
    }

    #[test]
    fn figures_of_delegated_controllers_are_read() {
        let (_dir, cgroup) = folder(&[
            ("memory.current", "4096\n"),
            ("memory.peak", "12288\n"),
            ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n"),
            ("pids.peak", "7\n"),
            (
                "io.stat",
                "8:0 rbytes=100 wbytes=20 rios=1 wios=1\n8:16 rbytes=5 wbytes=4\n",
            ),
            (
                "cpu.stat",
                "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 0\n",
            ),
            ("cgroup.threads", "11\n12\n13\n"),
        ]);
        assert_eq!(cgroup.memory(), Some((4_096, 12_288)));
        assert!(cgroup.out_of_memory());
        assert_eq!(cgroup.storage(), Some((105, 24)));
        assert_eq!((cgroup.cpu().user_us, cgroup.cpu().system_us), (20, 10));
        assert_eq!(cgroup.tasks(), 3);
        let counts = cgroup.counts();
        assert!(counts.memory && counts.storage);
        assert_eq!(counts.processes_peak, 6, "without our own");
    }

    #[test]
    fn figures_that_nobody_counts_are_none_and_not_zero() {
        let (_dir, cgroup) = folder(&[("memory.current", "4096\n"), ("memory.events", "oom_kill 0\n")]);
        assert_eq!(cgroup.memory(), None, "half of a figure is none");
        assert_eq!(cgroup.storage(), None);
        assert!(!cgroup.out_of_memory());
        let counts = cgroup.counts();
        assert!(!counts.memory && !counts.storage && counts.processes_peak == 0);
    }

    #[test]
    fn limits_of_delegated_controllers_are_written_and_read_back() {
        let limits = Limits {
            memory_bytes: 64 << 20,
            processes: 9,
            ..Limits::default()
        };
        let (dir, mut cgroup) = folder(&[("memory.max", "max\n"), ("pids.max", "max\n")]);
        cgroup.limit(&limits).expect("limits");
        let text = |name: &str| fs::read_to_string(dir.path().join(name)).expect("reads");
        assert_eq!(
            (text("memory.max"), text("pids.max")),
            ((64 << 20).to_string(), "10".to_owned())
        );
        let told: Vec<_> = cgroup
            .effective
            .iter()
            .map(|limit| {
                (
                    limit.name.as_str(),
                    limit.requested,
                    limit.effective,
                    limit.by.as_str(),
                )
            })
            .collect();
        let bytes = 64 << 20;
        assert_eq!(
            told,
            [
                ("cgroup.memory", bytes, bytes, "cgroup"),
                ("cgroup.pids", 10, 10, "cgroup")
            ]
        );

        let (_dir, mut without) = folder(&[]);
        without.limit(&limits).expect("there is nothing to limit here");
        assert!(without.effective.is_empty());
    }

    #[test]
    fn a_limit_that_cannot_be_written_or_reads_back_larger_is_an_error() {
        for device in ["/dev/null", "/dev/full"] {
            let (dir, mut cgroup) = folder(&[("memory.current", "0\n")]);
            std::os::unix::fs::symlink(device, dir.path().join("memory.max")).expect("links");
            cgroup.limit(&Limits::default()).expect_err(device);
            assert!(cgroup.effective.is_empty());
        }
    }

    #[test]
    fn the_own_cgroup_is_found_on_unified_and_hybrid_hosts() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(
            place(unified, "0::/system.slice/writ.service\n"),
            Some("/sys/fs/cgroup/system.slice/writ.service".into())
        );
        let hybrid = "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n38 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            place(hybrid, "4:memory:/x\n0::/\n"),
            Some("/sys/fs/cgroup/unified/".into())
        );
        let part = "30 23 0:26 /machine /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(place(part, "0::/machine/a\n"), Some("/sys/fs/cgroup/a".into()));
        assert_eq!(place(part, "0::/elsewhere\n"), None);
        assert_eq!(
            place(
                "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
                "4:memory:/x\n"
            ),
            None
        );
    }
}
