//! What the disk holds after a start: the frames in order, a torn end, or damage. Nothing is written here; [`super::Journal::open`] acts on it.
//!
//! A bad end of the last segment with nothing readable behind it is what a power failure leaves: it was never durable and is cut, unless the
//! mark beside the frames says that it was. Anything else is damage, because whoever cuts there forgets evidence.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use writ_protocol::digest::Digest;
use writ_protocol::frame::Frame;
use writ_protocol::id::{JournalId, OrderId};
use writ_protocol::record::Record;
use writ_protocol::time::Timestamp;

use super::disk::{self, Disk};
use super::mark;
use super::meta::Meta;
use super::segment::{self, Header, Step};

/// Largest file read as a segment, bytes.
pub(super) const SEGMENT_READ_MAX: u64 = 2 << 30;

/// A segment as the scan found it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) index: u64,
    pub(super) first_seq: u64,
    pub(super) prev_hash: Digest,
    pub(super) last_seq: u64,
    pub(super) bytes: u64,
    pub(super) last_wall: Timestamp,
    pub(super) done: Vec<OrderId>,
}

/// A frame read back at start, handed to whoever rebuilds a state from it.
#[derive(Debug)]
pub struct Replayed<'a> {
    /// The frame.
    pub frame: Frame<'a>,
    /// Its record; `None` for kinds of a newer build and for payloads that cannot be read.
    pub record: Option<Record>,
    /// It was picked out of a damaged journal: a hint that something happened, and never that nothing did.
    pub salvaged: bool,
}

/// What the disk holds.
#[derive(Debug)]
pub(super) enum Verdict {
    /// There is no segment, and there should be none.
    Empty,
    /// Every frame fits; the end may be torn.
    Sound {
        segments: VecDeque<Found>,
        journal_id: JournalId,
        hash: Digest,
        torn: Option<Torn>,
        /// The mark says that every frame was flushed.
        is_proven: bool,
    },
    /// It cannot be trusted as a whole.
    Damaged {
        journal_id: Option<JournalId>,
        last_seq: u64,
        last_hash: Digest,
        why: String,
    },
}

/// A cut end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment's file name.
    pub segment: String,
    /// Where it was cut, bytes from the start of the file.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
}

struct Scan<'v> {
    visit: &'v mut dyn FnMut(Replayed<'_>),
    segments: VecDeque<Found>,
    journal_id: Option<JournalId>,
    last_seq: u64,
    hash: Digest,
    torn: Option<Torn>,
    damage: Option<String>,
}

/// Reads every segment once, in order.
pub(super) fn scan(
    disk: &dyn Disk,
    meta: Option<&Meta>,
    visit: &mut dyn FnMut(Replayed<'_>),
) -> io::Result<Verdict> {
    let names = disk.list()?;
    let indexes: Vec<u64> = names.iter().filter_map(|name| segment::index_of(name)).collect();
    let mut scan = Scan {
        visit,
        segments: VecDeque::new(),
        journal_id: meta.map(|m| m.journal_id),
        last_seq: 0,
        hash: Digest::ZERO,
        torn: None,
        damage: meta
            .filter(|m| m.condemned)
            .map(|_| "it was set aside at the last stop".to_owned()),
    };
    for (at, index) in indexes.iter().enumerate() {
        let bytes = disk::read_all(disk, &segment::name(*index), SEGMENT_READ_MAX)?;
        scan.segment(*index, &bytes, at + 1 == indexes.len());
    }
    let marked = match scan.journal_id {
        Some(journal_id) => mark::load(disk, journal_id)?,
        None => 0,
    };
    Ok(scan.verdict(meta, marked, indexes.is_empty()))
}

impl Scan<'_> {
    fn segment(&mut self, index: u64, bytes: &[u8], is_last: bool) {
        if self.damage.is_some() {
            return self.salvage(bytes);
        }
        let Some(header) = Header::parse(bytes) else {
            // A segment's header is durable before its first frame, so only a bare header can be torn.
            if is_last && bytes.len() <= segment::HEADER_BYTES {
                self.torn = Some(Torn {
                    segment: segment::name(index),
                    offset: 0,
                    bytes: bytes.len() as u64,
                });
                return;
            }
            return self.damaged(format!("{} has no readable header", segment::name(index)), bytes);
        };
        if let Err(why) = self.fits(index, &header) {
            return self.damaged(why, bytes);
        }
        let mut found = Found {
            index,
            first_seq: header.first_seq,
            prev_hash: header.prev_hash,
            last_seq: header.first_seq.saturating_sub(1),
            bytes: bytes.len() as u64,
            last_wall: Timestamp::default(),
            done: Vec::new(),
        };
        (self.journal_id, self.hash) = (Some(header.journal_id), header.prev_hash);
        self.last_seq = found.last_seq;
        for step in segment::walk(bytes, header.first_seq, header.prev_hash) {
            match step {
                Step::Frame(frame, hash) => {
                    (self.hash, self.last_seq) = (hash, frame.seq);
                    (found.last_seq, found.last_wall) = (frame.seq, frame.wall);
                    let record = Record::decode(&frame).ok().flatten();
                    found.done.extend(ended(record.as_ref()));
                    (self.visit)(Replayed {
                        frame,
                        record,
                        salvaged: false,
                    });
                }
                Step::Bad { offset, why } => {
                    let behind = bytes.get(offset..).unwrap_or_default();
                    let is_damage = !is_last || segment::salvage(behind).next().is_some();
                    #[cfg(feature = "planted")]
                    let is_damage = is_damage
                        && !(is_last && writ_protocol::planted::is(writ_protocol::planted::Bug::DamageCut));
                    if is_damage {
                        let what = format!("{} is damaged at byte {offset}: {why}", segment::name(index));
                        return self.damaged(what, behind);
                    }
                    let torn = Torn {
                        segment: segment::name(index),
                        offset: offset as u64,
                        bytes: behind.len() as u64,
                    };
                    (self.torn, found.bytes) = (Some(torn), offset as u64);
                }
            }
        }
        self.segments.push_back(found);
    }

    fn fits(&self, index: u64, header: &Header) -> Result<(), String> {
        let refuse = |what: &str| Err(format!("{} {what}", segment::name(index)));
        if self.journal_id.is_some_and(|id| id != header.journal_id) {
            return refuse("belongs to another journal");
        }
        match self.segments.back() {
            None if header.first_seq == 1 && header.prev_hash != Digest::ZERO => {
                refuse("does not begin the chain")
            }
            None => Ok(()),
            Some(before)
                if header.first_seq == before.last_seq.saturating_add(1) && header.prev_hash == self.hash =>
            {
                Ok(())
            }
            Some(_) => refuse("does not follow the one before it"),
        }
    }

    fn damaged(&mut self, why: String, rest: &[u8]) {
        self.damage = Some(why);
        self.salvage(rest);
    }

    fn salvage(&mut self, bytes: &[u8]) {
        for frame in segment::salvage(bytes) {
            let record = Record::decode(&frame).ok().flatten();
            (self.visit)(Replayed {
                frame,
                record,
                salvaged: true,
            });
        }
    }

    fn verdict(self, meta: Option<&Meta>, marked: u64, is_empty: bool) -> Verdict {
        let (journal_id, last_seq, last_hash) = (self.journal_id, self.last_seq, self.hash);
        let missing = match (meta, self.segments.front()) {
            (Some(meta), None) if meta.used => Some("its segments are missing"),
            (Some(meta), Some(front)) if front.first_seq > meta.acknowledged.saturating_add(1) => {
                Some("segments that the ledger does not have are missing")
            }
            (Some(meta), Some(_)) if last_seq < meta.acknowledged => {
                Some("records that the ledger has are missing")
            }
            (_, Some(_)) if last_seq < marked => Some("records that were durable are missing"),
            (None, None) => Some("it is missing"),
            (None, Some(front)) if front.first_seq != 1 => Some("its memory is missing"),
            (Some(_), None | Some(_)) | (None, Some(_)) => None,
        };
        // The mark and the ledger's word would find out what the mutant did.
        #[cfg(feature = "planted")]
        let missing = missing.filter(|_| !writ_protocol::planted::is(writ_protocol::planted::Bug::DamageCut));
        let damage = self.damage.or_else(|| missing.map(str::to_owned));
        match (damage, journal_id) {
            (Some(why), _) => Verdict::Damaged {
                journal_id,
                last_seq,
                last_hash,
                why,
            },
            (None, _) if is_empty => Verdict::Empty,
            (None, Some(journal_id)) => Verdict::Sound {
                segments: self.segments,
                journal_id,
                hash: last_hash,
                torn: self.torn,
                is_proven: last_seq <= marked,
            },
            (None, None) => Verdict::Empty,
        }
    }
}

/// The orders that were accepted and have not ended, each with the sequence number of its acceptance: what a restart takes them up from.
#[derive(Clone, Debug, Default)]
pub(super) struct Open(BTreeMap<OrderId, u64>);

impl Open {
    pub(super) fn note(&mut self, seq: u64, record: Option<&Record>) {
        if let Some(Record::OrderAccepted(accepted)) = record {
            self.0.insert(accepted.order_id, seq);
        } else if let Some(order_id) = ended(record) {
            self.0.remove(&order_id);
        }
    }

    /// The first frame that is still needed; none while nothing is open.
    pub(super) fn first(&self) -> Option<u64> {
        self.0.values().min().copied()
    }
}

/// The order that a record ends for good.
pub(super) fn ended(record: Option<&Record>) -> Option<OrderId> {
    match record? {
        Record::OrderDone(done) => Some(done.order_id),
        Record::OrderRefused(refused) => Some(refused.order_id),
        Record::SessionStart(_)
        | Record::HighWater(_)
        | Record::OrderAccepted(_)
        | Record::StepIntent(_)
        | Record::StepResult(_)
        | Record::BlobChunk(_)
        | Record::Signed(_)
        | Record::Alarm(_)
        | Record::ManifestRefused(_)
        | Record::HaltObserved(_)
        | Record::DriftSeen(_) => None,
    }
}
