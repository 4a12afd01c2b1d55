//! When a cron expression comes round in a time zone.
//!
//! Two sentences hold on every day on which clocks are changed. Named hours (`30 2`, `0,30 1-3`) come once: a time that the day leaves out comes at the
//! first instant after the gap, one that it has twice comes the first time. Counted hours (`*`, `*/2`) go on as hours do: what the day leaves out is
//! left out, what it has twice comes twice. The zones are compiled in, so that every controller knows the same ones
//! (`docs/adr/0010-times-of-schedules.md`).

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use writ_protocol::time::Timestamp;

use super::cron::Cron;

/// How far ahead the next time is looked for, days: a 29 February can be eight years away.
const DAYS_AHEAD: u32 = 366 * 9;

/// There is no such zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone {name:?}; use a name of the IANA database, such as Europe/Berlin or UTC")]
pub struct ZoneError {
    name: String,
}

/// A time zone of the IANA database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of a name, such as `Europe/Berlin`.
    ///
    /// # Errors
    /// [`ZoneError`].
    pub fn named(name: &str) -> Result<Self, ZoneError> {
        let unknown = || ZoneError {
            name: name.chars().take(64).collect(),
        };
        TimeZoneDatabase::bundled()
            .get(name)
            .map(Self)
            .map_err(|_| unknown())
    }

    /// The instant as a clock on the wall of this zone shows it, with its offset from UTC.
    pub fn show(&self, at: Timestamp) -> String {
        match jiff::Timestamp::from_microsecond(at.as_micros()) {
            Ok(at) => at
                .to_zoned(self.0.clone())
                .strftime("%Y-%m-%dT%H:%M:%S%:z")
                .to_string(),
            Err(_) => at.to_string(),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

/// Times of an expression in a zone, strictly after an instant, in order, each once.
#[derive(Debug)]
pub struct Times<'a> {
    cron: &'a Cron,
    zone: &'a Zone,
    after: jiff::Timestamp,
    /// The next day to be looked at; none at the end of the calendar.
    day: Option<Date>,
    /// The last day that is looked at.
    last: Date,
    found: BTreeSet<jiff::Timestamp>,
}

/// The times of `cron` in `zone` after an instant.
pub fn times<'a>(cron: &'a Cron, zone: &'a Zone, after: Timestamp) -> Times<'a> {
    let after = jiff::Timestamp::from_microsecond(after.as_micros()).unwrap_or(jiff::Timestamp::MAX);
    Times {
        cron,
        zone,
        after,
        day: zone.0.to_datetime(after).date().yesterday().ok(),
        last: Date::MAX,
        found: BTreeSet::new(),
    }
}

impl Iterator for Times<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        for _ in 0..DAYS_AHEAD {
            if let Some(first) = self.found.first().copied()
                && self.is_settled(first)
            {
                self.found.pop_first();
                self.after = first;
                return Some(Timestamp::from_micros(first.as_microsecond()));
            }
            let Some(day) = self.day else {
                let first = self.found.pop_first()?;
                return Some(Timestamp::from_micros(first.as_microsecond()));
            };
            self.look_at(day);
            self.day = day.tomorrow().ok().filter(|next| *next <= self.last);
        }
        None
    }
}

impl Times<'_> {
    /// Looks no further than at what comes by then; what is found may still be a little later.
    #[must_use]
    pub fn by(mut self, then: Timestamp) -> Self {
        if let Ok(then) = jiff::Timestamp::from_microsecond(then.as_micros()) {
            let day = self.zone.0.to_datetime(then).date();
            self.last = day.tomorrow().unwrap_or(Date::MAX);
        }
        self
    }

    /// Whether no day that was not looked at can hold an earlier time. Where clocks go back over midnight, the next day begins before this one ends.
    fn is_settled(&self, at: jiff::Timestamp) -> bool {
        let Some(day) = self.day else { return true };
        let of = self.zone.0.to_datetime(at).date();
        of.tomorrow().is_ok_and(|next| next < day)
    }

    fn look_at(&mut self, day: Date) {
        let (month, of_month) = (day.month().unsigned_abs(), day.day().unsigned_abs());
        let weekday = day.weekday().to_sunday_zero_offset().unsigned_abs();
        let last = day.days_in_month().unsigned_abs();
        if !self
            .cron
            .has_day(month.into(), of_month.into(), weekday.into(), last.into())
        {
            return;
        }
        for (hour, minute) in self.cron.minutes_of_day() {
            let found = instants(&self.zone.0, day.at(hour, minute, 0, 0), self.cron.names_hours());
            self.found
                .extend(found.into_iter().flatten().filter(|at| *at > self.after));
        }
    }
}

/// The instants of a time on the wall: none, one or two.
fn instants(zone: &TimeZone, wall: DateTime, is_named: bool) -> [Option<jiff::Timestamp>; 2] {
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => [offset.to_timestamp(wall).ok(), None],
        AmbiguousOffset::Fold { before, after } => {
            let again = after.to_timestamp(wall).ok().filter(|_| !is_named);
            [before.to_timestamp(wall).ok(), again]
        }
        AmbiguousOffset::Gap { .. } if !is_named => [None, None],
        // By the clock as it went before the gap the time lies behind it: the gap is the newest change until then.
        AmbiguousOffset::Gap { before, .. } => {
            let beyond = before.to_timestamp(wall).ok();
            let beyond = beyond.and_then(|at| at.checked_add(jiff::SignedDuration::from_nanos(1)).ok());
            let gap = beyond.and_then(|at| zone.preceding(at).next());
            [gap.map(|change| change.timestamp()), None]
        }
    }
}
