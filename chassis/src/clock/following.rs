//! A clock that goes as another machine's does: told now and then what time it is there, it counts on by the boot clock, so that nobody who sets this
//! machine's wall clock sets it too.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use writ_protocol::time::Timestamp;

use super::{BootInstant, Clock};

/// Longest that an answer may have taken where one is followed already: the time it names lies somewhere in between.
pub const TOOK_MAX: Duration = Duration::from_secs(1);

/// Stands for nobody who is followed; no machine has been up for so long.
const NOBODY: i64 = i64::MIN;

/// What another machine's clock said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When it was asked, on this machine's boot clock.
    pub asked: BootInstant,
    /// When the answer came, on this machine's boot clock.
    pub answered: BootInstant,
    /// What it said.
    pub theirs: Timestamp,
}

/// What a reading told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// By how many microseconds this clock was moved: next to nothing, unless somebody set the followed one. Nothing at the first reading.
    pub moved_us: i64,
    /// How many microseconds the machine's own wall clock is ahead of the followed one; negative where it is behind.
    pub own_ahead_us: i64,
}

/// A wall clock that follows another machine's; until the first reading it is the machine's own.
#[derive(Debug)]
pub struct FollowingClock {
    own: Arc<dyn Clock>,
    /// Their wall clock less our boot clock, microseconds.
    ahead_us: AtomicI64,
}

impl FollowingClock {
    /// A clock that follows nobody yet.
    pub const fn new(own: Arc<dyn Clock>) -> Self {
        Self {
            own,
            ahead_us: AtomicI64::new(NOBODY),
        }
    }

    /// Goes on from a reading, taken for the middle between question and answer. Nothing where the answer took longer than [`TOOK_MAX`] and an earlier
    /// reading is known.
    pub fn follow(&self, reading: Reading) -> Option<Step> {
        let took = reading.answered.since(reading.asked);
        let before = self.ahead_us.load(Ordering::SeqCst);
        if before != NOBODY && took > TOOK_MAX {
            return None;
        }
        let middle = micros(reading.asked.plus(took / 2));
        let ahead = reading.theirs.as_micros().saturating_sub(middle);
        // Their time at the answer, to compare with our wall clock, which is read after it.
        let theirs = ahead.saturating_add(micros(self.own.boot()));
        let own_ahead_us = self.own.now().as_micros().saturating_sub(theirs);
        self.ahead_us.store(ahead, Ordering::SeqCst);
        let moved_us = if before == NOBODY {
            0
        } else {
            ahead.saturating_sub(before)
        };
        Some(Step {
            moved_us,
            own_ahead_us,
        })
    }
}

impl Clock for FollowingClock {
    fn now(&self) -> Timestamp {
        match self.ahead_us.load(Ordering::SeqCst) {
            NOBODY => self.own.now(),
            ahead => Timestamp::from_micros(ahead.saturating_add(micros(self.own.boot()))),
        }
    }

    fn boot(&self) -> BootInstant {
        self.own.boot()
    }
}

fn micros(at: BootInstant) -> i64 {
    i64::try_from(at.as_nanos() / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::ManualClock;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn scene() -> (Arc<ManualClock>, FollowingClock, Timestamp) {
        let wall = Timestamp::from_millis(1_790_000_000_000);
        let own = Arc::new(ManualClock::new(wall));
        let clock = FollowingClock::new(Arc::<ManualClock>::clone(&own));
        (own, clock, wall)
    }

    fn reading(own: &ManualClock, took: Duration, theirs: Timestamp) -> Reading {
        let asked = own.boot();
        own.advance(took);
        Reading {
            asked,
            answered: own.boot(),
            theirs,
        }
    }

    #[test]
    fn until_somebody_is_followed_it_is_the_machines_own() {
        let (own, clock, wall) = scene();
        assert_eq!(clock.now(), wall);
        own.set_wall(wall.plus(HOUR));
        assert_eq!(clock.now(), wall.plus(HOUR));
    }

    #[test]
    fn a_wall_clock_that_is_set_moves_nothing_once_somebody_is_followed() {
        let (own, clock, wall) = scene();
        own.set_wall(wall.plus(HOUR));
        let step = clock.follow(reading(&own, Duration::ZERO, wall)).unwrap();
        assert_eq!((step.moved_us, step.own_ahead_us), (0, 3_600_000_000));
        assert_eq!(clock.now(), wall);
        own.set_wall(wall.minus(HOUR));
        own.advance(Duration::from_secs(7));
        assert_eq!(clock.now(), wall.plus(Duration::from_secs(7)));
        assert_eq!(clock.boot(), own.boot());
    }

    #[test]
    fn a_reading_counts_for_the_middle_of_its_way() {
        let (own, clock, wall) = scene();
        let took = Duration::from_millis(400);
        clock.follow(reading(&own, took, wall)).unwrap();
        assert_eq!(clock.now(), wall.plus(took / 2));
    }

    #[test]
    fn one_that_took_too_long_counts_only_where_there_is_no_other() {
        let (own, clock, wall) = scene();
        let long = TOOK_MAX.saturating_add(Duration::from_millis(1));
        assert!(clock.follow(reading(&own, long, wall)).is_some());
        let here = clock.now();
        assert_eq!(clock.follow(reading(&own, long, wall.plus(HOUR))), None);
        assert_eq!(clock.now(), here.plus(long));
        assert!(clock.follow(reading(&own, TOOK_MAX, wall.plus(HOUR))).is_some());
    }

    #[test]
    fn a_followed_clock_that_is_set_is_followed_and_told() {
        let (own, clock, wall) = scene();
        clock.follow(reading(&own, Duration::ZERO, wall)).unwrap();
        let step = clock
            .follow(reading(&own, Duration::ZERO, wall.minus(HOUR)))
            .unwrap();
        assert_eq!(
            (step.moved_us, step.own_ahead_us),
            (-3_600_000_000, 3_600_000_000)
        );
        assert_eq!(clock.now(), wall.minus(HOUR));
    }
}
