//! What a tree has used so far, for those who must stop it in time: told through its control while it runs.

use writ_protocol::exec::{Meter, Usage};

use super::Watch;
use crate::cgroup::StepCgroup;
use crate::tree;

/// Shortest time between two readings; with the time between two looks at the tree, one comes at least every 0.4 s.
const METER_US: u64 = 250_000;

/// What was read last. Figures only grow: a process that is gone takes none of them back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Metered {
    due_us: u64,
    pub(super) peak_memory_bytes: u64,
    pub(super) written_bytes: u64,
}

impl Watch<'_> {
    /// Reads what the tree has used and tells it, unless that was done a moment ago. The processor time is that of the last look.
    pub(super) fn meter(&mut self, now: u64) {
        if now < self.metered.due_us {
            return;
        }
        let reaper = self.launched.reaper();
        let memory = self
            .cgroup
            .and_then(StepCgroup::memory_peak)
            .unwrap_or_else(|| tree::descendants_peak_memory(reaper));
        let written = match self.cgroup.and_then(StepCgroup::storage) {
            Some((_, written)) => written,
            None => tree::written(reaper),
        };
        self.metered = Metered {
            due_us: now.saturating_add(METER_US),
            peak_memory_bytes: self.metered.peak_memory_bytes.max(memory),
            written_bytes: self.metered.written_bytes.max(written),
        };
        self.control.note_used(Usage {
            cpu_user_us: self.sampled.user_us,
            cpu_system_us: self.sampled.system_us,
            wall_us: now.saturating_sub(self.started_us),
            peak_memory_bytes: self.metered.peak_memory_bytes,
            written_bytes: self.metered.written_bytes,
            output_bytes: self.capture.total(),
            lower_bound: self.cgroup.is_none(),
            ..Usage::none(if self.cgroup.is_some() {
                Meter::Cgroup2
            } else {
                Meter::Rusage
            })
        });
    }
}
