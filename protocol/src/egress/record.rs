//! What a step's record says of its network: every decision, equal ones counted together, within a bound.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::time::Timestamp;

/// Most rows of one step's record; half of them are kept for what was allowed, so that a flood of refusals hides nothing.
pub const CONNECTIONS_MAX: usize = 64;
/// Longest reason in a row, bytes.
pub const REASON_BYTES_MAX: usize = 256;

/// What a step did with the network that its plan gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Egress {
    /// Connections that were allowed.
    pub allowed: u64,
    /// Connections that were refused.
    pub denied: u64,
    /// Bytes that went from the step to its destinations.
    pub sent_bytes: u64,
    /// Bytes that came back.
    pub received_bytes: u64,
    /// The decisions in the order in which each was first made, at most [`CONNECTIONS_MAX`].
    pub connections: Vec<Connection>,
    /// Decisions that are counted above and stand in no row.
    pub omitted: u64,
    /// What the policy of the host's operator had to say; absent where the host has none, and then left out of the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<HostPolicy>,
}

/// The policy of a host's operator, which is asked about every connection that the plan allows. One policy decides all of a step's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPolicy {
    /// Its digest, as docs/egress.md says how it is made: whoever has the files can say which rules these were.
    pub digest: Digest,
    /// Connections that it allowed.
    pub allowed: u64,
    /// Connections that it refused.
    pub denied: u64,
    /// Connections that were refused because it did not decide: it said nothing, failed, or took too long.
    pub failed: u64,
}

/// What a host's policy came to about one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyWord {
    /// It allowed it.
    Allowed,
    /// It refused it.
    Denied,
    /// It did not decide, which refuses it too.
    Failed,
}

/// One decision, and what became of the connections that it was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connection {
    /// When it was first made.
    pub at: Timestamp,
    /// Whom the program asked for; empty where it did not come so far.
    pub host: String,
    /// At which port; 0 where it did not come so far.
    pub port: u16,
    /// The address that the host stood for; absent when it was refused before that was asked.
    pub address: Option<String>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// The rule that allowed it, or why it was refused or came to nothing.
    pub reason: String,
    /// How often.
    pub times: u64,
    /// Bytes from the step.
    pub sent_bytes: u64,
    /// Bytes to the step.
    pub received_bytes: u64,
    /// How long the connections stood, microseconds, added up.
    pub duration_us: u64,
}

impl HostPolicy {
    /// One that was not asked yet.
    pub const fn of(digest: Digest) -> Self {
        Self {
            digest,
            allowed: 0,
            denied: 0,
            failed: 0,
        }
    }

    /// Counts what it said.
    pub const fn count(&mut self, word: PolicyWord) {
        let count = match word {
            PolicyWord::Allowed => &mut self.allowed,
            PolicyWord::Denied => &mut self.denied,
            PolicyWord::Failed => &mut self.failed,
        };
        *count = count.saturating_add(1);
    }
}

impl Egress {
    /// Whether nothing was asked for.
    pub const fn is_empty(&self) -> bool {
        self.allowed == 0 && self.denied == 0
    }

    /// Bytes in both directions.
    pub const fn bytes(&self) -> u64 {
        self.sent_bytes.saturating_add(self.received_bytes)
    }

    /// Books a decision, and what became of it; whether it is the first of its kind. Equal ones are counted in one row.
    pub fn book(&mut self, mut one: Connection) -> bool {
        let length = one.reason.floor_char_boundary(REASON_BYTES_MAX);
        one.reason.truncate(length);
        let count = if one.allowed {
            &mut self.allowed
        } else {
            &mut self.denied
        };
        *count = count.saturating_add(one.times);
        self.sent_bytes = self.sent_bytes.saturating_add(one.sent_bytes);
        self.received_bytes = self.received_bytes.saturating_add(one.received_bytes);
        let key = |row: &Connection| {
            (
                row.host.clone(),
                row.port,
                row.address.clone(),
                row.allowed,
                row.reason.clone(),
            )
        };
        let wanted = key(&one);
        if let Some(row) = self.connections.iter_mut().find(|row| key(row) == wanted) {
            row.at = row.at.min(one.at);
            row.times = row.times.saturating_add(one.times);
            row.sent_bytes = row.sent_bytes.saturating_add(one.sent_bytes);
            row.received_bytes = row.received_bytes.saturating_add(one.received_bytes);
            row.duration_us = row.duration_us.saturating_add(one.duration_us);
            return false;
        }
        let alike = self
            .connections
            .iter()
            .filter(|row| row.allowed == one.allowed)
            .count();
        let has_room = alike < CONNECTIONS_MAX / 2;
        if has_room {
            self.connections.push(one);
        } else {
            self.omitted = self.omitted.saturating_add(one.times);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(host: &str, allowed: bool) -> Connection {
        Connection {
            at: Timestamp::from_micros(7),
            host: host.to_owned(),
            port: 443,
            address: None,
            allowed,
            reason: "é".repeat(REASON_BYTES_MAX),
            times: 1,
            sent_bytes: 3,
            received_bytes: 5,
            duration_us: 1,
        }
    }

    #[test]
    fn equal_decisions_share_a_row_and_a_flood_of_refusals_hides_nothing() {
        let mut egress = Egress::default();
        for number in 0..1_000 {
            egress.book(one(&format!("h{number}.example"), false));
        }
        egress.book(one("api.example", true));
        egress.book(one("api.example", true));
        assert_eq!((egress.allowed, egress.denied), (2, 1_000));
        assert_eq!(egress.connections.len(), CONNECTIONS_MAX / 2 + 1);
        assert_eq!(egress.omitted, 1_000 - CONNECTIONS_MAX as u64 / 2);
        let last = egress.connections.last().expect("a row");
        assert_eq!(
            (last.host.as_str(), last.times, last.sent_bytes),
            ("api.example", 2, 6)
        );
        assert!(last.reason.len() <= REASON_BYTES_MAX && !last.reason.is_empty());
        assert_eq!(egress.bytes(), 1_002 * 8);
    }
}
