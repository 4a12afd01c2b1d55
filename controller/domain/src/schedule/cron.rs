//! Cron expressions: five fields, read into sets. What they mean on a calendar with a time zone stands in `calendar`.

use std::fmt;

/// Longest expression, bytes.
pub const CRON_BYTES_MAX: usize = 256;

/// Names of months, January first.
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
/// Names of weekdays, Sunday first.
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Shorthands, and what they stand for.
const SHORTHANDS: [(&str, &str); 6] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
];
/// Most days that each month can have, January first.
const DAYS_OF_MONTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Why an expression was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It has not five fields.
    #[error(
        "a schedule has five fields (minute hour day-of-month month day-of-week), such as \"0 2 * * 1-5\", or is one of @hourly, @daily, @weekly, @monthly, @yearly; this has {found}"
    )]
    Fields {
        /// How many there are.
        found: usize,
    },
    /// A field cannot be read.
    #[error("{text:?} is no {field}: {wanted}")]
    Field {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
        /// What may stand there.
        wanted: &'static str,
    },
    /// No calendar has such a day.
    #[error("{text:?} names days that none of its months has")]
    Never {
        /// The expression.
        text: String,
    },
    /// It is too long.
    #[error("a schedule is at most {CRON_BYTES_MAX} bytes")]
    Long,
}

/// A cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    last_day: bool,
    months: u64,
    weekdays: u64,
    /// Where both kinds of days are named, either will do.
    either_day: bool,
    names_hours: bool,
    text: String,
}

/// One field: its name, its bounds, names of its values, and what to say of it.
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
    wanted: &'static str,
}

const MINUTE: Field = Field {
    name: "minute",
    low: 0,
    high: 59,
    names: &[],
    wanted: "0 to 59, `*`, ranges `1-5`, steps `*/10`, lists `1,2`",
};
const HOUR: Field = Field {
    name: "hour",
    low: 0,
    high: 23,
    names: &[],
    wanted: "0 to 23, `*`, ranges `1-5`, steps `*/2`, lists `1,2`",
};
const DAY: Field = Field {
    name: "day of the month",
    low: 1,
    high: 31,
    names: &[],
    wanted: "1 to 31, `L` for the last, `*`, ranges `1-5`, steps `*/2`, lists `1,15`",
};
const MONTH: Field = Field {
    name: "month",
    low: 1,
    high: 12,
    names: &MONTHS,
    wanted: "1 to 12 or jan to dec, `*`, ranges, steps, lists",
};
const WEEKDAY: Field = Field {
    name: "day of the week",
    low: 0,
    high: 7,
    names: &WEEKDAYS,
    wanted: "0 to 7 (0 and 7 are Sunday) or sun to sat, `*`, ranges `mon-fri`, steps, lists",
};

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`CronError`], naming the field.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        if text.len() > CRON_BYTES_MAX {
            return Err(CronError::Long);
        }
        let lower = text.trim().to_ascii_lowercase();
        let known = SHORTHANDS.iter().find(|(name, _)| *name == lower);
        let whole = known.map_or(lower.as_str(), |(_, meaning)| *meaning);
        let fields: Vec<&str> = whole.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::Fields { found: fields.len() });
        };
        let (days, last_day) = days(day)?;
        let weekdays = WEEKDAY.set(weekday)?;
        let cron = Self {
            minutes: MINUTE.set(minute)?,
            hours: HOUR.set(hour)?,
            days,
            last_day,
            months: MONTH.set(month)?,
            // Both 0 and 7 are Sunday.
            weekdays: weekdays | (weekdays >> 7 & 1),
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
            names_hours: !hour.starts_with('*'),
            text: fields.join(" "),
        };
        if cron.is_possible() {
            Ok(cron)
        } else {
            Err(CronError::Never {
                text: cron.text.clone(),
            })
        }
    }

    /// Whether the hours are named (`2`, `1-3`, `0,12`), not counted (`*`, `*/2`): named times come once a day whatever clocks do.
    pub const fn names_hours(&self) -> bool {
        self.names_hours
    }

    /// Minutes of a day that match, in order.
    pub fn minutes_of_day(&self) -> impl Iterator<Item = (i8, i8)> + '_ {
        members(self.hours).flat_map(|hour| members(self.minutes).map(move |minute| (hour, minute)))
    }

    /// Whether a day matches. `weekday` counts from Sunday, 0.
    pub const fn has_day(&self, month: u32, day: u32, weekday: u32, last_of_month: u32) -> bool {
        let named = self.days >> day & 1 == 1 || self.last_day && day == last_of_month;
        let by_weekday = self.weekdays >> weekday & 1 == 1;
        let fits = if self.either_day {
            named || by_weekday
        } else {
            named && by_weekday
        };
        fits && self.months >> month & 1 == 1
    }

    fn is_possible(&self) -> bool {
        self.last_day
            || self.either_day
            || (1_u32..)
                .zip(DAYS_OF_MONTHS)
                .filter(|(month, _)| self.months >> month & 1 == 1)
                .any(|(_, last)| (1..=last).any(|day| self.days >> day & 1 == 1))
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Days of the month, and whether the last is among them.
fn days(text: &str) -> Result<(u64, bool), CronError> {
    let (last, rest): (Vec<&str>, Vec<&str>) = text.split(',').partition(|part| *part == "l");
    if rest.is_empty() {
        return Ok((0, true));
    }
    Ok((DAY.set(&rest.join(","))?, !last.is_empty()))
}

fn members(set: u64) -> impl Iterator<Item = i8> {
    (0_i8..64).filter(move |bit| set >> bit & 1 == 1)
}

impl Field {
    fn set(&self, text: &str) -> Result<u64, CronError> {
        text.split(',')
            .map(|part| self.part(part))
            .try_fold(0, |all, part| Some(all | part?))
            .ok_or_else(|| CronError::Field {
                field: self.name,
                text: text.to_owned(),
                wanted: self.wanted,
            })
    }

    /// One part of a list: `*`, `5`, `1-5`, and any of them but a single value with `/n`.
    fn part(&self, text: &str) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (text, None),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (self.low, self.high),
            (_, Some((from, to))) => (self.value(from)?, self.value(to)?),
            (one, None) if step.is_none() => (self.value(one)?, self.value(one)?),
            (_, None) => return None,
        };
        let step = step.unwrap_or(1);
        if step == 0 || step > self.high || from > to {
            return None;
        }
        let values = (from..=to).filter(|value| (value - from).is_multiple_of(step));
        Some(values.fold(0, |set, value| set | 1 << value))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().zip(self.low..).find(|(name, _)| **name == text);
        let value = named.map_or_else(|| number(text), |(_, value)| Some(value))?;
        (self.low..=self.high).contains(&value).then_some(value)
    }
}

/// A number of at most two digits, without a sign.
fn number(text: &str) -> Option<u32> {
    let fine = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fine.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_people_write_them() {
        for (text, shown) in [
            ("0 2 * * *", "0 2 * * *"),
            (
                "  */15  1-3,5 1,L JAN-mar Mon-FRI ",
                "*/15 1-3,5 1,l jan-mar mon-fri",
            ),
            ("@daily", "0 0 * * *"),
            ("0 0 * * 7", "0 0 * * 7"),
            ("0-30/10 * L 2 *", "0-30/10 * l 2 *"),
            ("0 0 29 2 *", "0 0 29 2 *"),
            ("0 0 31 2 1", "0 0 31 2 1"),
        ] {
            assert_eq!(Cron::parse(text).expect(text).to_string(), shown);
        }
        let sunday = Cron::parse("0 0 * * 7").expect("parses");
        assert!(sunday.has_day(11, 22, 0, 30) && !sunday.has_day(11, 23, 1, 30));
        let either = Cron::parse("0 0 13 * fri").expect("parses");
        assert!(
            either.has_day(11, 13, 5, 30) && either.has_day(11, 20, 5, 30) && either.has_day(12, 13, 0, 31)
        );
        let last = Cron::parse("0 0 L * *").expect("parses");
        assert!(last.has_day(2, 28, 6, 28) && !last.has_day(2, 28, 6, 29) && !last.has_day(1, 28, 3, 31));
    }

    #[test]
    fn what_is_none_is_refused_with_its_field() {
        for (text, field) in [
            ("60 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of the month"),
            ("* * * 13 *", "month"),
            ("* * * * 8", "day of the week"),
            ("5/10 * * * *", "minute"),
            ("5-1 * * * *", "minute"),
            ("*/0 * * * *", "minute"),
            ("+5 * * * *", "minute"),
            ("1, * * * *", "minute"),
            ("1-2-3 * * * *", "minute"),
            ("* * * foo *", "month"),
        ] {
            match Cron::parse(text) {
                Err(CronError::Field { field: found, .. }) => assert_eq!(found, field, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(matches!(Cron::parse(""), Err(CronError::Fields { found: 0 })));
        assert!(matches!(
            Cron::parse("0 0 0 1 1 *"),
            Err(CronError::Fields { found: 6 })
        ));
        assert!(matches!(Cron::parse("0 0 30 2 *"), Err(CronError::Never { .. })));
        assert!(matches!(
            Cron::parse("0 0 31 4,6 *"),
            Err(CronError::Never { .. })
        ));
        assert!(matches!(Cron::parse(&" ".repeat(300)), Err(CronError::Long)));
    }
}
