//! Stable codes for everything that leaves a process. A code never changes its meaning and is never used again; each has a heading in
//! `docs/errors.md` that says what happened, why, and what to do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $title:literal;)*) => {
        /// A stable refusal or failure code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number after the `W`.
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// What happened, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    // 00xx: the door: requests and configuration.
    /// A request, message or file is malformed.
    Malformed = 1, "input is malformed";
    /// A request, message or file is larger than its bound.
    TooLarge = 2, "input is too large";
    /// The thing named does not exist.
    NotFound = 3, "not found";
    /// The state of the thing does not allow this.
    Conflict = 4, "the present state does not allow this";
    /// The caller did not say who it is, or its token is not valid.
    Unauthenticated = 5, "authentication needed";
    /// The caller may not do this.
    Forbidden = 6, "not permitted";
    /// The same idempotency key came with another request.
    IdempotencyMismatch = 7, "idempotency key was used for another request";
    /// A POST came without an idempotency key.
    IdempotencyMissing = 8, "idempotency key is missing";
    /// A part that is needed does not answer; try again.
    Unavailable = 9, "temporarily unavailable";
    /// Something that must not happen did; the log has the rest.
    Internal = 10, "internal error";
    /// Too many requests.
    RateLimited = 11, "too many requests";
    /// The configuration file or environment is wrong.
    BadConfiguration = 12, "configuration is wrong";
    /// No agent matches the targets.
    NoTargets = 13, "no agent matches the targets";

    // 01xx: what a config says is the compiler's (`writ-plan`); here is what a host's operator says, and how hosts are reached by ssh.
    /// The egress policy of the host cannot be used.
    EgressPolicyInvalid = 139, "egress policy is wrong";
    /// Nothing is sent to receivers of alerts.
    AlertsOff = 150, "alerts are off";
    /// The system's ssh did not bring us to a host.
    SshUnreachable = 161, "host is not reached by ssh";
    /// The agent at hand is a program for another kind of machine.
    OtherPlatform = 162, "host is of another platform";
    /// The agent did not come whole to a host, or cannot be started there.
    NotCarried = 163, "agent cannot be carried to the host";
    /// The other end of an ssh connection went before the agent said a word.
    EndedUnspoken = 164, "host ended before its agent spoke";
    /// A provider does not do what it owes.
    ProviderFails = 165, "provider failed the conformance suite";
    /// The examples that a provider is to be asked for cannot be used.
    ExamplesUnusable = 166, "examples of a provider cannot be used";
    /// A config in CUE, and nothing that evaluates it.
    CueMissing = 170, "cue is not installed";
    /// What `cue` says of a config.
    CueFails = 171, "config in CUE does not evaluate";
    /// Whom a plan's config means, or the trust policy, is not what it was when the plan was made.
    PlanOutdated = 172, "other hosts are meant, or another policy rules, than when the plan was made";

    // 02xx: trust.
    /// A signature is missing, wrong, or by a key without the role.
    SignatureInvalid = 200, "signature invalid";
    /// A document's days are over or have not begun.
    Expired = 201, "expired";
    /// The document is meant for another agent.
    WrongAudience = 202, "meant for another agent";
    /// The document belongs to another tenant.
    WrongTenant = 203, "belongs to another tenant";
    /// The document is older than one seen before.
    Regressed = 204, "older than what was seen before";
    /// The wall clock cannot be trusted for expiry.
    ClockUntrusted = 205, "clock cannot be trusted";
    /// The bundle's bytes do not match their digest or length.
    DigestMismatch = 206, "bytes do not match their digest";
    /// The join token is unknown, used up or expired.
    JoinTokenInvalid = 207, "join token is not valid";
    /// The agent is in quarantine.
    Quarantined = 208, "agent is in quarantine";
    /// Two processes speak with one identity.
    CloneDetected = 209, "two processes share one identity";
    /// Evidence is missing: a gap, a removed frame or file.
    EvidenceIncomplete = 210, "evidence incomplete";
    /// Two different records claim one sequence number.
    Fork = 211, "record chain forks";
    /// Records are missing between what is stored and what came.
    Gap = 212, "record chain has a gap";
    /// A restored ledger asks for records that the agent's journal has let go of.
    RecordsGone = 213, "records are gone";

    // 03xx: execution.
    /// An order's lease ran out before its steps had started.
    LeaseExpired = 300, "lease ran out";
    /// A halt stops the order.
    Halted = 301, "halted";
    /// The order was cancelled.
    Cancelled = 302, "cancelled";
    /// The disk's reserve is reached; nothing new is accepted.
    DiskFull = 303, "disk reserve reached";
    /// A limit could not be set or reads back differently.
    LimitUnavailable = 304, "a limit cannot be enforced on this host";
    /// The isolation asked for is not to be had on this host.
    IsolationUnavailable = 305, "isolation cannot be had on this host";
    /// A step failed: its exit code, or what it should bring about did not come.
    StepFailed = 306, "step failed";
    /// A step was ended at one of its limits.
    LimitExceeded = 307, "step reached a limit";
    /// After a crash nobody knows whether a `once` step took effect.
    Indeterminate = 308, "outcome unknown; the step must not start twice";
    /// A resource that this one depends on did not succeed.
    DependencyFailed = 309, "a dependency did not succeed";
    /// The bundle could not be fetched.
    BundleUnavailable = 310, "bundle cannot be fetched";
    /// The graph breaks a rule or needs a provider this agent does not have.
    GraphInvalid = 311, "graph is not valid";
    /// The host is not in the state that the plan was made for.
    Stale = 312, "the host changed since the plan was made";
    /// The order's grant is used up.
    GrantExhausted = 313, "grant is used up";
    /// The agent is draining.
    Draining = 314, "agent is draining";
    /// The agent did not answer within the order's time.
    Unresolved = 315, "no word from the agent in time";
    /// An artefact is missing, too large or not a regular file.
    ArtefactRefused = 316, "artefact refused";
    /// A trial, or what came of one, where only strict work counts.
    InputNotStrict = 317, "not from strict work";
    /// What the agent kept of a halt is damaged or does not verify any more; it counts as a halt of everything.
    HaltUnreadable = 318, "a kept halt cannot be read";
    /// A lockdown is in force, and this would change what it covers.
    LockedDown = 319, "locked down";
    /// Too many hosts of a rollout failed; the order was never begun.
    RolloutStopped = 330, "too many hosts failed; not begun";

    // 04xx: the journal.
    /// The journal is damaged in its middle; it was set aside.
    JournalDamaged = 400, "journal damaged; set aside";
    /// The journal's torn tail was cut.
    JournalTorn = 401, "journal's torn tail was cut";
    /// The journal's disk failed to flush.
    JournalSyncFailed = 402, "disk failed to flush";
    /// The journal belongs to another host or identity.
    JournalForeign = 403, "journal belongs to another host";

    // 05xx: the controller's ledger and bus.
    /// The database's schema is not one this build knows.
    SchemaVersion = 500, "database schema is not supported";
    /// The database was restored or replaced without raising the epoch.
    EpochNotRaised = 501, "database changed its life without a new epoch";
    /// Another controller holds the lease.
    LeaseLost = 502, "lease held by another controller";
    /// The bus differs from the ledger and was repaired.
    BusDiverged = 503, "bus differed from the ledger";
    /// A message could not be understood and was set aside.
    DeadLetter = 504, "message set aside";
    /// The budget does not cover the order.
    BudgetExhausted = 505, "budget exhausted";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "W{:04}", self.number())
    }
}

/// The text is no code of this build.
#[derive(Debug, thiserror::Error)]
#[error("not a known code: {text:?}")]
pub struct UnknownCode {
    text: String,
}

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text
            .strip_prefix('W')
            .filter(|n| n.len() == 4)
            .and_then(|n| n.parse::<u16>().ok());
        Self::ALL
            .iter()
            .copied()
            .find(|code| Some(code.number()) == number)
            .ok_or_else(|| UnknownCode {
                text: text.chars().take(16).collect(),
            })
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_read_back() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert_eq!(code.to_string().parse::<Code>().expect("parses"), *code);
            assert!(
                Code::ALL
                    .iter()
                    .skip(i + 1)
                    .all(|other| other.number() != code.number()),
                "{code} stands twice"
            );
        }
        assert!("W9999".parse::<Code>().is_err());
        assert!("1".parse::<Code>().is_err());
    }
}
