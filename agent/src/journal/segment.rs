//! One file of the journal: a header that says where it belongs, then frames.
//!
//! Header, little-endian, 80 bytes: magic `WRITLOG1` · journal id (16) · incarnation u64 · first sequence number u64 · chain value before
//! it (32) · CRC-32C over all of that · four zero bytes, so that frames begin at a multiple of 16.

use uuid::Uuid;
use writ_protocol::digest::Digest;
use writ_protocol::frame::{ALIGN, Frame, FrameError};
use writ_protocol::id::JournalId;

/// Bytes before the first frame.
pub const HEADER_BYTES: usize = 80;
const MAGIC: &[u8; 8] = b"WRITLOG1";
const SUMMED: usize = 72;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The journal that it belongs to.
    pub journal_id: JournalId,
    /// Which start of the agent made it.
    pub incarnation: u64,
    /// The sequence number of its first frame.
    pub first_seq: u64,
    /// The chain value before that frame.
    pub prev_hash: Digest,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(self.journal_id.as_uuid().as_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(self.prev_hash.as_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.resize(HEADER_BYTES, 0);
        out
    }

    /// Reads a header; `None` when the bytes are none, cut short or damaged.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (summed, rest) = bytes.get(..HEADER_BYTES)?.split_at_checked(SUMMED)?;
        let (crc, zeros) = rest.split_at_checked(4)?;
        let (magic, fields) = summed.split_at_checked(MAGIC.len())?;
        if magic != MAGIC || crc != crc32c::crc32c(summed).to_le_bytes() || zeros != [0; 4] {
            return None;
        }
        let (id, fields) = fields.split_at_checked(16)?;
        let (incarnation, fields) = fields.split_at_checked(8)?;
        let (first_seq, prev_hash) = fields.split_at_checked(8)?;
        Some(Self {
            journal_id: JournalId::from_uuid(Uuid::from_slice(id).ok()?),
            incarnation: u64::from_le_bytes(incarnation.try_into().ok()?),
            first_seq: u64::from_le_bytes(first_seq.try_into().ok()?),
            prev_hash: Digest::from_slice(prev_hash).ok()?,
        })
    }
}

/// A segment's file name.
pub fn name(index: u64) -> String {
    format!("seg-{index:010}.log")
}

/// The number in a segment's file name, if it is one.
pub fn index_of(name: &str) -> Option<u64> {
    name.strip_prefix("seg-")?.strip_suffix(".log")?.parse().ok()
}

/// One step of a walk over a segment's frames.
#[derive(Debug)]
pub enum Step<'a> {
    /// A frame that is whole and where it belongs, and the chain value after it.
    Frame(Frame<'a>, Digest),
    /// Bytes that are no frame, or one that does not belong here; the walk ends.
    Bad {
        /// Where, from the start of the file.
        offset: usize,
        /// Why.
        why: FrameError,
    },
}

/// Walks the frames of a segment's bytes, from the first, which must be number `seq` after the chain value `hash`.
pub fn walk(bytes: &[u8], seq: u64, hash: Digest) -> impl Iterator<Item = Step<'_>> {
    let (mut offset, mut seq, mut hash, mut ended) = (HEADER_BYTES, seq, hash, false);
    std::iter::from_fn(move || {
        let rest = bytes.get(offset..).filter(|rest| !rest.is_empty() && !ended)?;
        let why = match Frame::parse(rest) {
            Ok((frame, taken)) if frame.seq == seq => {
                hash = frame.link(&hash);
                seq = seq.saturating_add(1);
                offset += taken;
                return Some(Step::Frame(frame, hash));
            }
            Ok(_) => FrameError::Form,
            Err(why) => why,
        };
        ended = true;
        Some(Step::Bad { offset, why })
    })
}

/// Every frame that can still be read in `bytes`, wherever it stands: for salvage, and to tell a torn end from a damaged middle.
pub fn salvage(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            if let Ok((frame, taken)) = Frame::parse(rest) {
                offset += taken;
                // A run of zeros has a checksum of zero only by accident; sequence numbers begin at 1.
                if frame.seq > 0 {
                    return Some(frame);
                }
            } else {
                offset += ALIGN;
            }
        }
        None
    })
}
