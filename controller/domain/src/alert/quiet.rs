//! Quiet hours: when people are not to be told of what can wait. Wall clocks of a time zone say when they begin and end, so a night on which
//! clocks change is as long as it is.

use std::time::Duration;

use writ_protocol::time::Timestamp;

use crate::schedule::{Cron, Zone, times};

/// Longest quiet hours: a day, on the day that has twenty-five.
const LONGEST: Duration = Duration::from_secs(25 * 3_600);
/// Most times that one look follows quiet hours into the next; a week of whole days and what overlaps them.
const FOLLOW_MAX: usize = 16;

/// Quiet hours: they begin when `opens` says, and last until the next time of `closes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// When they begin.
    pub opens: Cron,
    /// When they end: once a day.
    pub closes: Cron,
    /// By whose clock.
    pub zone: Zone,
    /// What becomes of what would have been sent.
    pub then: Then,
}

/// What becomes of what quiet hours keep back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is sent when they end.
    Hold,
    /// It is not sent, and that is written down.
    Drop,
}

impl Quiet {
    /// When the quiet hours end that an instant is in; none outside of them. They hold from their first instant until before their last.
    pub fn until(&self, at: Timestamp) -> Option<Timestamp> {
        times(&self.opens, &self.zone, at.minus(LONGEST))
            .by(at)
            .take_while(|opened| *opened <= at)
            .filter_map(|opened| times(&self.closes, &self.zone, opened).next())
            .filter(|end| *end > at)
            .max()
    }
}

/// When all quiet hours have ended that an instant is in, those among them that follow at once, and what becomes of what they keep back: it is dropped where
/// any of them says so. None outside of them.
pub fn keeps_back(all: &[Quiet], at: Timestamp) -> Option<(Timestamp, Then)> {
    let (mut end, mut then) = (at, Then::Hold);
    for _ in 0..FOLLOW_MAX {
        let over: Vec<_> = all
            .iter()
            .filter_map(|quiet| Some((quiet.until(end)?, quiet.then)))
            .collect();
        let Some(last) = over.iter().map(|(until, _)| *until).max() else {
            break;
        };
        if over.iter().any(|(_, then)| *then == Then::Drop) {
            then = Then::Drop;
        }
        end = last;
    }
    (end > at).then_some((end, then))
}
