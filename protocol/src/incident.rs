//! Incidents: what went wrong and who answered for it, as a log in which every entry carries the digest of all before it. Whoever reads the log
//! can follow the chain alone; a byte that was changed breaks it at that entry.

use serde::{Deserialize, Serialize};

use crate::codec::CodecError;
use crate::digest::Digest;
use crate::id::{AgentId, HaltId, IncidentId, JournalId, OrderId, RunId};
use crate::time::Timestamp;

/// What stands before everything that is hashed, so that no other digest of Writ is a link of this chain.
const DOMAIN: &[u8] = b"writ-incident/v1\n";
/// Longest entry, bytes.
pub const ENTRY_BYTES_MAX: usize = 64 << 10;
/// Most orders that one entry names; the rest are counted.
pub const ORDERS_MAX: usize = 100;

/// Why there is an incident. One cause has one open incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A hard halt killed what was under way.
    Halt,
    /// Orders of a run stopped because their grants were used up.
    Budget,
    /// Money was promised to orders of a run, and no word came of what they spent.
    Dispute,
    /// An agent's evidence has two histories.
    Fork,
    /// Two processes speak as one agent.
    Clone,
    /// A report of costs is not there although its time has come.
    CostReport,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Halt,
        Self::Budget,
        Self::Dispute,
        Self::Fork,
        Self::Clone,
        Self::CostReport,
    ];

    /// Its name in the log, the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Halt => "halt",
            Self::Budget => "budget",
            Self::Dispute => "dispute",
            Self::Fork => "fork",
            Self::Clone => "clone",
            Self::CostReport => "cost-report",
        }
    }

    /// The kind of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// An order that an incident is about: where its evidence lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderRef {
    /// The order.
    pub order_id: OrderId,
    /// Where it stood.
    pub state: String,
    /// Why it ended.
    pub code: Option<String>,
    /// The agent's journal that holds its records.
    pub journal_id: Option<JournalId>,
    /// The number of its last record there.
    pub seq: Option<u64>,
    /// The digest of the agent's signed statement of its end.
    pub statement: Option<Digest>,
}

/// How an incident begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Opened {
    /// Why.
    pub kind: Kind,
    /// What it is one of: while an incident of a cause is open, there is no other.
    pub cause: String,
    /// For people.
    pub summary: String,
    /// The halt.
    pub halt_id: Option<HaltId>,
    /// The run.
    pub run_id: Option<RunId>,
    /// The agent.
    pub agent_id: Option<AgentId>,
}

/// What an entry adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// The incident begins.
    Open(Opened),
    /// Somebody has seen it.
    Ack {
        /// What they say.
        reason: String,
    },
    /// It is over.
    Close {
        /// Why.
        reason: String,
    },
    /// It holds these orders too.
    Note,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Its number, from 1, without holes, over all incidents.
    pub seq: u64,
    /// The incident.
    pub incident_id: IncidentId,
    /// When.
    pub at: Timestamp,
    /// Who: an operator's token, or `controller`.
    pub actor: String,
    /// What is added.
    pub act: Act,
    /// The orders that it is about, at most [`ORDERS_MAX`].
    pub orders: Vec<OrderRef>,
    /// How many more there are.
    pub more_orders: u64,
}

impl Entry {
    /// The text that is kept and hashed.
    ///
    /// # Errors
    /// [`CodecError`]: it is longer than [`ENTRY_BYTES_MAX`].
    pub fn encode(&self) -> Result<String, CodecError> {
        let what = "incident entry";
        let text = serde_json::to_string(self).map_err(|error| CodecError::Malformed {
            what,
            detail: error.to_string(),
        })?;
        if text.len() > ENTRY_BYTES_MAX {
            return Err(CodecError::TooLong {
                what,
                len: text.len(),
                max: ENTRY_BYTES_MAX,
            });
        }
        Ok(text)
    }
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nobody has said that they have seen it.
    Open,
    /// Somebody has.
    Acknowledged,
    /// It is over.
    Closed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Open, Self::Acknowledged, Self::Closed];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Closed => "closed",
        }
    }

    /// The state of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// An act that an incident's state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an incident that is {} cannot be {}", before.map_or("not there", State::name), act)]
pub struct IllegalAct {
    before: Option<State>,
    act: &'static str,
}

/// Where an incident stands after an act; before its first there is none.
///
/// # Errors
/// [`IllegalAct`].
pub fn apply(before: Option<State>, act: &Act) -> Result<State, IllegalAct> {
    match (before, act) {
        (None, Act::Open(_)) => Ok(State::Open),
        (Some(state @ (State::Open | State::Acknowledged)), Act::Note) => Ok(state),
        (Some(State::Open), Act::Ack { .. }) => Ok(State::Acknowledged),
        (Some(State::Open | State::Acknowledged), Act::Close { .. }) => Ok(State::Closed),
        (before, act) => Err(IllegalAct {
            before,
            act: match act {
                Act::Open(_) => "opened",
                Act::Note => "added to",
                Act::Ack { .. } => "acknowledged",
                Act::Close { .. } => "closed",
            },
        }),
    }
}

/// The end of a chain: how many entries it has, and the digest of the last. The empty chain is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Entries.
    pub seq: u64,
    /// Digest of the last, over everything before it; zero before the first.
    pub hash: Digest,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            seq: 0,
            hash: Digest::ZERO,
        }
    }
}

/// Where a chain breaks.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// An entry is not readable.
    #[error("entry {seq} is not readable: {detail}")]
    Malformed {
        /// Its number.
        seq: u64,
        /// What the parser said.
        detail: String,
    },
    /// An entry does not say its own number: one is missing, or was put in.
    #[error("entry {seq} says that it is entry {found}")]
    OutOfOrder {
        /// The number that it should have.
        seq: u64,
        /// The number that it says.
        found: u64,
    },
    /// The digest is not that of this entry after those before it.
    #[error("entry {seq} was changed, or one before it: its digest is not that of what it says")]
    Broken {
        /// Its number.
        seq: u64,
    },
    /// The entry is not allowed where its incident stands.
    #[error("entry {seq} cannot be")]
    Illegal {
        /// Its number.
        seq: u64,
        /// Why.
        #[source]
        source: IllegalAct,
    },
}

impl Head {
    /// The chain with one entry more, as it is kept.
    #[must_use]
    pub fn with(self, body: &str) -> Self {
        Self {
            seq: self.seq.saturating_add(1),
            hash: Digest::of_parts(&[DOMAIN, self.hash.as_bytes(), body.as_bytes()]),
        }
    }

    /// Follows the chain by one entry as it was kept.
    ///
    /// # Errors
    /// [`ChainError`]: it is not the next, or not what was written.
    pub fn follow(self, body: &str, hash: &Digest) -> Result<(Self, Entry), ChainError> {
        let next = self.with(body);
        if next.hash != *hash {
            return Err(ChainError::Broken { seq: next.seq });
        }
        let entry: Entry = serde_json::from_str(body).map_err(|error| ChainError::Malformed {
            seq: next.seq,
            detail: error.to_string(),
        })?;
        if entry.seq != next.seq {
            return Err(ChainError::OutOfOrder {
                seq: next.seq,
                found: entry.seq,
            });
        }
        Ok((next, entry))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn acts() -> [Act; 4] {
        let opened = Opened {
            kind: Kind::Halt,
            cause: "halt:1".to_owned(),
            summary: "s".to_owned(),
            halt_id: None,
            run_id: None,
            agent_id: None,
        };
        let reason = || "why".to_owned();
        [
            Act::Open(opened),
            Act::Note,
            Act::Ack { reason: reason() },
            Act::Close { reason: reason() },
        ]
    }

    fn entry(seq: u64, act: Act) -> Entry {
        Entry {
            seq,
            incident_id: IncidentId::from_uuid(Uuid::from_u128(1)),
            at: Timestamp::from_millis(5),
            actor: "ann".to_owned(),
            act,
            orders: Vec::new(),
            more_orders: 0,
        }
    }

    #[test]
    fn every_act_in_every_state() {
        use State::{Acknowledged, Closed, Open};
        let wanted = [
            (None, [Some(Open), None, None, None]),
            (Some(Open), [None, Some(Open), Some(Acknowledged), Some(Closed)]),
            (Some(Acknowledged), [None, Some(Acknowledged), None, Some(Closed)]),
            (Some(Closed), [None, None, None, None]),
        ];
        for (before, after) in wanted {
            for (act, after) in acts().iter().zip(after) {
                assert_eq!(apply(before, act).ok(), after, "{before:?} {act:?}");
            }
        }
        let error = apply(Some(Closed), &acts()[2]).unwrap_err().to_string();
        assert_eq!(error, "an incident that is closed cannot be acknowledged");
    }

    #[test]
    fn a_chain_is_followed_and_any_change_breaks_it() {
        let bodies: Vec<String> = (1..)
            .zip(acts())
            .map(|(n, act)| entry(n, act).encode().unwrap())
            .collect();
        let mut heads = vec![Head::default()];
        for body in &bodies {
            heads.push(heads.last().unwrap().with(body));
        }
        for (at, body) in bodies.iter().enumerate() {
            let (next, read) = heads[at].follow(body, &heads[at + 1].hash).unwrap();
            assert_eq!((next, read.encode().unwrap()), (heads[at + 1], body.clone()));
        }
        let changed = bodies[1].replace("ann", "bob");
        let broken = heads[1].follow(&changed, &heads[2].hash);
        assert!(matches!(broken, Err(ChainError::Broken { seq: 2 })), "{broken:?}");
        let left_out = heads[1].follow(&bodies[2], &heads[3].hash);
        assert!(
            matches!(left_out, Err(ChainError::Broken { seq: 2 })),
            "{left_out:?}"
        );
        // Whoever computes digests anew still has to say another number.
        let renumbered = heads[1].follow(&bodies[2], &heads[1].with(&bodies[2]).hash);
        assert!(
            matches!(renumbered, Err(ChainError::OutOfOrder { seq: 2, found: 3 })),
            "{renumbered:?}"
        );
        let strange = heads[0].follow("{}", &heads[0].with("{}").hash);
        assert!(
            matches!(strange, Err(ChainError::Malformed { seq: 1, .. })),
            "{strange:?}"
        );
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.name()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for state in State::ALL {
            assert_eq!(State::of(state.name()), Some(state));
        }
        assert_eq!(Kind::of("fire"), None);
    }

    #[test]
    fn an_entry_that_is_too_long_is_refused() {
        let long = Act::Ack {
            reason: "x".repeat(ENTRY_BYTES_MAX),
        };
        assert!(matches!(entry(1, long).encode(), Err(CodecError::TooLong { .. })));
    }
}
