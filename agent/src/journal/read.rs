//! Reading back: what is durable, in runs that a batch can carry.

use std::io;

use writ_protocol::digest::Digest;
use writ_protocol::frame::Frame;

use super::recovery::Found;
use super::{Journal, JournalError, Position, Run, segment};

/// Bytes read from a segment at once: the largest frame fits.
const READ_BYTES: usize = 256 << 10;

/// Where the last read ended, so that the next one need not search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    segment: u64,
    offset: u64,
    next: Position,
}

impl Journal {
    /// Durable frames from `seq` on, at most `frames` and `bytes`; one frame at least. `None` when nothing is durable from there on.
    ///
    /// # Errors
    /// [`JournalError::NotHere`] for frames that were removed, and what the disk says.
    pub fn read(&mut self, seq: u64, frames: usize, bytes: usize) -> Result<Option<Run>, JournalError> {
        if seq > self.durable.seq {
            return Ok(None);
        }
        let holds = |found: &&Found| found.first_seq <= seq && seq <= found.last_seq;
        let Some(found) = self.segments.iter().find(holds) else {
            return Err(self.not_here(seq));
        };
        let whole = Cursor {
            segment: found.index,
            offset: segment::HEADER_BYTES as u64,
            next: Position {
                seq: found.first_seq,
                hash: found.prev_hash,
            },
        };
        let usable = |cursor: &Cursor| cursor.segment == found.index && cursor.next.seq <= seq;
        let mut cursor = self.cursor.filter(usable).unwrap_or(whole);
        let (segment, last) = (segment::name(found.index), found.last_seq.min(self.durable.seq));
        let mut run = Run {
            first_seq: seq,
            last_seq: 0,
            prev_hash: Digest::ZERO,
            last_hash: Digest::ZERO,
            bytes: Vec::new(),
            gone_from: None,
        };
        let mut count = 0;
        'disk: while cursor.next.seq <= last {
            let chunk = self.disk.read(&segment, cursor.offset, READ_BYTES);
            let chunk = chunk.map_err(|source| self.broken("read", source))?;
            let (mut rest, mut moved) = (chunk.as_slice(), false);
            while cursor.next.seq <= last {
                let Ok((frame, taken)) = Frame::parse(rest) else {
                    break;
                };
                if frame.seq == seq {
                    run.prev_hash = cursor.next.hash;
                }
                if frame.seq >= seq {
                    if count == frames || count > 0 && run.bytes.len() + taken > bytes {
                        break 'disk;
                    }
                    run.bytes.extend_from_slice(rest.get(..taken).unwrap_or_default());
                    count += 1;
                }
                let hash = frame.link(&cursor.next.hash);
                (run.last_seq, run.last_hash) = (frame.seq, hash);
                cursor.next = Position {
                    seq: frame.seq + 1,
                    hash,
                };
                cursor.offset += taken as u64;
                rest = rest.get(taken..).unwrap_or_default();
                moved = true;
            }
            if !moved {
                let source = io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a frame that was written cannot be read",
                );
                return Err(self.broken("read back", source));
            }
        }
        self.cursor = Some(cursor);
        Ok((count > 0).then_some(run))
    }

    fn not_here(&self, seq: u64) -> JournalError {
        JournalError::NotHere {
            seq,
            first: self.segments.front().map_or(1, |front| front.first_seq),
            last: self.durable.seq,
        }
    }
}
