//! Waits that end: for things that send no event.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of a clock that does not go back.
pub(crate) fn nanos(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// A wait with an end, on the boot-time clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    end: u64,
}

impl Wait {
    pub(crate) fn new(most: Duration) -> Self {
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Self {
            end: nanos(ClockId::Boottime).saturating_add(most),
        }
    }

    pub(crate) fn left(self) -> Duration {
        Duration::from_nanos(self.end.saturating_sub(nanos(ClockId::Boottime)))
    }

    /// Waits a little; false, and at once, when the time is over.
    pub(crate) fn pause(self, pause: Duration) -> bool {
        let left = self.left();
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(pause.min(left));
        true
    }
}
