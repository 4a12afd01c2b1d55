//! The boot-time clock: it counts through suspend, and nobody can set it. Deadlines of steps are measured on it alone.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Microseconds since boot.
pub(crate) fn boot_us() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000)
        .saturating_add(u64::try_from(now.tv_nsec / 1_000).unwrap_or(0))
}

/// A span as the kernel takes it.
pub(crate) fn timespec(micros: u64) -> Timespec {
    let span = Duration::from_micros(micros);
    Timespec {
        tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(span.subsec_nanos()),
    }
}

/// Calls `look` until it says true or the time is over; whether it did. `look` is handed the time left and waits in it for news.
pub(crate) fn wait_for(most: Duration, mut look: impl FnMut(Timespec) -> bool) -> bool {
    let end = boot_us().saturating_add(u64::try_from(most.as_micros()).unwrap_or(u64::MAX));
    loop {
        let left = end.saturating_sub(boot_us());
        if look(timespec(left)) {
            return true;
        }
        if left == 0 {
            return false;
        }
    }
}
