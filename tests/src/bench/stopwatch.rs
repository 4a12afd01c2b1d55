//! Measuring rates without reading a clock in more than one place.

use std::time::Duration;

use writ_chassis::clock::{Clock as _, SystemClock};

/// A running measurement.
#[derive(Debug)]
pub struct Stopwatch {
    started: writ_chassis::clock::BootInstant,
}

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Self {
            started: SystemClock.boot(),
        }
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        SystemClock.boot().since(self.started)
    }
}

/// Calls per second of `work`, the best of five windows: on a busy machine the best window is the one least disturbed.
pub fn rate(mut work: impl FnMut()) -> f64 {
    const WINDOWS: usize = 5;
    const WINDOW: Duration = Duration::from_millis(300);
    let mut best = 0.0_f64;
    for _ in 0..WINDOWS {
        let watch = Stopwatch::start();
        let mut calls = 0_u32;
        while watch.elapsed() < WINDOW {
            for _ in 0..16 {
                work();
            }
            calls += 16;
        }
        best = best.max(f64::from(calls) / watch.elapsed().as_secs_f64());
    }
    best
}
