//! How a step may run and what running it cost: limits asked for, limits the kernel confirmed, isolation, usage.

mod measured;
mod mode;

use serde::{Deserialize, Serialize};

pub use measured::{Measured, Source, Sources, byte_seconds};
pub use mode::{DEV_FAST_LABEL, RunMode, is_labelled};

/// Upper bounds on one step. Every field has a value: a limit nobody chose is the default here, never "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Processor time of the whole tree, milliseconds; each process also gets it as `RLIMIT_CPU`, rounded up to seconds.
    pub cpu_ms: u64,
    /// Address space of a process (`RLIMIT_AS`) and memory of the tree where a memory cgroup is to be had, bytes.
    pub memory_bytes: u64,
    /// Time from start to end, milliseconds.
    pub wall_ms: u64,
    /// Processes and threads of the tree.
    pub processes: u64,
    /// Open descriptors of a process (`RLIMIT_NOFILE`).
    pub open_files: u64,
    /// Largest file a process may write (`RLIMIT_FSIZE`), bytes.
    pub file_bytes: u64,
    /// Bytes of output kept; the rest is counted and dropped without blocking the writer.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu_ms: 60_000,
            memory_bytes: 1 << 30,
            wall_ms: 300_000,
            processes: 256,
            open_files: 1_024,
            file_bytes: 1 << 30,
            output_bytes: 64 << 10,
        }
    }
}

/// How far a step is kept from the host. Ordered: a later one is stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Limits, clean environment and descriptors, own session; the host's namespaces.
    None,
    /// Own mount, pid, ipc and uts namespaces, and a network namespace unless the step names destinations.
    Namespaces,
    /// The namespaces, a new root, ids that are not root's, no capabilities, a system call filter, and Landlock where the kernel has it.
    Strict,
}

/// What happens to a step whose end is not known after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepMode {
    /// May run again without asking.
    Idempotent,
    /// Is checked before and after; runs again only where the check says so.
    #[default]
    Checked,
    /// Never starts twice: after a crash it is `indeterminate` and waits for a person.
    Once,
}

/// One limit as the kernel reports it after it was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EffectiveLimit {
    /// Which: of each process `cpu` (s), `as`, `fsize` (bytes), `nofile`, `core`; of the user `nproc`; of the whole tree `cpu.tree` (ms), `wall` (ms),
    /// `output` (bytes), `cgroup.memory` (bytes), `cgroup.pids`; of a `strict` step `uid` (the id it runs as), `capabilities` (0: none is left), `no-new-privs`
    /// (1), `seccomp` (2: a filter) and `landlock` (the version of the interface in force, 0 where the kernel has none).
    pub name: String,
    /// The value asked for.
    pub requested: u64,
    /// The value read back; for `wall` and `output`, which the agent enforces itself, the value in force.
    pub effective: u64,
    /// Who enforces it: `rlimit`, `cgroup`, `agent`, or the `kernel` for what makes a step strict.
    pub by: String,
}

/// Where the figures of a [`Usage`] come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meter {
    /// A cgroup v2 directory of the step's own: nothing escapes it.
    Cgroup2,
    /// `wait4` of the tree's first process: misses what daemonised, so a lower bound.
    Rusage,
    /// No process ran: the agent did the work itself and measured its own thread.
    Agent,
}

/// What a step used, measured from the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Usage {
    /// Processor time in user mode, microseconds.
    pub cpu_user_us: u64,
    /// Processor time in the kernel, microseconds.
    pub cpu_system_us: u64,
    /// From start to end, microseconds.
    pub wall_us: u64,
    /// Largest resident memory, bytes.
    pub peak_memory_bytes: u64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage.
    pub written_bytes: u64,
    /// Bytes of output produced, kept or not.
    pub output_bytes: u64,
    /// Where the processor time comes from.
    pub meter: Meter,
    /// Whether the figures may miss part of the tree.
    pub lower_bound: bool,
    /// What more is known, and where each figure comes from. Agents did not always write it; then it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

impl Usage {
    /// Nothing used.
    pub const fn none(meter: Meter) -> Self {
        Self {
            cpu_user_us: 0,
            cpu_system_us: 0,
            wall_us: 0,
            peak_memory_bytes: 0,
            read_bytes: 0,
            written_bytes: 0,
            output_bytes: 0,
            meter,
            lower_bound: false,
            measured: None,
        }
    }

    /// Adds what another process used; the peak is the larger one, and of the sources the later one's is named.
    pub fn add(&mut self, other: &Self) {
        let held = self.held().saturating_add(other.held());
        self.measured = self.joined(other, held, u64::saturating_add);
        self.cpu_user_us = self.cpu_user_us.saturating_add(other.cpu_user_us);
        self.cpu_system_us = self.cpu_system_us.saturating_add(other.cpu_system_us);
        self.wall_us = self.wall_us.saturating_add(other.wall_us);
        self.peak_memory_bytes = self.peak_memory_bytes.max(other.peak_memory_bytes);
        self.read_bytes = self.read_bytes.saturating_add(other.read_bytes);
        self.written_bytes = self.written_bytes.saturating_add(other.written_bytes);
        self.output_bytes = self.output_bytes.saturating_add(other.output_bytes);
        self.meter = other.meter;
        self.lower_bound |= other.lower_bound;
    }

    /// Raises every figure to at least another reading of the same work.
    pub fn at_least(&mut self, other: &Self) {
        self.measured = self.joined(other, self.held().max(other.held()), u64::max);
        if other.cpu_us() > self.cpu_us() {
            (self.cpu_user_us, self.cpu_system_us) = (other.cpu_user_us, other.cpu_system_us);
            self.meter = other.meter;
        }
        self.wall_us = self.wall_us.max(other.wall_us);
        self.peak_memory_bytes = self.peak_memory_bytes.max(other.peak_memory_bytes);
        self.read_bytes = self.read_bytes.max(other.read_bytes);
        self.written_bytes = self.written_bytes.max(other.written_bytes);
        self.output_bytes = self.output_bytes.max(other.output_bytes);
        self.lower_bound |= other.lower_bound;
    }

    /// Processor time in all, microseconds.
    pub const fn cpu_us(&self) -> u64 {
        self.cpu_user_us.saturating_add(self.cpu_system_us)
    }
}

/// How a process tree ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Exit {
    /// It exited by itself.
    Code(i32),
    /// A signal ended it that we did not send.
    Signal(i32),
    /// We ended it at a limit, or the kernel did: `wall`, `cpu`, `memory`, `processes`, `file`.
    Limit(String),
    /// We ended it because of a halt, a cancellation or our own stop.
    Killed(String),
}

/// How surely the whole tree is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillConfidence {
    /// `cgroup.kill` and an empty `cgroup.events`, or the death of the pid namespace's init.
    Certain,
    /// Only process groups and sessions could be signalled.
    BestEffort,
}
