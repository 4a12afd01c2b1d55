//! How far the journal is durable, kept beside the frames. A bad end alone cannot be told from one that a power failure tore; the mark can:
//! what stands before it was flushed, and perhaps sent, so its loss is damage and never a torn end.
//!
//! It is written over in place after every flush of the frames, and not flushed itself: that would double the cost of every record. The
//! death of the process leaves it whole; a power failure may take it back by the seconds that the kernel holds it, and then the ledger's
//! watermark and the chain tell the same. So it never says more than is durable, and being behind costs nothing.
//!
//! A file of 16 slots of 32 bytes, written in turn, little-endian: journal id (16) · sequence number u64 · CRC-32C over both · four zero
//! bytes. The highest whole slot of the journal holds.

use std::io;

use writ_protocol::id::JournalId;

use super::disk::{self, Disk};

/// The file.
pub(super) const FILE: &str = "mark";
const SLOT_BYTES: usize = 32;
const SUMMED: usize = 24;
const SLOTS: u64 = 16;
const FILE_BYTES: usize = SLOT_BYTES * 16;

/// The writing half.
#[derive(Debug, Default)]
pub(super) struct Mark {
    turn: u64,
}

impl Mark {
    /// Makes the file where it is missing or has another length.
    pub(super) fn prepare(disk: &dyn Disk) -> io::Result<()> {
        match disk.length(FILE) {
            Ok(length) if length == FILE_BYTES as u64 => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
        disk::replace(disk, FILE, &[0; FILE_BYTES])
    }

    /// Notes that everything up to `seq` is durable.
    pub(super) fn set(&mut self, disk: &dyn Disk, journal: JournalId, seq: u64) -> io::Result<()> {
        self.turn = (self.turn + 1) % SLOTS;
        match disk.overwrite(FILE, self.turn * SLOT_BYTES as u64, &encode(journal, seq)) {
            // A full disk that copies on writing, or one without the file: the mark stays behind, which is allowed.
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::NotFound) => {
                Ok(())
            }
            other => other,
        }
    }
}

/// The highest sequence number that is known to have been durable in `journal`; 0 when nothing is known.
pub(super) fn load(disk: &dyn Disk, journal: JournalId) -> io::Result<u64> {
    let bytes = match disk.read(FILE, 0, FILE_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let slots = bytes.chunks_exact(SLOT_BYTES).filter_map(decode);
    Ok(slots
        .filter(|(id, _)| id == journal.as_uuid().as_bytes())
        .map(|(_, seq)| seq)
        .max()
        .unwrap_or(0))
}

fn encode(journal: JournalId, seq: u64) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.extend_from_slice(journal.as_uuid().as_bytes());
    slot.extend_from_slice(&seq.to_le_bytes());
    slot.extend_from_slice(&crc32c::crc32c(&slot).to_le_bytes());
    slot.resize(SLOT_BYTES, 0);
    slot
}

fn decode(slot: &[u8]) -> Option<([u8; 16], u64)> {
    let (summed, rest) = slot.split_at_checked(SUMMED)?;
    if rest.get(..4)? != crc32c::crc32c(summed).to_le_bytes() {
        return None;
    }
    let (id, seq) = summed.split_at_checked(16)?;
    Some((id.try_into().ok()?, u64::from_le_bytes(seq.try_into().ok()?)))
}
