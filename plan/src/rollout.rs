//! How fast an apply may spread over its hosts, and when it must not spread any further: the words of a config's `rollout` and of `writ apply`.
//!
//! Here they are what somebody wrote: counts, and percents of targets that nobody has counted yet. What they come to for a run is worked out
//! once, when it is ordered ([`Frozen`]).

mod frozen;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use frozen::{Decision, Frozen, Standing, Wider};

/// Most hosts that a count may name.
pub const COUNT_MAX: u32 = 100_000;
/// Most waves of one rollout.
pub const WAVES_MAX: usize = 32;

/// A number of hosts, or a part of a run's targets. Written `10` or `20%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many hosts, at most [`COUNT_MAX`].
    Count(u32),
    /// Whole hundredths of the targets, 0 to 100.
    Percent(u8),
}

/// A text that is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no number of hosts: write a whole number up to {COUNT_MAX}, such as `10`, or a part of the targets, such as `20%`"
)]
pub struct BadShare {
    /// What was written; at most 40 characters of it.
    pub text: String,
}

impl Share {
    /// Whether it is nothing at all, of however many targets.
    pub const fn is_zero(self) -> bool {
        matches!(self, Self::Count(0) | Self::Percent(0))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(hosts) => write!(f, "{hosts}"),
            Self::Percent(hundredths) => write!(f, "{hundredths}%"),
        }
    }
}

impl FromStr for Share {
    type Err = BadShare;

    fn from_str(text: &str) -> Result<Self, BadShare> {
        let bad = || BadShare {
            text: text.chars().take(40).collect(),
        };
        let (digits, is_percent) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let number: u32 = digits.parse().map_err(|_| bad())?;
        if is_percent {
            let hundredths = u8::try_from(number).ok().filter(|n| *n <= 100);
            return hundredths.map(Self::Percent).ok_or_else(bad);
        }
        (number <= COUNT_MAX)
            .then_some(Self::Count(number))
            .ok_or_else(bad)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a config, or somebody who applies a plan, says of how it spreads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollout {
    /// Most hosts at work at once; all of them where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Share>,
    /// How many hosts may fail before no further host is begun; none where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_threshold: Option<Share>,
    /// How many hosts in all are begun before the next are, at most [`WAVES_MAX`]; all at once where it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Share>,
}

impl Rollout {
    /// The first thing about it that cannot be, in words; nothing where it holds together.
    pub fn problem(&self) -> Option<&'static str> {
        if self.concurrency.is_some_and(Share::is_zero) {
            return Some("`concurrency` must let at least one host be at work");
        }
        if self.waves.len() > WAVES_MAX {
            return Some("there are more waves than 32");
        }
        if self.waves.iter().any(|wave| wave.is_zero()) {
            return Some("a wave must have at least one host");
        }
        let shrinks = |pair: &[Share]| match pair {
            [Share::Count(a), Share::Count(b)] => b <= a,
            [Share::Percent(a), Share::Percent(b)] => b <= a,
            _ => false,
        };
        if self.waves.windows(2).any(shrinks) {
            return Some(
                "`waves` are how many hosts there are in all by then, so each is larger than the one before",
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_they_are_written() {
        for text in ["0", "10", "100000", "0%", "5%", "100%"] {
            let share: Share = text.parse().unwrap();
            assert_eq!(share.to_string(), text);
            let json = serde_json::to_string(&share).unwrap();
            assert_eq!(serde_json::from_str::<Share>(&json).unwrap(), share);
        }
        for text in [
            "", "%", "-1", "+1", "1.5", "101%", "100001", "9999999", "10 %", "1e3", "ten",
        ] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_told() {
        let waves = |texts: &[&str]| Rollout {
            waves: texts.iter().map(|t| t.parse().unwrap()).collect(),
            ..Rollout::default()
        };
        for good in [&["1", "10%", "100%"][..], &["10%", "5"], &[]] {
            assert_eq!(waves(good).problem(), None, "{good:?}");
        }
        for bad in [&["1", "1"][..], &["50%", "10%"], &["0"], &["1"; 33]] {
            assert!(waves(bad).problem().is_some(), "{bad:?}");
        }
        let none = Rollout {
            concurrency: Some(Share::Percent(0)),
            ..Rollout::default()
        };
        assert!(none.problem().unwrap().contains("concurrency"));
    }
}
