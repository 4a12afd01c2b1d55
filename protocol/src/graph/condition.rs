//! Conditions on facts: on which hosts a resource applies. A host decides by what it knows of itself, so that one graph serves all of them.
//!
//! Facts are few, named and typed here; a condition is decided by [`Condition::holds`] alone, by whoever decides it and whatever for.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Deepest nesting of a condition.
pub const CONDITION_DEPTH_MAX: usize = 16;
/// Most comparisons and connectives of a condition.
pub const CONDITION_PARTS_MAX: usize = 64;
/// Most values that one comparison takes.
pub const CONDITION_VALUES_MAX: usize = 64;
/// Longest value, bytes.
pub const CONDITION_VALUE_BYTES_MAX: usize = 128;

/// What a host knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fact {
    /// The processor, as the kernel calls it: `x86_64`, `aarch64`.
    #[serde(rename = "arch")]
    Arch,
    /// Processors that are on.
    #[serde(rename = "cpus")]
    Cpus,
    /// The host's name.
    #[serde(rename = "hostname")]
    Hostname,
    /// The kernel's release.
    #[serde(rename = "kernel")]
    Kernel,
    /// Memory of the host, MiB.
    #[serde(rename = "memory_mib")]
    MemoryMib,
    /// `debian` or `rhel` for these and what is made from them; else the id.
    #[serde(rename = "os.family")]
    OsFamily,
    /// The distribution: `debian`, `ubuntu`, `fedora`.
    #[serde(rename = "os.id")]
    OsId,
    /// The number that its version begins with.
    #[serde(rename = "os.major")]
    OsMajor,
    /// Its version: `12`, `24.04`.
    #[serde(rename = "os.version")]
    OsVersion,
}

impl Fact {
    /// Every fact.
    pub const ALL: [Self; 9] = [
        Self::Arch,
        Self::Cpus,
        Self::Hostname,
        Self::Kernel,
        Self::MemoryMib,
        Self::OsFamily,
        Self::OsId,
        Self::OsMajor,
        Self::OsVersion,
    ];

    /// Its name in configs and graphs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arch => "arch",
            Self::Cpus => "cpus",
            Self::Hostname => "hostname",
            Self::Kernel => "kernel",
            Self::MemoryMib => "memory_mib",
            Self::OsFamily => "os.family",
            Self::OsId => "os.id",
            Self::OsMajor => "os.major",
            Self::OsVersion => "os.version",
        }
    }

    /// Whether it is a number; all others are texts.
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Cpus | Self::MemoryMib | Self::OsMajor)
    }
}

/// What one host knows. A fact that it cannot tell is not there; numbers stand in decimal.
pub type Facts = BTreeMap<Fact, String>;

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// `==`
    Equal,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// Every comparison with its sign.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Equal, "=="),
        (Self::Below, "<"),
        (Self::AtMost, "<="),
        (Self::Above, ">"),
        (Self::AtLeast, ">="),
    ];

    const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }

    const fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Below => left < right,
            Self::AtMost => left <= right,
            Self::Above => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// On which hosts a resource applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Condition {
    /// All of them hold.
    All(Vec<Condition>),
    /// One of them holds.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// The text is one of these.
    #[serde(rename_all = "camelCase")]
    OneOf {
        /// A text.
        fact: Fact,
        /// What it may be.
        values: Vec<String>,
    },
    /// The number compares so.
    #[serde(rename_all = "camelCase")]
    Number {
        /// A number.
        fact: Fact,
        /// How.
        is: Comparison,
        /// With what.
        value: u64,
    },
}

impl Condition {
    /// Whether it holds on a host with these facts. What need not be known to decide it is not asked for: from left to right, `all` ends at
    /// what does not hold and `any` at what does.
    ///
    /// # Errors
    /// The fact that decides and that the host does not tell.
    pub fn holds(&self, facts: &Facts) -> Result<bool, Fact> {
        match self {
            Self::All(parts) => {
                for part in parts {
                    if !part.holds(facts)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(parts) => {
                for part in parts {
                    if part.holds(facts)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(part) => part.holds(facts).map(|holds| !holds),
            Self::OneOf { fact, values } => facts.get(fact).map(|found| values.contains(found)).ok_or(*fact),
            Self::Number { fact, is, value } => facts
                .get(fact)
                .and_then(|found| found.parse().ok())
                .map(|found| is.holds(found, *value))
                .ok_or(*fact),
        }
    }

    /// Checks its bounds and that every fact is compared as what it is.
    ///
    /// # Errors
    /// The rule that it breaks, in words.
    pub fn validate(&self) -> Result<(), String> {
        let mut left = CONDITION_PARTS_MAX;
        self.check(CONDITION_DEPTH_MAX, &mut left)
    }

    fn check(&self, depth: usize, left: &mut usize) -> Result<(), String> {
        let deeper = depth
            .checked_sub(1)
            .ok_or_else(|| format!("a condition nests deeper than {CONDITION_DEPTH_MAX} levels"))?;
        *left = left
            .checked_sub(1)
            .ok_or_else(|| format!("a condition has more than {CONDITION_PARTS_MAX} parts"))?;
        match self {
            Self::All(parts) | Self::Any(parts) => {
                if parts.is_empty() {
                    return Err("a condition connects nothing".to_owned());
                }
                parts.iter().try_for_each(|part| part.check(deeper, left))
            }
            Self::Not(part) => part.check(deeper, left),
            Self::OneOf { fact, .. } if fact.is_number() => Err(format!("`{}` is a number", fact.name())),
            Self::Number { fact, .. } if !fact.is_number() => Err(format!("`{}` is a text", fact.name())),
            Self::OneOf { values, .. } => {
                let good = |text: &String| {
                    text.len() <= CONDITION_VALUE_BYTES_MAX && !text.chars().any(char::is_control)
                };
                if values.is_empty() || values.len() > CONDITION_VALUES_MAX || !values.iter().all(good) {
                    return Err(format!(
                        "a comparison takes 1 to {CONDITION_VALUES_MAX} texts of at most {CONDITION_VALUE_BYTES_MAX} bytes"
                    ));
                }
                Ok(())
            }
            Self::Number { .. } => Ok(()),
        }
    }

    fn is_connective(&self) -> bool {
        matches!(self, Self::All(parts) | Self::Any(parts) if parts.len() > 1)
    }
}

/// As a config would say it.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, part: &Self| {
            if part.is_connective() {
                write!(f, "({part})")
            } else {
                write!(f, "{part}")
            }
        };
        match self {
            Self::All(parts) | Self::Any(parts) => {
                let word = if matches!(self, Self::All(_)) { "and" } else { "or" };
                for (index, one) in parts.iter().enumerate() {
                    if index > 0 {
                        write!(f, " {word} ")?;
                    }
                    part(f, one)?;
                }
                Ok(())
            }
            Self::Not(one) => {
                f.write_str("not ")?;
                part(f, one)
            }
            Self::OneOf { fact, values } => match values.as_slice() {
                [value] => write!(f, "{} == \"{value}\"", fact.name()),
                values => {
                    let values: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
                    write!(f, "{} in [{}]", fact.name(), values.join(", "))
                }
            },
            Self::Number { fact, is, value } => write!(f, "{} {} {value}", fact.name(), is.sign()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(fact: Fact, value: &str) -> Condition {
        Condition::OneOf {
            fact,
            values: vec![value.to_owned()],
        }
    }

    fn facts(pairs: &[(Fact, &str)]) -> Facts {
        pairs
            .iter()
            .map(|(fact, text)| (*fact, (*text).to_owned()))
            .collect()
    }

    #[test]
    fn conditions_are_decided_from_left_to_right_and_ask_for_no_more_than_they_need() {
        let major = |is, value| Condition::Number {
            fact: Fact::OsMajor,
            is,
            value,
        };
        let new_debian = Condition::All(vec![is(Fact::OsId, "debian"), major(Comparison::AtLeast, 12)]);
        let host = |id: &str, major: &str| facts(&[(Fact::OsId, id), (Fact::OsMajor, major)]);
        assert_eq!(new_debian.holds(&host("debian", "12")), Ok(true));
        assert_eq!(
            new_debian.holds(&host("debian", "9")),
            Ok(false),
            "numbers, not texts"
        );
        assert_eq!(new_debian.holds(&facts(&[(Fact::OsId, "alpine")])), Ok(false));
        assert_eq!(
            new_debian.holds(&facts(&[(Fact::OsId, "debian")])),
            Err(Fact::OsMajor)
        );
        assert_eq!(new_debian.holds(&Facts::new()), Err(Fact::OsId));
        let other = Condition::Not(Box::new(Condition::Any(vec![new_debian, is(Fact::Arch, "arm")])));
        assert_eq!(other.holds(&host("debian", "12")), Ok(false));
        assert_eq!(
            other.to_string(),
            "not ((os.id == \"debian\" and os.major >= 12) or arch == \"arm\")"
        );
    }

    #[test]
    fn facts_have_the_names_they_are_written_with() {
        for fact in Fact::ALL {
            assert_eq!(serde_json::to_value(fact).expect("is JSON"), fact.name());
        }
        for (comparison, sign) in Comparison::ALL {
            assert_eq!(comparison.sign(), sign);
        }
    }

    #[test]
    fn kinds_and_bounds_are_checked() {
        let deep = (0..CONDITION_DEPTH_MAX).fold(is(Fact::Arch, "x"), |one, _| Condition::Not(Box::new(one)));
        let wide = Condition::Any(vec![is(Fact::Arch, "x"); CONDITION_PARTS_MAX]);
        let number = Condition::Number {
            fact: Fact::Arch,
            is: Comparison::Equal,
            value: 1,
        };
        for bad in [
            deep,
            wide,
            number,
            is(Fact::Cpus, "4"),
            is(Fact::Arch, "a\nb"),
            Condition::All(vec![]),
        ] {
            assert!(bad.validate().is_err(), "{bad} went through");
        }
        assert_eq!(is(Fact::Arch, "x86_64").validate(), Ok(()));
    }
}
