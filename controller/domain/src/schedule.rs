//! Schedules: which of their times have come, and what becomes of each.
//!
//! Every time that a cron expression names is decided exactly once, in order: it is started, it waits for the one before it to end, or it is skipped with a
//! reason. What has been decided is a place in time, [`Standing::decided`]; it moves in the transaction that does what was decided, so that a
//! controller that ends in between leaves the time to the next one, and a clock that goes back finds nothing left to decide. Nothing here reads a clock.

mod calendar;
mod cron;

use std::time::Duration;

use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;

pub use calendar::{Times, Zone, ZoneError, times};
pub use cron::{CRON_BYTES_MAX, Cron, CronError};

/// A time that is later than this was missed, and is left to the catch-up.
pub const MISSED_AFTER: Duration = Duration::from_secs(60);
/// Most missed times that a schedule can ask to be caught up with, and most that wait for the one before to end.
pub const BACKLOG_MAX: u32 = 16;
/// Longest jitter.
pub const JITTER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Longest maintenance window.
pub const WINDOW_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Most windows, and most freezes, of one schedule.
pub const WINDOWS_MAX: usize = 16;
/// Most times that are looked at in one decision; further ones are left to the next.
const LOOK_MAX: usize = 50_000;

/// What becomes of times that were missed, as when no controller ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// They are skipped.
    None,
    /// The last of them is started.
    Latest,
    /// So many of the last are started; at most [`BACKLOG_MAX`].
    All(u32),
}

/// What becomes of a time that comes while what the one before started has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It is skipped.
    Skip,
    /// It waits; at most [`BACKLOG_MAX`] do.
    Queue,
    /// The one before is cancelled.
    Cancel,
}

impl Overlap {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Skip, Self::Queue, Self::Cancel];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::Cancel => "cancel",
        }
    }

    /// The policy of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// When something may be started: from each time of an expression on, for so long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it opens, in the schedule's zone.
    pub opens: Cron,
    /// For how long; at most [`WINDOW_MAX`].
    pub length: Duration,
}

/// When nothing may be started, whatever the windows say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// From this instant on.
    pub from: Timestamp,
    /// Until before this one.
    pub until: Timestamp,
}

/// What somebody set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// When.
    pub cron: Cron,
    /// By whose clock.
    pub zone: Zone,
    /// Times are put off by up to so much, each by its own; at most [`JITTER_MAX`].
    pub jitter: Duration,
    /// What becomes of missed times.
    pub catch_up: CatchUp,
    /// What becomes of times that come too soon.
    pub overlap: Overlap,
    /// When something may be started; always, where there is none.
    pub windows: Vec<Window>,
    /// When nothing may be started.
    pub freezes: Vec<Freeze>,
}

/// Where a schedule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What its times are put off by depends on this, so that schedules with one expression do not all start at once.
    pub seed: u128,
    /// Every time until here has been decided.
    pub decided: Timestamp,
    /// Whether somebody paused it.
    pub is_paused: bool,
    /// Whether something that it started has not ended.
    pub is_active: bool,
    /// How many times wait for that.
    pub queued: u32,
}

/// Why a time was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// The schedule was paused.
    Paused,
    /// Nobody was there, and it is not caught up with.
    Missed,
    /// Nobody was there, and a later one is started instead.
    Superseded,
    /// What the one before started had not ended.
    Overlap,
    /// As many as may wait did so already.
    QueueFull,
    /// It was outside every maintenance window.
    OutsideWindow,
    /// It was in a freeze.
    Frozen,
    /// A lockdown covered what it would have started; the rule of a schedule knows none, who starts it does.
    LockedDown,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Paused,
        Self::Missed,
        Self::Superseded,
        Self::Overlap,
        Self::QueueFull,
        Self::OutsideWindow,
        Self::Frozen,
        Self::LockedDown,
    ];

    /// Its name in the ledger, the API and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Missed => "missed",
            Self::Superseded => "superseded",
            Self::Overlap => "overlap",
            Self::QueueFull => "queue_full",
            Self::OutsideWindow => "outside_window",
            Self::Frozen => "frozen",
            Self::LockedDown => "locked_down",
        }
    }

    /// The reason of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// One time of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick {
    /// The time that the expression names.
    pub at: Timestamp,
    /// That, put off by its jitter.
    pub due: Timestamp,
}

/// Times in a row that were skipped for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The first of them.
    pub from: Timestamp,
    /// The last of them.
    pub through: Timestamp,
    /// How many.
    pub times: u64,
    /// Why.
    pub reason: SkipReason,
}

/// What is to be done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is started.
    Start,
    /// What runs is cancelled, and it is started.
    CancelAndStart,
    /// It waits until what runs has ended.
    Queue,
}

/// What is to be done now: the skips, then at most one action; asked again after that, the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Times that are skipped, all of them before the one of the action.
    pub skips: Vec<Skip>,
    /// What is done at which time.
    pub action: Option<(Tick, Action)>,
    /// What [`Standing::decided`] becomes.
    pub decided: Timestamp,
    /// The time after that; none when there will be no more.
    pub next: Option<Tick>,
}

/// The first time of a schedule after what it has decided.
pub fn next(rule: &Rule, standing: &Standing) -> Option<Tick> {
    times(&rule.cron, &rule.zone, standing.decided)
        .next()
        .map(|at| tick(rule, standing, at))
}

/// Decides the times that have come.
pub fn due(rule: &Rule, standing: &Standing, now: Timestamp) -> Decision {
    let mut ahead = times(&rule.cron, &rule.zone, standing.decided).map(|at| tick(rule, standing, at));
    let (mut came, mut next) = (Vec::new(), None);
    for one in ahead.by_ref() {
        if one.due > now || came.len() >= LOOK_MAX {
            next = Some(one);
            break;
        }
        came.push(one);
    }
    // Where more have come than are looked at, enough of them are left that none of these is among the last.
    if next.is_some_and(|next| next.due <= now) {
        let kept = came
            .len()
            .saturating_sub(usize::try_from(BACKLOG_MAX).unwrap_or(usize::MAX));
        next = came.get(kept).copied();
        came.truncate(kept);
    }
    let left = usize::from(next.is_some_and(|next| next.due <= now)) * LOOK_MAX;
    let mut decision = Decision {
        skips: Vec::new(),
        action: None,
        decided: standing.decided,
        next,
    };
    let count = came.len();
    for (place, one) in came.iter().enumerate() {
        let later = (count - place - 1).saturating_add(left);
        decision.decided = one.at;
        match judge(rule, standing, *one, (later, now)) {
            Err(reason) => skip(&mut decision.skips, one.at, reason),
            Ok(action) => {
                decision.action = Some((*one, action));
                decision.next = came.get(place + 1).copied().or(next);
                break;
            }
        }
    }
    decision
}

/// Whether the first of the times that wait may be started now.
pub fn may_release(rule: &Rule, standing: &Standing, now: Timestamp) -> bool {
    standing.queued > 0 && !standing.is_active && !standing.is_paused && closed(rule, now).is_none()
}

/// What is done at one time, of which `later` further ones have come.
fn judge(
    rule: &Rule,
    standing: &Standing,
    tick: Tick,
    (later, now): (usize, Timestamp),
) -> Result<Action, SkipReason> {
    if standing.is_paused {
        return Err(SkipReason::Paused);
    }
    // Both when it was due and when it would start, so that it does not depend on who was there.
    if let Some(reason) = closed(rule, tick.due).or_else(|| closed(rule, now)) {
        return Err(reason);
    }
    let kept = match rule.catch_up {
        CatchUp::None if now.since(tick.due) > MISSED_AFTER => return Err(SkipReason::Missed),
        CatchUp::None => u32::MAX,
        CatchUp::Latest => 1,
        CatchUp::All(count) => count.clamp(1, BACKLOG_MAX),
    };
    if u32::try_from(later).unwrap_or(u32::MAX) >= kept {
        return Err(SkipReason::Superseded);
    }
    match rule.overlap {
        Overlap::Cancel if later > 0 => Err(SkipReason::Superseded),
        Overlap::Cancel if standing.is_active => Ok(Action::CancelAndStart),
        Overlap::Skip if standing.is_active => Err(SkipReason::Overlap),
        Overlap::Queue if standing.queued >= BACKLOG_MAX => Err(SkipReason::QueueFull),
        // Whoever waits goes first.
        Overlap::Queue if standing.is_active || standing.queued > 0 => Ok(Action::Queue),
        Overlap::Skip | Overlap::Queue | Overlap::Cancel => Ok(Action::Start),
    }
}

/// Why nothing may be started at an instant.
fn closed(rule: &Rule, at: Timestamp) -> Option<SkipReason> {
    if rule
        .freezes
        .iter()
        .any(|freeze| freeze.from <= at && at < freeze.until)
    {
        return Some(SkipReason::Frozen);
    }
    let is_open = |window: &Window| {
        // Strictly after is what `times` says, and a window is open from its first instant on, until before its last.
        let opened = times(&window.opens, &rule.zone, at.minus(window.length))
            .by(at)
            .next();
        opened.is_some_and(|opened| opened <= at)
    };
    let is_out = !rule.windows.is_empty() && !rule.windows.iter().any(is_open);
    is_out.then_some(SkipReason::OutsideWindow)
}

fn skip(skips: &mut Vec<Skip>, at: Timestamp, reason: SkipReason) {
    if let Some(last) = skips.last_mut()
        && last.reason == reason
    {
        (last.through, last.times) = (at, last.times.saturating_add(1));
        return;
    }
    skips.push(Skip {
        from: at,
        through: at,
        times: 1,
        reason,
    });
}

/// A time and when it is due: the same whoever works it out, and whenever.
fn tick(rule: &Rule, standing: &Standing, at: Timestamp) -> Tick {
    let millis = u64::try_from(rule.jitter.min(JITTER_MAX).as_millis()).unwrap_or(0);
    let digest = Digest::of_parts(&[&standing.seed.to_be_bytes(), &at.as_micros().to_be_bytes()]);
    let dice = digest
        .as_bytes()
        .iter()
        .take(8)
        .fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    Tick {
        at,
        due: at.plus(Duration::from_millis(dice % millis.saturating_add(1))),
    }
}

#[cfg(test)]
mod tests;
