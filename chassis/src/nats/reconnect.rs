//! When to try again: spread over a window, so that a fleet which lost its server together does not come back together.
//!
//! The window is `max(5 s, fleet size / (servers × accepted connections per second))`; the controller works it out and `hello` carries
//! it, because only the controller knows the size of the fleet.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;

use crate::backoff::{BackoffPolicy, jitter};

/// The waits from the second try on.
const LATER: BackoffPolicy = BackoffPolicy::new(Duration::from_secs(1), Duration::from_mins(1));
/// The longest window taken from a controller: a wrong number must not keep a fleet away for longer.
const WINDOW_MAX: Duration = Duration::from_mins(15);

/// The time over which a fleet spreads its first try after a lost connection. Cheap to clone; a change holds from the next loss on.
#[derive(Debug, Clone)]
pub struct ReconnectWindow(Arc<AtomicU64>);

impl ReconnectWindow {
    pub(super) fn new(window: Duration) -> Self {
        let new = Self(Arc::default());
        new.set(window);
        new
    }

    /// Sets the window, at most 15 minutes.
    pub fn set(&self, window: Duration) {
        let millis = u64::try_from(window.min(WINDOW_MAX).as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }

    /// The window now.
    pub fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Draws the delay before each try to connect.
pub(super) struct ReconnectDelays {
    first_connect_window: Duration,
    window: ReconnectWindow,
    /// Whether the first try of this client was made: the library numbers tries from one after every success.
    started: AtomicBool,
    /// Whether the next loss is our own doing and was already spread.
    moving: AtomicBool,
    rng: Mutex<StdRng>,
}

impl ReconnectDelays {
    pub(super) fn new(first_connect_window: Duration, window: ReconnectWindow, rng: StdRng) -> Self {
        Self {
            first_connect_window,
            window,
            started: AtomicBool::new(false),
            moving: AtomicBool::new(false),
            rng: Mutex::new(rng),
        }
    }

    /// The next loss of connection is a move we chose the time of: its first try does not wait.
    pub(super) fn announce_move(&self) {
        self.moving.store(true, Ordering::SeqCst);
    }

    /// The delay before try `attempt`, counted from one since the last connection.
    pub(super) fn delay(&self, attempt: usize) -> Duration {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        if attempt > 1 {
            let n = u32::try_from(attempt - 1).unwrap_or(u32::MAX);
            return LATER.delay(n, &mut *rng);
        }
        let moving = self.moving.swap(false, Ordering::SeqCst);
        if !self.started.swap(true, Ordering::SeqCst) {
            jitter(self.first_connect_window, &mut *rng)
        } else if moving {
            Duration::ZERO
        } else {
            jitter(self.window.get(), &mut *rng)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::named_rng;

    fn delays(first: Duration, window: Duration) -> ReconnectDelays {
        ReconnectDelays::new(first, ReconnectWindow::new(window), named_rng(5, "nats"))
    }

    #[test]
    fn the_first_connection_does_not_wait_and_a_lost_one_is_spread_over_the_window() {
        let delays = delays(Duration::ZERO, Duration::from_secs(67));
        assert_eq!(delays.delay(1), Duration::ZERO);
        let drawn: Vec<Duration> = (0..1_000).map(|_| delays.delay(1)).collect();
        assert!(drawn.iter().all(|delay| *delay <= Duration::from_secs(67)));
        let early = drawn
            .iter()
            .filter(|delay| **delay < Duration::from_millis(6_700))
            .count();
        assert!(
            (50..200).contains(&early),
            "a tenth of the window holds {early} of 1000"
        );
    }

    #[test]
    fn later_tries_have_full_jitter_up_to_a_minute() {
        let delays = delays(Duration::ZERO, Duration::from_secs(5));
        for (attempt, longest) in [(2, 2), (3, 4), (6, 32), (7, 60), (50, 60), (usize::MAX, 60)] {
            let drawn: Vec<Duration> = (0..300).map(|_| delays.delay(attempt)).collect();
            let longest = Duration::from_secs(longest);
            assert!(drawn.iter().all(|delay| *delay <= longest), "try {attempt}");
            assert!(drawn.iter().any(|delay| *delay > longest / 2), "try {attempt}");
            assert!(drawn.iter().any(|delay| *delay < longest / 2), "try {attempt}");
        }
    }

    #[test]
    fn a_move_of_our_own_is_not_spread_twice() {
        let delays = delays(Duration::ZERO, Duration::from_mins(10));
        delays.delay(1);
        delays.announce_move();
        assert_eq!(delays.delay(1), Duration::ZERO);
        assert!(
            (0..20).any(|_| delays.delay(1) > Duration::ZERO),
            "only the one loss"
        );
    }

    #[test]
    fn the_window_can_change_and_has_a_bound() {
        let delays = delays(Duration::from_secs(3), Duration::from_secs(5));
        assert!(delays.delay(1) <= Duration::from_secs(3));
        delays.window.set(Duration::ZERO);
        assert_eq!(delays.delay(1), Duration::ZERO);
        delays.window.set(Duration::MAX);
        assert_eq!(delays.window.get(), WINDOW_MAX);
    }
}
