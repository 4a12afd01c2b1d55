//! An event batch: consecutive frames of one journal, signed once. One signature for a hundred records is what makes ten thousand agents cheap.
//!
//! On the wire it is a MessagePack map of the statement's envelope and the frames' raw bytes; the statement names the SHA-256 of those bytes,
//! their sequence numbers and the chain before and after. [`open`] checks all of it and is the only way to [`Batch`].

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::digest::Digest;
use crate::envelope::Verified;
use crate::frame::{self, Frame, FrameError};
use crate::id::{AgentId, JournalId};
use crate::key::{PublicKey, SigningKey};
use crate::limits::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX, BATCH_MESSAGE_BYTES_MAX};
use crate::nats::UserKey;
use crate::statement::{self, Predicate, Statement, StatementError, Subject};
use crate::time::Timestamp;
use crate::trust::{Keyring, Role, TrustError};

/// What an agent claims about a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchHeader {
    /// The tenant.
    pub tenant: String,
    /// The agent.
    pub agent_id: AgentId,
    /// Its bus identity.
    pub user_key: UserKey,
    /// The journal.
    pub journal_id: JournalId,
    /// How often the agent has started.
    pub incarnation: u64,
    /// Sequence number of the first frame.
    pub first_seq: u64,
    /// Sequence number of the last frame.
    pub last_seq: u64,
    /// Chain value before the first frame.
    pub prev_hash: Digest,
    /// Chain value after the last frame.
    pub last_hash: Digest,
    /// When it was signed, by the agent's wall clock.
    pub sent_at: Timestamp,
    /// From this frame up to the one before the first here, all are gone for good: a ledger had committed them, they were beyond the agent's
    /// reserve, and a ledger that went back asks for them again. From 1 and below `first_seq`; absent where nothing is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_from: Option<u64>,
}

impl Predicate for BatchHeader {
    const TYPE: &'static str = "https://writ.dev/event-batch/v1";
    const ROLE: Role = Role::Agent;
    const BYTES_MAX: usize = 16 << 10;
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u16,
    #[serde(with = "serde_bytes")]
    statement: Vec<u8>,
    #[serde(with = "serde_bytes")]
    frames: Vec<u8>,
}

/// Why a batch was refused.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The message is no batch.
    #[error("event batch is not readable")]
    Codec(#[from] CodecError),
    /// Its statement does not verify.
    #[error("event batch does not verify")]
    Trust(#[from] TrustError),
    /// The statement could not be made.
    #[error("event batch cannot be signed")]
    Statement(#[from] StatementError),
    /// A frame is damaged.
    #[error("frame {index} of the batch is damaged")]
    Frame {
        /// Which, from 0.
        index: usize,
        /// How.
        #[source]
        source: FrameError,
    },
    /// The frames are not what the statement says.
    #[error("event batch contradicts its statement: {rule}")]
    Mismatch {
        /// What does not fit.
        rule: &'static str,
    },
}

/// How a batch stands to what the ledger has committed of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// Its frames continue the chain, after leaving out the first `skip` of them, which are committed; or the agent signs that everything
    /// between is gone ([`BatchHeader::gone_from`]).
    New {
        /// How many of its first frames are committed.
        skip: u64,
    },
    /// It ends at or below the watermark. Below it, only the stored frames can tell a repeat from a fork.
    Known,
    /// Frames are missing before it.
    Gap {
        /// The first that is missing.
        resend_from: u64,
    },
    /// Its frames do not lead on from the committed chain value: two histories claim one sequence number.
    Fork,
}

/// A batch whose signature, digest, sequence numbers and chain all fit together.
#[derive(Clone, Debug)]
pub struct Batch {
    header: Verified<Statement<BatchHeader>>,
    envelope: Vec<u8>,
    frames: Vec<u8>,
}

impl Batch {
    /// What the agent claims, verified.
    pub fn header(&self) -> &BatchHeader {
        &self.header.predicate
    }

    /// The statement's envelope as it came.
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }

    /// The frames' bytes as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.frames
    }

    /// How it stands to a journal that is committed up to and including `upto`, where the chain has the value `hash`. A journal of which
    /// nothing is committed has 0 and [`Digest::ZERO`].
    pub fn after(&self, upto: u64, hash: &Digest) -> Continuation {
        let header = self.header();
        let next = upto.saturating_add(1);
        #[cfg(feature = "planted")]
        if crate::planted::is(crate::planted::Bug::GapTaken) && header.first_seq > next {
            return Continuation::New { skip: 0 };
        }
        if header.first_seq > next {
            // What nobody has any more is not asked for for ever. The hole is signed for, and stays to be seen.
            if header.gone_from.is_some_and(|from| from <= next) {
                return Continuation::New { skip: 0 };
            }
            return Continuation::Gap { resend_from: next };
        }
        if header.last_seq < upto {
            return Continuation::Known;
        }
        let reached = if header.first_seq == next {
            Some(header.prev_hash)
        } else {
            let frames = self.frames();
            let at = frames.iter().find(|(frame, ..)| frame.seq == upto);
            at.map(|(_, hash, _)| *hash)
        };
        match reached {
            Some(found) if found != *hash => Continuation::Fork,
            Some(_) if header.last_seq == upto => Continuation::Known,
            Some(_) => Continuation::New {
                skip: next - header.first_seq,
            },
            None => Continuation::Fork,
        }
    }

    /// The frames, each with the chain value after it and its raw bytes.
    pub fn frames(&self) -> Vec<(Frame<'_>, Digest, &[u8])> {
        walk(&self.frames, self.header().prev_hash)
            .filter_map(Result::ok)
            .collect()
    }
}

/// Signs frames as a batch. `header.last_hash` and both sequence numbers must be those of `frames`; [`open`] would refuse otherwise.
///
/// # Errors
/// [`BatchError`] when the batch breaks a bound or contradicts itself.
pub fn sign(header: BatchHeader, frames: Vec<u8>, key: &SigningKey) -> Result<Vec<u8>, BatchError> {
    check(&header, &frames)?;
    let subject = Subject::new(
        format!(
            "frames/{}/{}-{}",
            header.journal_id, header.first_seq, header.last_seq
        ),
        &Digest::of(&frames),
    );
    let envelope = statement::sign(vec![subject], header, &[key])?;
    let statement = envelope.to_json().map_err(StatementError::from)?;
    encode(statement, frames)
}

/// Puts a stored envelope and frames back into a message.
///
/// # Errors
/// [`CodecError`] when it cannot be encoded.
pub fn encode(statement: Vec<u8>, frames: Vec<u8>) -> Result<Vec<u8>, BatchError> {
    Ok(codec::to_msgpack(
        "event batch",
        &Wire {
            v: 1,
            statement,
            frames,
        },
    )?)
}

/// Reads the header of a batch that **nobody vouches for**, to find the agent whose key must have signed it.
///
/// # Errors
/// [`BatchError::Codec`] or [`BatchError::Statement`] when it is no batch.
pub fn peek(message: &[u8]) -> Result<BatchHeader, BatchError> {
    let wire = read(message)?;
    let envelope = crate::envelope::Envelope::parse(&wire.statement).map_err(StatementError::from)?;
    Ok(statement::peek::<BatchHeader>(&envelope)?.predicate)
}

/// Verifies a batch by the agent's key.
///
/// # Errors
/// [`BatchError`].
pub fn open(message: &[u8], key: &PublicKey) -> Result<Batch, BatchError> {
    let wire = read(message)?;
    open_parts(wire.statement, wire.frames, key)
}

/// As [`open`], from the envelope and frames as the ledger and packs keep them.
///
/// # Errors
/// [`BatchError`].
pub fn open_parts(envelope: Vec<u8>, frames: Vec<u8>, key: &PublicKey) -> Result<Batch, BatchError> {
    let header = Keyring::open_agent::<BatchHeader>(&envelope, key)?;
    if !header.names(&Digest::of(&frames)) {
        return Err(BatchError::Mismatch {
            rule: "the statement names other bytes",
        });
    }
    check(&header.predicate, &frames)?;
    Ok(Batch {
        header,
        envelope,
        frames,
    })
}

fn read(message: &[u8]) -> Result<Wire, BatchError> {
    let wire: Wire = codec::from_msgpack("event batch", message, BATCH_MESSAGE_BYTES_MAX)?;
    if wire.v != 1 {
        return Err(BatchError::Mismatch {
            rule: "the version is not 1",
        });
    }
    Ok(wire)
}

fn check(header: &BatchHeader, frames: &[u8]) -> Result<(), BatchError> {
    let refuse = |rule| Err(BatchError::Mismatch { rule });
    if frames.len() > BATCH_BYTES_MAX {
        return refuse("more bytes than a batch may have");
    }
    let (mut seq, mut hash, mut count) = (header.first_seq, header.prev_hash, 0_usize);
    for (index, step) in walk(frames, header.prev_hash).enumerate() {
        let (frame, link, _) = step.map_err(|source| BatchError::Frame { index, source })?;
        if frame.seq != seq {
            return refuse("sequence numbers are not consecutive");
        }
        (seq, hash, count) = (seq.saturating_add(1), link, count + 1);
        if count > BATCH_FRAMES_MAX {
            return refuse("more frames than a batch may have");
        }
    }
    if header
        .gone_from
        .is_some_and(|from| from == 0 || from >= header.first_seq)
    {
        return refuse("what it says is gone does not lie before its frames");
    }
    if count == 0 || header.first_seq == 0 || seq != header.last_seq.saturating_add(1) {
        return refuse("the sequence numbers are not those of the frames");
    }
    if hash != header.last_hash {
        return refuse("the chain does not end where the statement says");
    }
    Ok(())
}

fn walk(bytes: &[u8], start: Digest) -> impl Iterator<Item = Result<(Frame<'_>, Digest, &[u8]), FrameError>> {
    let (mut rest, mut hash) = (bytes, start);
    frame::frames(bytes).map(move |frame| {
        let frame = frame?;
        hash = frame.link(&hash);
        let (raw, after) = rest
            .split_at_checked(frame::padded(frame.payload.len()))
            .ok_or(FrameError::Form)?;
        rest = after;
        Ok((frame, hash, raw))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::{NkeyKind, NkeyPair};
    use uuid::Uuid;

    fn frames(range: std::ops::RangeInclusive<u64>, start: Digest) -> (Vec<u8>, Digest) {
        let (mut out, mut hash) = (Vec::new(), start);
        for seq in range {
            let frame = Frame {
                kind: 10,
                seq,
                boot_ns: seq,
                wall: Timestamp::from_micros(1),
                payload: b"x",
            };
            frame.encode(&mut out).expect("encodes");
            hash = frame.link(&hash);
        }
        (out, hash)
    }

    fn header(first_seq: u64, last_seq: u64, last_hash: Digest) -> BatchHeader {
        BatchHeader {
            tenant: "acme".into(),
            agent_id: AgentId::from_uuid(Uuid::from_u128(1)),
            user_key: NkeyPair::from_seed_bytes(NkeyKind::User, &[1; 32])
                .user_key()
                .expect("user"),
            journal_id: JournalId::from_uuid(Uuid::from_u128(2)),
            incarnation: 1,
            first_seq,
            last_seq,
            prev_hash: Digest::ZERO,
            last_hash,
            sent_at: Timestamp::from_micros(1),
            gone_from: None,
        }
    }

    #[test]
    fn batches_read_back_and_only_under_their_key() {
        let key = SigningKey::from_seed(&[4; 32]);
        let (bytes, hash) = frames(1..=3, Digest::ZERO);
        let message = sign(header(1, 3, hash), bytes, &key).expect("signs");
        let batch = open(&message, &key.public()).expect("opens");
        assert_eq!(batch.frames().len(), 3);
        assert_eq!(batch.frames().last().expect("last").1, hash);
        assert!(open(&message, &SigningKey::from_seed(&[5; 32]).public()).is_err());
        assert_eq!(peek(&message).expect("peeks"), *batch.header());
    }

    #[test]
    fn a_removed_reordered_or_added_frame_is_refused_before_signing_and_after() {
        let key = SigningKey::from_seed(&[4; 32]);
        let (bytes, hash) = frames(1..=3, Digest::ZERO);
        let one = bytes.len() / 3;
        let swapped = [&bytes[one..2 * one], &bytes[..one], &bytes[2 * one..]].concat();
        for bad in [
            bytes[one..].to_vec(),
            bytes[..2 * one].to_vec(),
            swapped,
            vec![],
            bytes[..one + 5].to_vec(),
        ] {
            assert!(sign(header(1, 3, hash), bad.clone(), &key).is_err());
            let good = sign(header(1, 3, hash), bytes.clone(), &key).expect("signs");
            let wire = read(&good).expect("reads");
            assert!(open_parts(wire.statement, bad, &key.public()).is_err());
        }
        assert!(sign(header(1, 3, Digest::ZERO), bytes, &key).is_err());
    }

    #[test]
    fn a_batch_continues_repeats_leaves_a_gap_or_forks() {
        let key = SigningKey::from_seed(&[4; 32]);
        let (first, two) = frames(1..=2, Digest::ZERO);
        let (rest, five) = frames(3..=5, two);
        let part = BatchHeader {
            prev_hash: two,
            ..header(3, 5, five)
        };
        let part = open(&sign(part, rest.clone(), &key).expect("signs"), &key.public()).expect("opens");
        let whole = [first, rest].concat();
        let whole = open(
            &sign(header(1, 5, five), whole, &key).expect("signs"),
            &key.public(),
        )
        .expect("opens");
        assert_eq!(part.after(2, &two), Continuation::New { skip: 0 });
        assert_eq!(whole.after(0, &Digest::ZERO), Continuation::New { skip: 0 });
        assert_eq!(whole.after(2, &two), Continuation::New { skip: 2 });
        assert_eq!(part.after(5, &five), Continuation::Known);
        assert_eq!(part.after(9, &two), Continuation::Known);
        assert_eq!(part.after(0, &Digest::ZERO), Continuation::Gap { resend_from: 1 });
        assert_eq!(part.after(2, &five), Continuation::Fork);
        assert_eq!(part.after(4, &two), Continuation::Fork);
        assert_eq!(part.after(5, &two), Continuation::Fork);
    }

    #[test]
    fn what_is_signed_as_gone_is_no_gap_and_lies_before_the_frames() {
        let key = SigningKey::from_seed(&[4; 32]);
        let (_, two) = frames(1..=2, Digest::ZERO);
        let (rest, five) = frames(3..=5, two);
        let part = |gone_from| {
            let header = BatchHeader {
                prev_hash: two,
                gone_from,
                ..header(3, 5, five)
            };
            open(&sign(header, rest.clone(), &key)?, &key.public())
        };
        let gone = part(Some(2)).expect("opens");
        assert_eq!(gone.after(1, &five), Continuation::New { skip: 0 });
        assert_eq!(gone.after(2, &two), Continuation::New { skip: 0 });
        assert_eq!(
            gone.after(2, &five),
            Continuation::Fork,
            "what is there is still compared"
        );
        assert_eq!(
            gone.after(0, &Digest::ZERO),
            Continuation::Gap { resend_from: 1 },
            "it says nothing of the first"
        );
        assert!(part(Some(0)).is_err() && part(Some(3)).is_err());
    }
}
