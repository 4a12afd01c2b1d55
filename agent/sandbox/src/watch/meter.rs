//! What a tree has used so far, for those who must stop it in time: told through its control while it runs.

use writ_protocol::exec::{Isolation, Measured, Meter, Source, Sources, Usage, byte_seconds};

use super::Watch;
use crate::cgroup::StepCgroup;
use crate::spec::Network;
use crate::tree;

/// Shortest time between two readings; with the time between two looks at the tree, one comes at least every 0.4 s.
const METER_US: u64 = 250_000;

/// What was read last. Figures only grow: a process that is gone takes none of them back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Metered {
    due_us: u64,
    /// When memory was read last, and what was held then.
    read_us: u64,
    held_bytes: u64,
    /// Memory over time until then, byte-microseconds.
    held: u128,
    pub(super) peak_memory_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) processes: u64,
}

impl Metered {
    /// Nothing was read of a run that starts now.
    pub(super) fn since(started_us: u64) -> Self {
        Self {
            read_us: started_us,
            ..Self::default()
        }
    }

    /// Adds the time since the last reading, at the larger of the two readings.
    fn hold(&mut self, now: u64, bytes: u64) {
        self.held = self.held_until(now, self.held_bytes.max(bytes));
        (self.read_us, self.held_bytes) = (now, bytes);
    }

    /// Memory over time when so much was held since the last reading, byte-microseconds.
    pub(super) fn held_until(&self, now: u64, bytes: u64) -> u128 {
        let span = u128::from(now.saturating_sub(self.read_us));
        self.held.saturating_add(span.saturating_mul(u128::from(bytes)))
    }
}

impl Watch<'_> {
    /// Reads what the tree has used and tells it, unless that was done a moment ago. The processor time is that of the last look.
    pub(super) fn meter(&mut self, now: u64) {
        if now < self.metered.due_us {
            return;
        }
        let reaper = self.launched.reaper();
        let (held, peak) = self.cgroup.and_then(StepCgroup::memory).unwrap_or_else(|| {
            let memory = tree::descendants_memory(reaper);
            (memory.own_bytes, memory.peak_bytes)
        });
        let written = match self.cgroup.and_then(StepCgroup::storage) {
            Some((_, written)) => written,
            None => tree::written(reaper),
        };
        let metered = &mut self.metered;
        metered.due_us = now.saturating_add(METER_US);
        metered.hold(now, held);
        metered.peak_memory_bytes = metered.peak_memory_bytes.max(peak).max(held);
        metered.written_bytes = metered.written_bytes.max(written);
        self.control.note_used(Usage {
            cpu_user_us: self.sampled.user_us,
            cpu_system_us: self.sampled.system_us,
            wall_us: now.saturating_sub(self.started_us),
            peak_memory_bytes: self.metered.peak_memory_bytes,
            written_bytes: self.metered.written_bytes,
            output_bytes: self.capture.total(),
            lower_bound: self.cgroup.is_none(),
            measured: Some(self.measured(self.metered.held)),
            ..Usage::none(if self.cgroup.is_some() {
                Meter::Cgroup2
            } else {
                Meter::Rusage
            })
        });
    }

    /// The later figures of a tree that has held so much memory over time, and where all of them come from.
    pub(super) fn measured(&self, held: u128) -> Measured {
        let has = |figure: bool, otherwise| if figure { Source::Cgroup } else { otherwise };
        let counts = self.cgroup.map(StepCgroup::counts).unwrap_or_default();
        let waited = |otherwise| {
            if self.seen.used.is_some() {
                Source::Rusage
            } else {
                otherwise
            }
        };
        let sees_host =
            self.spec.isolation < Isolation::Namespaces || matches!(self.spec.network, Network::Host);
        let is_started = u64::from(self.seen.limits.is_some());
        let storage = has(counts.storage, Source::Proc);
        Measured {
            memory_byte_seconds: byte_seconds(held),
            // Bytes of connections are the egress proxy's to count: whoever runs a step with a network adds them, with their source.
            network_bytes: 0,
            processes: self.metered.processes.max(counts.processes_peak).max(is_started),
            sources: Sources {
                cpu: has(self.cgroup.is_some(), waited(Source::Proc)),
                wall: Source::Clock,
                peak_memory: has(counts.memory, waited(Source::Proc)),
                memory: has(counts.memory, Source::Proc),
                read: storage,
                written: storage,
                network: if sees_host { Source::Unknown } else { Source::None },
                processes: has(self.cgroup.is_some(), Source::Proc),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_over_time_takes_the_larger_of_two_readings_and_never_shrinks() {
        let mut metered = Metered::since(1_000);
        metered.hold(1_010, 4);
        assert_eq!(metered.held, 40);
        metered.hold(1_020, 1);
        assert_eq!(metered.held, 80);
        metered.hold(1_030, 1);
        assert_eq!(metered.held, 90);
        assert_eq!(metered.held_until(1_032, 5), 100);
        assert_eq!(metered.held_until(1_030, 5), 90);
        // A clock that stands still adds nothing.
        assert_eq!(metered.held_until(900, 5), 90);
    }
}
