//! What came of a run, from what was seen: the exit, the limits in force, the usage, and how sure we are.

use writ_protocol::exec::{EffectiveLimit, Exit, Isolation, KillConfidence, Meter, Usage};
use writ_protocol::limits::OUTPUT_BYTES_MAX;

use super::{Used, Watch};
use crate::capture::Capture;
use crate::cgroup::StepCgroup;
use crate::clock::boot_us;
use crate::error::Error;
use crate::sandbox::is_exempt_from_process_limit;
use crate::spec::Outcome;
use crate::wire::Failure;

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

impl Watch<'_> {
    /// The outcome; `emptied` says whether the cgroup, where there is one, has nobody left.
    pub(super) fn verdict(&mut self, emptied: Option<bool>) -> Result<Option<Outcome>, Error> {
        if self.ran_nothing() {
            return Ok(None);
        }
        if let Some(failure) = self.seen.failure.take() {
            return Err(self.error(failure));
        }
        // Stopped before it was reached, it ran nothing.
        let reached = self.seen.isolation.unwrap_or(self.spec.isolation);
        if reached < self.spec.isolation {
            let detail = format!("the shim reached only {reached:?}; is it of this version?");
            return Err(self.error(Failure::Isolation { detail }));
        }
        let usage = self.usage();
        let exit = self.exit(&usage)?;
        // The reaper speaks of usage only when nobody is left below it; below an init nobody can leave.
        let namespace_ended = self.spec.isolation >= Isolation::Namespaces && self.seen.used.is_some();
        let certain = namespace_ended || emptied == Some(true);
        Ok(Some(Outcome {
            exit,
            effective: self.effective(),
            isolation_reached: reached,
            kill_confidence: if certain {
                KillConfidence::Certain
            } else {
                KillConfidence::BestEffort
            },
            usage,
            pid: self
                .seen
                .program
                .as_ref()
                .map_or(0, |(pid, _)| pid.as_raw_nonzero().get()),
            started_boot_us: self.started_us,
            output: std::mem::replace(&mut self.capture, Capture::new(0)).finish(),
        }))
    }

    /// A cell that is gone for certain, was not told to stop, and never came to the point at which it becomes the program: the long way says why,
    /// or does better. What did come there is never run again.
    fn ran_nothing(&self) -> bool {
        let is_wanted = self.ending.is_none() || self.seen.failure.is_some();
        self.is_cell && self.seen.closed && self.seen.limits.is_none() && is_wanted
    }

    fn error(&self, failure: Failure) -> Error {
        match failure {
            Failure::Limit {
                name,
                requested,
                detail,
            } => Error::Limit {
                name,
                requested,
                detail,
            },
            Failure::Isolation { detail } => Error::Isolation {
                wanted: self.spec.isolation,
                detail,
            },
            Failure::Start { program, detail } => Error::Start { program, detail },
            Failure::Setup { detail } => Error::Shim { detail },
        }
    }

    fn exit(&mut self, usage: &Usage) -> Result<Exit, Error> {
        if let Some(ending) = self.ending.take() {
            return Ok(ending.exit);
        }
        if self.seen.limits.is_none() {
            return Err(Error::Shim {
                detail: "it ended before the program started and did not say why".to_owned(),
            });
        }
        let limit = |name: &str| Ok(Exit::Limit(name.to_owned()));
        match self.seen.exited {
            _ if self.cgroup.is_some_and(StepCgroup::out_of_memory) => limit("memory"),
            Some((Some(code), _)) => Ok(Exit::Code(code)),
            Some((None, Some(SIGXCPU))) => limit("cpu"),
            // Who ignores SIGXCPU is killed by the kernel a second later.
            Some((None, Some(SIGKILL)))
                if usage.cpu_us() >= self.spec.limits.cpu_ms.saturating_mul(1_000) =>
            {
                limit("cpu")
            }
            Some((None, Some(SIGXFSZ))) => limit("file"),
            Some((None, Some(signal))) => Ok(Exit::Signal(signal)),
            // Somebody killed the shim; the program died with it.
            Some((None, None)) | None => Ok(Exit::Signal(SIGKILL)),
        }
    }

    fn usage(&self) -> Usage {
        let used = self.seen.used.unwrap_or_default();
        // A privileged program can leave its cgroup, but not its reaper: the larger figure is the truer one.
        let cpu = self
            .cgroup
            .map(StepCgroup::cpu)
            .unwrap_or_default()
            .max(used.cpu)
            .max(self.sampled);
        let Used {
            read_bytes,
            written_bytes,
            ..
        } = used;
        let seen = used
            .max_rss_bytes
            .max(self.sampled_memory.unwrap_or(0))
            .max(self.metered.peak_memory_bytes);
        let memory = self.cgroup.and_then(StepCgroup::memory);
        let peak_memory_bytes = memory.map_or(0, |(_, peak)| peak).max(seen);
        let (cgroup_read, cgroup_written) = self.cgroup.and_then(StepCgroup::storage).unwrap_or_default();
        let now = boot_us();
        // Nobody looked at the last moments: they count as the worst.
        let held = self.metered.held_until(now, peak_memory_bytes);
        Usage {
            cpu_user_us: cpu.user_us,
            cpu_system_us: cpu.system_us,
            wall_us: now.saturating_sub(self.started_us),
            peak_memory_bytes,
            read_bytes: read_bytes.max(cgroup_read),
            written_bytes: written_bytes.max(cgroup_written).max(self.metered.written_bytes),
            output_bytes: self.capture.total(),
            meter: if self.cgroup.is_some() {
                Meter::Cgroup2
            } else {
                Meter::Rusage
            },
            lower_bound: self.cgroup.is_none() || self.seen.used.is_none(),
            measured: Some(self.measured(held)),
        }
    }

    fn effective(&mut self) -> Vec<EffectiveLimit> {
        let limits = &self.spec.limits;
        let mut effective = self.seen.limits.take().unwrap_or_default();
        let by_cgroup = self
            .cgroup
            .map(|cgroup| cgroup.effective.clone())
            .unwrap_or_default();
        if is_exempt_from_process_limit(self.spec.isolation) {
            // The kernel keeps the number and does not hold root to it; the watch does, by counting.
            effective
                .iter_mut()
                .filter(|limit| limit.name == "nproc")
                .for_each(|limit| "agent".clone_into(&mut limit.by));
        }
        effective.extend(by_cgroup);
        let kept = limits.output_bytes.min(OUTPUT_BYTES_MAX as u64);
        for (name, requested, in_force) in [
            ("cpu.tree", limits.cpu_ms, limits.cpu_ms),
            ("wall", limits.wall_ms, limits.wall_ms),
            ("output", limits.output_bytes, kept),
        ] {
            effective.push(EffectiveLimit {
                name: name.to_owned(),
                requested,
                effective: in_force,
                by: "agent".to_owned(),
            });
        }
        effective
    }
}
