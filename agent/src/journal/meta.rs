//! The journal's own memory beside its frames: two slots, written in turn, so that one of them is always whole.

use std::io;

use serde::{Deserialize, Serialize};
use writ_protocol::codec;
use writ_protocol::digest::Digest;
use writ_protocol::id::JournalId;
use writ_protocol::manifest::Generation;

use super::disk::{self, Disk};

const SLOTS: [&str; 2] = ["meta-a", "meta-b"];
const SLOT_BYTES_MAX: u64 = 4 << 10;

/// What the journal remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Grows with every writing.
    pub counter: u64,
    /// The journal.
    pub journal_id: JournalId,
    /// How often the agent has started.
    pub incarnation: u64,
    /// Frames up to this one are committed in the ledger.
    pub acknowledged: u64,
    /// The chain value after it.
    pub acknowledged_hash: Digest,
    /// The highest `(epoch, generation)`: kept here too, so that a damaged journal does not forget it.
    pub high_water: Generation,
    /// The highest control epoch.
    pub control_epoch: u64,
    /// There must be segments: a journal without them was robbed.
    pub used: bool,
    /// The journal is to be set aside at the next start.
    pub condemned: bool,
}

impl Meta {
    /// The memory of a journal that does not exist yet.
    pub const fn new(journal_id: JournalId) -> Self {
        Self {
            counter: 0,
            journal_id,
            incarnation: 0,
            acknowledged: 0,
            acknowledged_hash: Digest::ZERO,
            high_water: Generation {
                epoch: 0,
                generation: 0,
            },
            control_epoch: 0,
            used: false,
            condemned: false,
        }
    }

    /// The newest slot that is whole.
    ///
    /// # Errors
    /// What the disk says; a missing or damaged slot is none.
    pub fn load(disk: &dyn Disk) -> io::Result<Option<Self>> {
        let mut newest: Option<Self> = None;
        for slot in SLOTS {
            let bytes = match disk::read_all(disk, slot, SLOT_BYTES_MAX) {
                Ok(bytes) => bytes,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let meta = decode(&bytes);
            if meta.as_ref().map(|m| m.counter) > newest.as_ref().map(|m| m.counter) {
                newest = meta;
            }
        }
        Ok(newest)
    }

    /// Writes the older slot, durably.
    ///
    /// # Errors
    /// What the disk says; the other slot stands.
    pub fn store(&mut self, disk: &dyn Disk) -> io::Result<()> {
        self.counter += 1;
        let body = codec::to_msgpack("journal memory", self).map_err(io::Error::other)?;
        let mut bytes = crc32c::crc32c(&body).to_le_bytes().to_vec();
        bytes.extend_from_slice(&body);
        let slot = if self.counter.is_multiple_of(2) {
            SLOTS[0]
        } else {
            SLOTS[1]
        };
        disk::replace(disk, slot, &bytes)
    }
}

fn decode(bytes: &[u8]) -> Option<Meta> {
    let (crc, body) = bytes.split_at_checked(4)?;
    if crc != crc32c::crc32c(body).to_le_bytes() {
        return None;
    }
    codec::from_msgpack("journal memory", body, body.len()).ok()
}
