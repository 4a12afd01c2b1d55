//! Typed ids. Each is a UUID (version 7 when made by a process, so that it sorts by time), so an id of one kind cannot stand for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an id of the wanted kind.
#[derive(Debug, thiserror::Error)]
#[error("not a {kind} id: {text:?}; {prefix}_ and a UUID are wanted")]
pub struct ParseIdError {
    kind: &'static str,
    prefix: &'static str,
    text: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What stands before the UUID in the text form.
            pub const PREFIX: &'static str = $prefix;

            /// An id with the given UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, self.0.as_simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($prefix)
                    .and_then(|rest| rest.strip_prefix('_'))
                    .filter(|rest| rest.len() == 32 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                    .and_then(|rest| Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or_else(|| ParseIdError { kind: $kind, prefix: $prefix, text: text.chars().take(64).collect() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(self.0.as_bytes())
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
                    Uuid::from_slice(&bytes).map(Self).map_err(serde::de::Error::custom)
                }
            }
        }
    )*};
}

ids! {
    /// An enrolled agent: the process with a key on one host.
    AgentId, "agent", "agent";
    /// One plan carried out over its hosts.
    RunId, "run", "run";
    /// One instruction to one agent.
    OrderId, "order", "order";
    /// One life of an agent's journal; a new one begins when the old cannot be trusted.
    JournalId, "journal", "journal";
    /// One life of an agent's process.
    SessionId, "session", "session";
    /// A one-time permission to enrol.
    JoinTokenId, "join", "join token";
    /// A signed stop.
    HaltId, "halt", "halt";
    /// Something that went wrong, and what became of it.
    IncidentId, "incident", "incident";
    /// An operator's API token.
    TokenId, "token", "API token";
    /// One life of a controller process: the holder of leases.
    ControllerId, "controller", "controller";
    /// What is started when.
    ScheduleId, "schedule", "schedule";
    /// A resource on a host that is, or was, not as its plan wants it.
    DriftId, "drift", "finding";
    /// What somebody said beforehand about drift.
    SuppressionId, "suppression", "suppression";
    /// What was begun against drift.
    RemediationId, "remediation", "remediation";
    /// One notification of one receiver.
    AlertId, "alert", "notification";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_one_kind_is_not_an_id_of_another() {
        let run = RunId::from_uuid(Uuid::from_u128(7));
        assert_eq!(run.to_string(), "run_00000000000000000000000000000007");
        assert_eq!(run.to_string().parse::<RunId>().expect("parses"), run);
        assert!(run.to_string().parse::<OrderId>().is_err());
        assert!("run_7".parse::<RunId>().is_err());
        assert!("run_0000000000000000000000000000000G".parse::<RunId>().is_err());
    }
}
