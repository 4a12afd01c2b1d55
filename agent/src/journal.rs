//! What the agent did and what it still owes: one append-only log of frames, chained by hash, that survives power failures and says so
//! when it does not.
//!
//! [`Journal::append`] writes, [`Journal::sync`] makes durable, [`Journal::read`] hands out frames that are durable, and nothing else
//! leaves the host. A disk that fails to flush ends the process: what the kernel says afterwards about those bytes is not to be believed.
//! Blocking; the agent calls it from a blocking thread, unless the disk is in memory.

pub mod disk;
pub mod docket;
pub mod inspect;
pub mod meta;
pub mod quota;
pub mod recovery;
pub mod segment;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use writ_protocol::codec::CodecError;
use writ_protocol::digest::Digest;
use writ_protocol::frame::{Frame, FrameError};
use writ_protocol::id::{JournalId, SessionId};
use writ_protocol::manifest::Generation;
use writ_protocol::reason::Code;
use writ_protocol::record::{Alarm, Record, SessionStart};
use writ_protocol::time::Timestamp;

use crate::config::JournalConfig;
use disk::Disk;
use docket::Docket;
use meta::Meta;
use recovery::{Found, Verdict};
pub use recovery::{Replayed, Torn};
use segment::Header;

/// The file that is given up to write the last records on a full disk.
pub const BALLAST: &str = "ballast";
/// Acknowledged frames between two writings of the watermark; a lost one is only sent again.
const MARK_EVERY: u64 = 256;
/// Words kept of an error.
const DETAIL_CHARS: usize = 512;

/// Why the journal does not go on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed. The process must end and recover from what is durable.
    #[error("the journal's disk failed to {what}; the process ends and recovers from disk")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// There is no room left, and the ballast is used up.
    #[error("the journal's disk is full")]
    Full,
    /// An earlier failure: nothing is written any more.
    #[error("the journal stopped at an earlier failure")]
    Broken,
    /// A record is too large or cannot be encoded.
    #[error("a record cannot be written")]
    Record(#[from] CodecError),
    /// A frame cannot be written.
    #[error("a frame cannot be written")]
    Frame(#[from] FrameError),
    /// These frames are not there (any more).
    #[error("frame {seq} is not in the journal, which holds {first} to {last}")]
    NotHere {
        /// Which was wanted.
        seq: u64,
        /// The oldest kept.
        first: u64,
        /// The newest durable.
        last: u64,
    },
}

impl JournalError {
    /// Whether the process must end.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Disk { .. } | Self::Full | Self::Broken)
    }

    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Disk { .. } | Self::Broken => Code::JournalSyncFailed,
            Self::Full => Code::DiskFull,
            Self::Record(_) | Self::Frame(_) | Self::NotHere { .. } => Code::Internal,
        }
    }
}

/// When something was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The wall clock.
    pub wall: Timestamp,
    /// The boot clock, nanoseconds.
    pub boot_ns: u64,
}

/// A place in the chain: a sequence number and the chain value after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The sequence number; 0 before the first frame.
    pub seq: u64,
    /// The chain value after it.
    pub hash: Digest,
}

/// What a start needs to know.
#[derive(Clone, Debug)]
pub struct Start {
    /// This life of the process.
    pub session_id: SessionId,
    /// The journal's name if a new one has to begin.
    pub fresh_id: JournalId,
    /// The agent's version.
    pub agent_version: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Now.
    pub stamp: Stamp,
}

/// The journal before this one: its name, its last good sequence number and the chain value there.
type Replaced = (JournalId, u64, Digest);

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// An end that was cut.
    pub torn: Option<Torn>,
    /// Why the journal before this one was set aside.
    pub damage: Option<String>,
    /// High water as the journal's memory has it; its frames may know more.
    pub high_water: Generation,
    /// Control epoch as the journal's memory has it.
    pub control_epoch: u64,
}

/// Consecutive durable frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Sequence number of the first.
    pub first_seq: u64,
    /// Sequence number of the last.
    pub last_seq: u64,
    /// Chain value before the first.
    pub prev_hash: Digest,
    /// Chain value after the last.
    pub last_hash: Digest,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

/// The log of one agent. One owner.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    config: JournalConfig,
    meta: Meta,
    segments: VecDeque<Found>,
    end: Position,
    durable: Position,
    cursor: Option<Cursor>,
    has_ballast: bool,
    is_broken: bool,
}

/// Where the last read ended, so that the next one need not search.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    segment: u64,
    offset: u64,
    next: Position,
}

impl Journal {
    /// Makes the memory of a new journal at enrolment, so that its absence later is known to be a loss.
    ///
    /// # Errors
    /// What the disk says.
    pub fn create(disk: &dyn Disk, journal_id: JournalId) -> io::Result<()> {
        Meta::new(journal_id).store(disk)
    }

    /// Opens the journal, hands every frame to `visit`, and writes this start's first records, durably.
    ///
    /// # Errors
    /// [`JournalError`]; a damaged journal is none: it is put into `quarantine/` and a new one begins.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: JournalConfig,
        start: Start,
        visit: &mut dyn FnMut(Replayed<'_>),
    ) -> Result<(Self, Report), JournalError> {
        let fail = |what| move |source| JournalError::Disk { what, source };
        let known = Meta::load(disk.as_ref()).map_err(fail("read its memory"))?;
        let mut newest = 0;
        let mut seen = |replayed: Replayed<'_>| {
            if let Some(Record::SessionStart(started)) = &replayed.record {
                newest = newest.max(started.incarnation);
            }
            visit(replayed);
        };
        let verdict =
            recovery::scan(disk.as_ref(), known.as_ref(), &mut seen).map_err(fail("read its segments"))?;
        let mut meta = known.unwrap_or_else(|| Meta::new(start.fresh_id));
        meta.incarnation = meta.incarnation.max(newest) + 1;
        let mut journal = Self {
            disk,
            config,
            meta,
            segments: VecDeque::new(),
            end: Position {
                seq: 0,
                hash: Digest::ZERO,
            },
            durable: Position {
                seq: 0,
                hash: Digest::ZERO,
            },
            cursor: None,
            has_ballast: false,
            is_broken: false,
        };
        let (report, replaces) = journal.take_over(verdict, start.fresh_id)?;
        journal.begin(start, &report, replaces)?;
        Ok((journal, report))
    }

    fn take_over(
        &mut self,
        verdict: Verdict,
        fresh: JournalId,
    ) -> Result<(Report, Option<Replaced>), JournalError> {
        let mut report = Report {
            high_water: self.meta.high_water,
            control_epoch: self.meta.control_epoch,
            ..Report::default()
        };
        match verdict {
            Verdict::Empty => Ok((report, None)),
            Verdict::Sound {
                segments,
                journal_id,
                hash,
                torn,
            } => {
                self.meta.journal_id = journal_id;
                let seq = segments.back().map_or(0, |last| last.last_seq);
                self.end = Position { seq, hash };
                self.segments = segments;
                if let Some(torn) = &torn {
                    self.cut(torn)?;
                }
                report.torn = torn;
                self.durable = self.end;
                Ok((report, None))
            }
            Verdict::Damaged {
                journal_id,
                last_seq,
                last_hash,
                why,
            } => {
                self.set_aside(fresh)?;
                report.damage = Some(why);
                Ok((report, journal_id.map(|id| (id, last_seq, last_hash))))
            }
        }
    }

    fn cut(&self, torn: &Torn) -> Result<(), JournalError> {
        let name = &torn.segment;
        if torn.offset == 0 {
            self.disk.remove(name).and_then(|()| self.disk.sync_dir())
        } else {
            self.disk
                .truncate(name, torn.offset)
                .and_then(|()| self.disk.sync(name))
        }
        .map_err(|source| JournalError::Disk {
            what: "cut its torn end",
            source,
        })
    }

    /// Moves every segment into `quarantine/` and starts a new journal. Condemned first: a crash in between must not make the rest look sound.
    fn set_aside(&mut self, fresh: JournalId) -> Result<(), JournalError> {
        let fail = |source| JournalError::Disk {
            what: "set a damaged journal aside",
            source,
        };
        self.meta.condemned = true;
        self.meta.store(self.disk.as_ref()).map_err(fail)?;
        let aside = format!("quarantine/{}-{}", self.meta.journal_id, self.meta.incarnation);
        for name in self.disk.list().map_err(fail)? {
            if segment::index_of(&name).is_some() {
                self.disk
                    .rename(&name, &format!("{aside}/{name}"))
                    .map_err(fail)?;
            }
        }
        self.disk.sync_dir().map_err(fail)?;
        let old = &self.meta;
        self.meta = Meta {
            counter: old.counter,
            incarnation: old.incarnation,
            high_water: old.high_water,
            control_epoch: old.control_epoch,
            ..Meta::new(fresh)
        };
        self.meta.store(self.disk.as_ref()).map_err(fail)
    }

    fn begin(
        &mut self,
        start: Start,
        report: &Report,
        replaces: Option<Replaced>,
    ) -> Result<(), JournalError> {
        self.raise_ballast();
        let mut records = vec![Record::SessionStart(SessionStart {
            session_id: start.session_id,
            journal_id: self.meta.journal_id,
            incarnation: self.meta.incarnation,
            agent_version: start.agent_version,
            boot_id: start.boot_id,
            replaces,
        })];
        let mut alarm = |code, detail: String| {
            let detail = detail.chars().take(DETAIL_CHARS).collect();
            records.push(Record::Alarm(Alarm { code, detail }));
        };
        if let Some(torn) = &report.torn {
            alarm(
                Code::JournalTorn,
                format!(
                    "{} bytes of {} were cut at byte {}",
                    torn.bytes, torn.segment, torn.offset
                ),
            );
        }
        if let Some(why) = &report.damage {
            alarm(Code::JournalDamaged, format!("the journal was set aside: {why}"));
        }
        self.append(&records, start.stamp)?;
        self.sync()?;
        self.meta.used = true;
        self.store_meta()
    }

    /// Writes records; not yet durable. Gives the sequence number of the last.
    ///
    /// # Errors
    /// [`JournalError`]; then none of them is in the journal.
    pub fn append(&mut self, records: &[Record], stamp: Stamp) -> Result<u64, JournalError> {
        if self.is_broken {
            return Err(JournalError::Broken);
        }
        let (mut bytes, mut end) = (Vec::new(), self.end);
        for record in records {
            let payload = record.encode()?;
            let frame = Frame {
                kind: record.kind().number(),
                seq: end.seq + 1,
                boot_ns: stamp.boot_ns,
                wall: stamp.wall,
                payload: &payload,
            };
            frame.encode(&mut bytes)?;
            end = Position {
                seq: frame.seq,
                hash: frame.link(&end.hash),
            };
        }
        if bytes.is_empty() {
            return Ok(end.seq);
        }
        let room = self.config.segment_bytes.saturating_sub(bytes.len() as u64);
        if self
            .segments
            .back()
            .is_none_or(|last| last.bytes > room && last.last_seq >= last.first_seq)
        {
            self.roll()?;
        }
        self.write(&bytes)?;
        if let Some(last) = self.segments.back_mut() {
            last.bytes += bytes.len() as u64;
            (last.last_seq, last.last_wall) = (end.seq, stamp.wall);
            last.done
                .extend(records.iter().filter_map(|record| recovery::ended(Some(record))));
        }
        self.end = end;
        Ok(end.seq)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let Some((name, length)) = self
            .segments
            .back()
            .map(|last| (segment::name(last.index), last.bytes))
        else {
            return Err(JournalError::Broken);
        };
        loop {
            let Err(source) = self.disk.append(&name, bytes) else {
                return Ok(());
            };
            // Whatever part was written must not stand in front of the next frame.
            self.disk
                .truncate(&name, length)
                .map_err(|source| self.broken("take back half a frame", source))?;
            if source.kind() != io::ErrorKind::StorageFull {
                return Err(self.broken("write", source));
            }
            if !self.drop_ballast()? {
                return Err(JournalError::Full);
            }
        }
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// [`JournalError::Disk`]: the process must end.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        if self.is_broken {
            return Err(JournalError::Broken);
        }
        if self.durable == self.end {
            return Ok(());
        }
        if let Some(name) = self.segments.back().map(|last| segment::name(last.index)) {
            self.disk
                .sync(&name)
                .map_err(|source| self.broken("flush", source))?;
        }
        self.durable = self.end;
        Ok(())
    }

    fn roll(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        let last = self.segments.back();
        let index = last.map_or(1, |last| last.index + 1);
        if let Some(last) = last {
            self.disk.close(&segment::name(last.index));
        }
        let (first_seq, prev_hash) = (self.end.seq + 1, self.end.hash);
        let header = Header {
            journal_id: self.meta.journal_id,
            incarnation: self.meta.incarnation,
            first_seq,
            prev_hash,
        };
        let name = segment::name(index);
        let head = header.encode();
        loop {
            let made = self
                .disk
                .create(&name)
                .and_then(|()| self.disk.append(&name, &head));
            match made {
                Ok(()) => break,
                Err(source) if source.kind() == io::ErrorKind::StorageFull => {
                    self.disk
                        .remove(&name)
                        .map_err(|source| self.broken("remove half a segment", source))?;
                    if !self.drop_ballast()? {
                        return Err(JournalError::Full);
                    }
                }
                Err(source) => return Err(self.broken("begin a segment", source)),
            }
        }
        let durable = self.disk.sync(&name).and_then(|()| self.disk.sync_dir());
        durable.map_err(|source| self.broken("flush a new segment", source))?;
        self.segments.push_back(Found {
            index,
            first_seq,
            prev_hash,
            last_seq: self.end.seq,
            bytes: head.len() as u64,
            last_wall: Timestamp::default(),
            done: Vec::new(),
        });
        Ok(())
    }

    fn broken(&mut self, what: &'static str, source: io::Error) -> JournalError {
        self.is_broken = true;
        JournalError::Disk { what, source }
    }

    fn store_meta(&mut self) -> Result<(), JournalError> {
        let stored = self.meta.store(self.disk.as_ref());
        stored.map_err(|source| self.broken("write its memory", source))
    }

    /// Keeps the high water beside the frames, so that a damaged journal does not take it along.
    ///
    /// # Errors
    /// [`JournalError::Disk`].
    pub fn remember(&mut self, high_water: Generation, control_epoch: u64) -> Result<(), JournalError> {
        let epoch = self.meta.control_epoch.max(control_epoch);
        let water = self.meta.high_water.max(high_water);
        if (water, epoch) == (self.meta.high_water, self.meta.control_epoch) {
            return Ok(());
        }
        (self.meta.high_water, self.meta.control_epoch) = (water, epoch);
        self.store_meta()
    }

    /// Marks the journal as one that must not go on: the ledger holds records that it does not have.
    ///
    /// # Errors
    /// [`JournalError::Disk`].
    pub fn condemn(&mut self) -> Result<(), JournalError> {
        self.meta.condemned = true;
        self.store_meta()
    }

    /// Durable frames from `seq` on, at most `frames` and `bytes`; one frame at least. `None` when nothing is durable from there on.
    ///
    /// # Errors
    /// [`JournalError::NotHere`] for frames that were removed, and what the disk says.
    pub fn read(&mut self, seq: u64, frames: usize, bytes: usize) -> Result<Option<Run>, JournalError> {
        let first = self.segments.front().map_or(1, |front| front.first_seq);
        if seq > self.durable.seq {
            return Ok(None);
        }
        let not_here = JournalError::NotHere {
            seq,
            first,
            last: self.durable.seq,
        };
        let holds = |found: &&Found| found.first_seq <= seq && seq <= found.last_seq;
        let Some(found) = self.segments.iter().find(holds) else {
            return Err(not_here);
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

    /// The journal's name.
    pub const fn id(&self) -> JournalId {
        self.meta.journal_id
    }

    /// How often the agent has started.
    pub const fn incarnation(&self) -> u64 {
        self.meta.incarnation
    }

    /// The newest frame, durable or not.
    pub const fn end(&self) -> Position {
        self.end
    }

    /// The newest durable frame.
    pub const fn durable(&self) -> Position {
        self.durable
    }

    /// The newest frame that the ledger is known to have.
    pub const fn acknowledged(&self) -> u64 {
        self.meta.acknowledged
    }

    /// The docket beside the frames.
    pub fn docket(&self) -> Docket {
        Docket::new(Arc::clone(&self.disk))
    }

    /// Whether calls are quick enough for an asynchronous task.
    pub fn is_memory(&self) -> bool {
        self.disk.is_memory()
    }
}

/// Bytes read from a segment at once: the largest frame fits.
const READ_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests;
