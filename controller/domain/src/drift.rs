//! Drift: what a difference between a host and its last applied plan means, and how a finding about it lives. [`mod@classify`] says the one,
//! [`finding`] the other, [`watch`] whether an answer is still to be believed, [`noise`] what somebody said beforehand.

pub mod classify;
pub mod finding;
pub mod noise;
pub mod watch;

/// What a difference is about. Later ones count first where several are as severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// There is no difference.
    None,
    /// Somebody has said beforehand that there will be one.
    Expected,
    /// Nobody could see, or nobody knows what it means.
    Unknown,
    /// The host has no room to be looked at.
    Capacity,
    /// Something is set up otherwise.
    Configuration,
    /// Something that should work does not.
    Availability,
    /// Who may do what is otherwise. For operators only.
    Security,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Expected,
        Self::Unknown,
        Self::Capacity,
        Self::Configuration,
        Self::Availability,
        Self::Security,
    ];

    /// Its name in the ledger, the API and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Expected => "expected",
            Self::Unknown => "unknown",
            Self::Capacity => "capacity",
            Self::Configuration => "configuration",
            Self::Availability => "availability",
            Self::Security => "security",
        }
    }

    /// The class of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Whether only operators are told: what a weakness is, is not for everybody who may look.
    pub const fn is_for_operators(self) -> bool {
        matches!(self, Self::Security)
    }
}

/// How bad a difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing depends on it.
    Info,
    /// Somebody should look.
    Warn,
    /// Somebody should look now.
    Critical,
}

impl Severity {
    /// Every severity, the mildest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warn, Self::Critical];

    /// Its name in the ledger, the API and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Critical => "critical",
        }
    }

    /// The severity of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }
}
