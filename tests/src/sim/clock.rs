//! Time: one virtual clock under everything, and hosts whose wall clocks are wrong and whose boot clocks begin again.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use writ_chassis::clock::{BootInstant, Clock};
use writ_protocol::time::Timestamp;

/// The wall clock at the beginning of every run: 2026-01-01T00:00:00Z, microseconds.
pub const BEGINNING: i64 = 1_767_225_600_000_000;

/// The boot clock right after a start of a machine.
const BOOT: u64 = 1_000_000_000;

/// The clocks of one machine.
#[derive(Debug)]
pub struct HostClock {
    start: Instant,
    /// How far the wall clock is off, microseconds.
    wrong_us: AtomicI64,
    /// When the machine last started, nanoseconds after the beginning.
    booted_ns: AtomicU64,
}

impl HostClock {
    /// A machine that starts when the world does.
    pub const fn new(start: Instant) -> Self {
        Self {
            start,
            wrong_us: AtomicI64::new(0),
            booted_ns: AtomicU64::new(0),
        }
    }

    /// Sets how far the wall clock is off.
    pub fn set_wrong(&self, micros: i64) {
        self.wrong_us.store(micros, Ordering::SeqCst);
    }

    /// The machine starts again.
    pub fn reboot(&self) {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.booted_ns.store(nanos, Ordering::SeqCst);
    }

    /// Virtual time since the beginning, as nobody in the world can see it.
    pub fn true_time(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        let gone = i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX);
        let wrong = self.wrong_us.load(Ordering::SeqCst);
        Timestamp::from_micros(BEGINNING.saturating_add(gone).saturating_add(wrong))
    }

    fn boot(&self) -> BootInstant {
        let gone = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let booted = self.booted_ns.load(Ordering::SeqCst);
        BootInstant::from_nanos(BOOT.saturating_add(gone.saturating_sub(booted)))
    }
}
