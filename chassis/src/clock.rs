//! The clock: the one place of the workspace that asks the machine what time it is.
//!
//! Two clocks, because they answer different questions. The wall clock says when something happened, for people and for records; an
//! administrator may set it, so no deadline rests on it. The boot clock counts since the machine started, suspended time included; it
//! never goes backwards while the machine is up, so deadlines rest on it. It means nothing after a restart: store the boot id beside it.

mod following;

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use writ_protocol::time::Timestamp;

pub use following::{FollowingClock, Reading, Step, TOOK_MAX};

/// How long [`sleep_until`] trusts the runtime's timer before it looks at the boot clock again.
///
/// The timer stands still while the machine is suspended and the boot clock does not, so after a resume a deadline is seen to have
/// passed within this time.
pub const RECHECK: Duration = Duration::from_secs(5);

/// Where time comes from. Shells hold one and hand its answers to pure code.
pub trait Clock: Send + Sync + Debug {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// The boot clock.
    fn boot(&self) -> BootInstant;
}

/// A point on the boot clock: nanoseconds since this machine started, time spent suspended included.
///
/// Comparable only within one boot of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootInstant(u64);

impl BootInstant {
    /// The point `nanos` nanoseconds after the machine started.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the machine started.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This point moved later by `duration`, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// How long after `earlier` this point is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one reader of the wall clock"
    )]
    fn now(&self) -> Timestamp {
        let now = SystemTime::now();
        let micros = match now.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Timestamp::from_micros(micros)
    }

    fn boot(&self) -> BootInstant {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let secs = u64::try_from(time.tv_sec).unwrap_or(0);
        let subsec = u64::try_from(time.tv_nsec).unwrap_or(0);
        BootInstant(secs.saturating_mul(1_000_000_000).saturating_add(subsec))
    }
}

/// A clock that moves only when it is told to: for tests and the simulator.
#[derive(Debug)]
pub struct ManualClock {
    wall_micros: AtomicI64,
    boot_nanos: AtomicU64,
}

impl ManualClock {
    /// A clock standing at `wall`, one second after the machine started.
    pub const fn new(wall: Timestamp) -> Self {
        Self {
            wall_micros: AtomicI64::new(wall.as_micros()),
            boot_nanos: AtomicU64::new(1_000_000_000),
        }
    }

    /// Moves both clocks forward by `duration`.
    pub fn advance(&self, duration: Duration) {
        let wall = self.now().plus(duration);
        let boot = self.boot().plus(duration);
        self.wall_micros.store(wall.as_micros(), Ordering::SeqCst);
        self.boot_nanos.store(boot.as_nanos(), Ordering::SeqCst);
    }

    /// Sets the wall clock, as an administrator would: backwards too, and the boot clock does not notice.
    pub fn set_wall(&self, wall: Timestamp) {
        self.wall_micros.store(wall.as_micros(), Ordering::SeqCst);
    }

    /// Sets the boot clock, as a restart of the machine would.
    pub fn set_boot(&self, boot: BootInstant) {
        self.boot_nanos.store(boot.as_nanos(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.wall_micros.load(Ordering::SeqCst))
    }

    fn boot(&self) -> BootInstant {
        BootInstant(self.boot_nanos.load(Ordering::SeqCst))
    }
}

/// Waits until the boot clock reaches `deadline`.
///
/// Returns at most [`RECHECK`] late after the machine was suspended. Cancel-safe.
pub async fn sleep_until(clock: &dyn Clock, deadline: BootInstant) {
    loop {
        let left = deadline.since(clock.boot());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(RECHECK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_in_this_century() {
        let now = SystemClock.now();
        assert!(
            now > Timestamp::parse("2025-01-01T00:00:00Z").expect("parses"),
            "{now}"
        );
        assert!(
            now < Timestamp::parse("2100-01-01T00:00:00Z").expect("parses"),
            "{now}"
        );
    }

    #[test]
    fn the_boot_clock_agrees_with_the_kernel_and_never_goes_back() {
        let first = SystemClock.boot();
        let uptime = std::fs::read_to_string("/proc/uptime").expect("proc is mounted");
        let second = SystemClock.boot();
        assert!(second >= first);
        let kernel: f64 = uptime
            .split(' ')
            .next()
            .expect("a field")
            .parse()
            .expect("a number");
        assert!((first.since(BootInstant::default()).as_secs_f64() - kernel).abs() < 5.0);
    }

    #[test]
    fn a_set_wall_clock_leaves_deadlines_alone() {
        let clock = ManualClock::new(Timestamp::from_micros(1_000_000));
        let deadline = clock.boot().plus(Duration::from_secs(3));
        clock.set_wall(Timestamp::from_micros(-5));
        assert_eq!(clock.now().as_micros(), -5);
        assert_eq!(deadline.since(clock.boot()), Duration::from_secs(3));
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now().as_micros(), 2_999_995);
        assert_eq!(deadline.since(clock.boot()), Duration::ZERO);
    }

    #[test]
    fn the_far_future_saturates() {
        assert_eq!(
            BootInstant::from_nanos(5).plus(Duration::MAX).as_nanos(),
            u64::MAX
        );
        assert_eq!(
            BootInstant::default().since(BootInstant::from_nanos(9)),
            Duration::ZERO
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_a_suspended_machine_wakes_past_the_deadline() {
        let clock = ManualClock::new(Timestamp::from_micros(0));
        let deadline = clock.boot().plus(Duration::from_hours(1));
        let started = tokio::time::Instant::now();
        let waiting = sleep_until(&clock, deadline);
        tokio::pin!(waiting);
        let early = tokio::time::timeout(RECHECK / 2, &mut waiting).await;
        assert!(early.is_err(), "the deadline has not come");
        clock.advance(Duration::from_hours(2));
        waiting.await;
        assert!(started.elapsed() <= RECHECK, "{:?}", started.elapsed());
    }
}
