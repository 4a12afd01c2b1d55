//! When a notification is sent, or why it is not.
//!
//! What is critical is never dropped by quiet hours or by the limit: it goes at once, and above the limit as soon as the window has room. It has a window of
//! its own, so that a flood of what is not critical cannot delay it.

use std::time::Duration;

use writ_protocol::time::Timestamp;

use super::Happening;
use super::quiet::{Quiet, Then, keeps_back};

/// Most notifications of one receiver that wait; a receiver that is down for days must not fill the ledger.
pub const WAITING_MAX: u64 = 10_000;

/// So many in any span of so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least one.
    pub most: u32,
    /// In how long.
    pub per: Duration,
}

/// How much a receiver takes, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Notifications in a span; those that are critical are counted apart.
    pub rate: Rate,
    /// When what can wait is kept back.
    pub quiet: Vec<Quiet>,
    /// How often it is tried.
    pub retry: super::delivery::Retry,
}

/// What the ledger knows of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the same was told within the rule's span.
    pub is_same: bool,
    /// When the notification is, or was, due that is [`Rate::most`] places before the next, counted from the one that is due last, among those as critical.
    pub oldest_in_rate: Option<Timestamp>,
    /// How many wait among those as critical: a flood of what is not critical drops none that is.
    pub waiting: u64,
}

/// Why something is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The same was told a short time ago.
    Same,
    /// Quiet hours, which say so.
    Quiet,
    /// The receiver had as many as it takes.
    Rate,
    /// Too many wait for the receiver.
    Full,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Same, Self::Quiet, Self::Rate, Self::Full];

    /// Its name in the ledger, the API and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Quiet => "quiet",
            Self::Rate => "rate",
            Self::Full => "full",
        }
    }
}

/// What becomes of an event for a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is sent, not before then.
    Due(Timestamp),
    /// It is not.
    Dropped(DropReason),
}

/// Decides when an event is sent to a receiver; `wait` is for how long it waits for others of its group.
pub fn admit(
    limits: &Limits,
    happening: &Happening,
    seen: Seen,
    (now, wait): (Timestamp, Duration),
) -> Admission {
    if seen.is_same {
        return Admission::Dropped(DropReason::Same);
    }
    if seen.waiting >= WAITING_MAX {
        return Admission::Dropped(DropReason::Full);
    }
    let critical = happening.is_critical();
    let mut due = now.plus(wait);
    let quiet = keeps_back(&limits.quiet, due).filter(|_| !critical);
    match quiet {
        Some((_, Then::Drop)) => return Admission::Dropped(DropReason::Quiet),
        Some((end, Then::Hold)) => due = end,
        None => {}
    }
    let room = seen
        .oldest_in_rate
        .map_or(due, |oldest| oldest.plus(limits.rate.per));
    if room <= due {
        Admission::Due(due)
    } else if critical {
        Admission::Due(room)
    } else {
        Admission::Dropped(DropReason::Rate)
    }
}
