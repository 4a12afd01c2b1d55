//! Waiting between tries: full jitter, `U(0, min(cap, base · 2^n))`.
//!
//! Full jitter rather than a fixed ladder, because what fails for one process fails for all of them at once, and a fleet that waits
//! equally long comes back as one. The generator is an argument, so a simulated run repeats. How often to try is the caller's bound.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

/// The shape of the waiting: the first ceiling and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffPolicy {
    base: Duration,
    cap: Duration,
}

impl BackoffPolicy {
    /// The first wait is at most `base`, the ceiling doubles with every try, and no wait is longer than `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The longest wait before try `n`, counted from zero.
    pub fn ceiling(&self, n: u32) -> Duration {
        // 2^32 times a nanosecond is already longer than any sensible cap; the clamp keeps the shift defined.
        let factor = 1_u32.checked_shl(n.min(31)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// A wait before try `n`, drawn evenly from zero to [`Self::ceiling`].
    pub fn delay(&self, n: u32, rng: &mut impl Rng) -> Duration {
        jitter(self.ceiling(n), rng)
    }
}

/// A wait drawn evenly from zero to `longest`, both included.
pub fn jitter(longest: Duration, rng: &mut impl Rng) -> Duration {
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.random_range(0..=nanos))
}

/// A row of tries that waits longer each time.
#[derive(Debug)]
pub struct Backoff {
    policy: BackoffPolicy,
    rng: StdRng,
    failures: u32,
}

impl Backoff {
    /// A fresh row. Take `rng` from [`crate::ids::named_rng`].
    pub const fn new(policy: BackoffPolicy, rng: StdRng) -> Self {
        Self {
            policy,
            rng,
            failures: 0,
        }
    }

    /// Counts a failure and says how long to wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.policy.delay(self.failures, &mut self.rng);
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// Failures since the row began or was last reset: what the caller's bound counts.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// A try succeeded: the next wait is short again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::named_rng;

    const POLICY: BackoffPolicy = BackoffPolicy::new(Duration::from_millis(100), Duration::from_mins(1));

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_stays_there() {
        assert_eq!(POLICY.ceiling(0), Duration::from_millis(100));
        assert_eq!(POLICY.ceiling(3), Duration::from_millis(800));
        assert_eq!(POLICY.ceiling(9), Duration::from_millis(51_200));
        for n in [10, 31, 32, 64, u32::MAX] {
            assert_eq!(POLICY.ceiling(n), Duration::from_mins(1), "try {n}");
        }
        assert_eq!(
            BackoffPolicy::new(Duration::MAX, Duration::MAX).ceiling(40),
            Duration::MAX
        );
    }

    #[test]
    fn every_wait_is_within_its_ceiling_and_the_whole_range_is_used() {
        let mut rng = named_rng(1, "backoff");
        for n in 0..16 {
            let ceiling = POLICY.ceiling(n);
            let drawn: Vec<Duration> = (0..400).map(|_| POLICY.delay(n, &mut rng)).collect();
            assert!(drawn.iter().all(|delay| *delay <= ceiling));
            assert!(
                drawn.iter().any(|delay| *delay < ceiling / 10),
                "try {n} never draws a short wait"
            );
            assert!(
                drawn.iter().any(|delay| *delay > ceiling / 10 * 9),
                "try {n} never draws a long wait"
            );
        }
    }

    #[test]
    fn a_seed_repeats_and_a_success_starts_over() {
        let mut one = Backoff::new(POLICY, named_rng(9, "a"));
        let mut two = Backoff::new(POLICY, named_rng(9, "a"));
        for _ in 0..20 {
            assert_eq!(one.next_delay(), two.next_delay());
        }
        assert_eq!(one.failures(), 20);
        one.reset();
        assert_eq!(one.failures(), 0);
        assert!(one.next_delay() <= Duration::from_millis(100));
    }

    #[test]
    fn no_range_waits_not_at_all() {
        assert_eq!(jitter(Duration::ZERO, &mut named_rng(3, "none")), Duration::ZERO);
        assert!(jitter(Duration::MAX, &mut named_rng(3, "all")) <= Duration::from_nanos(u64::MAX));
    }
}
