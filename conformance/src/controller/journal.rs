//! A journal as an agent keeps one, in memory: records that chain, and batches of them, good and bad.

use serde::Serialize;
use writ_protocol::batch::{self, BatchHeader};
use writ_protocol::digest::Digest;
use writ_protocol::frame::Frame;
use writ_protocol::id::{JournalId, SessionId};
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::Identity;
use writ_protocol::record::{Record, SessionStart};
use writ_protocol::statement::{self, Subject};
use writ_protocol::time::Timestamp;

use crate::world::MakeError;

/// A record kind of no version yet: whoever reads it keeps it, and does nothing else.
const KIND: u8 = 200;
/// Nanoseconds of the boot-time clock from one record to the next.
const STEP_NS: u64 = 1_000_000;

/// One life of the agent that the suite plays.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    pub(super) id: JournalId,
    pub(super) session: SessionId,
    pub(super) incarnation: u64,
    /// Frame and chain, from the first record on.
    frames: Vec<(Vec<u8>, Digest)>,
}

impl Journal {
    /// One with its first record.
    pub(super) fn new(incarnation: u64, now: Timestamp) -> Result<Self, MakeError> {
        let (id, session) = (fresh("journal")?.parse()?, fresh("session")?.parse()?);
        let mut journal = Self {
            id,
            session,
            incarnation,
            frames: Vec::new(),
        };
        let start = SessionStart {
            session_id: session,
            journal_id: id,
            incarnation,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: "conformance".to_owned(),
            replaces: None,
        };
        let record = Record::SessionStart(start);
        journal.add(record.kind() as u8, &record.encode()?, now)?;
        Ok(journal)
    }

    /// The last sequence number.
    pub(super) fn last(&self) -> u64 {
        u64::try_from(self.frames.len()).unwrap_or(u64::MAX)
    }

    /// The chain at a record; zeros before the first. Absent where there is no such record.
    pub(super) fn chain(&self, seq: u64) -> Option<Digest> {
        let Some(place) = seq.checked_sub(1) else {
            return Some(Digest::ZERO);
        };
        let frame = self.frames.get(usize::try_from(place).ok()?)?;
        Some(frame.1)
    }

    /// Adds records up to this number, each of which says a word.
    pub(super) fn grow(&mut self, upto: u64, word: &[u8], now: Timestamp) -> Result<(), MakeError> {
        while self.last() < upto {
            self.add(KIND, word, now)?;
        }
        Ok(())
    }

    /// The journal up to a record: another history may begin there.
    pub(super) fn until(&self, upto: u64) -> Self {
        let kept = usize::try_from(upto).unwrap_or(usize::MAX);
        Self {
            frames: self.frames.iter().take(kept).cloned().collect(),
            ..self.clone()
        }
    }

    fn add(&mut self, kind: u8, payload: &[u8], now: Timestamp) -> Result<(), MakeError> {
        let frame = Frame {
            kind,
            seq: self.last() + 1,
            boot_ns: self.last() * STEP_NS,
            wall: now,
            payload,
        };
        let mut bytes = Vec::new();
        frame.encode(&mut bytes)?;
        let link = frame.link(&self.chain(self.last()).unwrap_or(Digest::ZERO));
        self.frames.push((bytes, link));
        Ok(())
    }

    /// The bytes of records.
    pub(super) fn bytes(&self, first: u64, last: u64) -> Vec<u8> {
        let from = usize::try_from(first.saturating_sub(1)).unwrap_or(usize::MAX);
        let count = usize::try_from(last.saturating_sub(first) + 1).unwrap_or(usize::MAX);
        let wanted = self.frames.iter().skip(from).take(count);
        wanted.flat_map(|(bytes, _)| bytes).copied().collect()
    }

    /// What an agent says of records.
    pub(super) fn header(&self, me: &Identity, first: u64, last: u64, now: Timestamp) -> BatchHeader {
        let chain = |seq| self.chain(seq).unwrap_or(Digest::ZERO);
        BatchHeader {
            tenant: me.tenant.clone(),
            agent_id: me.agent_id,
            user_key: me.user_key.clone(),
            journal_id: self.id,
            incarnation: self.incarnation,
            first_seq: first,
            last_seq: last,
            prev_hash: chain(first.saturating_sub(1)),
            last_hash: chain(last),
            sent_at: now,
            gone_from: None,
        }
    }
}

/// Signs whatever a header says about whatever bytes.
pub(super) fn forced(header: BatchHeader, frames: Vec<u8>, key: &SigningKey) -> Result<Vec<u8>, MakeError> {
    let subject = vec![Subject::new("frames", &Digest::of(&frames))];
    let statement = statement::sign(subject, header, &[key])?.to_json()?;
    Ok(batch::encode(statement, frames)?)
}

/// A batch of a later version.
pub(super) fn later(header: BatchHeader, frames: &[u8], key: &SigningKey) -> Result<Vec<u8>, MakeError> {
    #[derive(Serialize)]
    struct Wire<'a> {
        v: u16,
        #[serde(serialize_with = "bin")]
        statement: &'a [u8],
        #[serde(serialize_with = "bin")]
        frames: &'a [u8],
    }
    let subject = vec![Subject::new("frames", &Digest::of(frames))];
    let statement = statement::sign(subject, header, &[key])?.to_json()?;
    let wire = Wire {
        v: 2,
        statement: &statement,
        frames,
    };
    Ok(writ_protocol::codec::to_msgpack("event batch", &wire)?)
}

fn bin<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// The text of a new id.
fn fresh(kind: &str) -> Result<String, MakeError> {
    let drawn = SigningKey::generate()?.public().key_id().to_string();
    Ok(format!("{kind}_{}", drawn.get(..32).unwrap_or_default()))
}

/// 32 bytes that nobody can know beforehand.
pub(super) fn nonce() -> Result<Digest, MakeError> {
    Ok(*SigningKey::generate()?.public().key_id().as_digest())
}
