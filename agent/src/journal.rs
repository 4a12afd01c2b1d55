//! What the agent did and what it still owes: one append-only log of frames, chained by hash, that survives power failures and says so
//! when it does not.
//!
//! [`Journal::append`] writes, [`Journal::sync`] makes durable, [`Journal::read`] hands out frames that are durable, and nothing else
//! leaves the host. A disk that fails to flush ends the process: what the kernel says afterwards about those bytes is not to be believed.
//! Blocking; the agent calls it from a blocking thread, unless the disk is in memory.

pub mod disk;
pub mod docket;
pub mod inspect;
mod mark;
pub mod meta;
pub mod quota;
mod read;
pub mod recovery;
pub mod segment;
mod write;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use writ_protocol::codec::CodecError;
use writ_protocol::digest::Digest;
use writ_protocol::frame::FrameError;
use writ_protocol::id::{JournalId, SessionId};
use writ_protocol::manifest::Generation;
use writ_protocol::reason::Code;
use writ_protocol::record::{Alarm, Record, SessionStart};
use writ_protocol::time::Timestamp;

use crate::config::JournalConfig;
use disk::Disk;
use docket::Docket;
use mark::Mark;
use meta::Meta;
use recovery::{Found, Verdict};
pub use recovery::{Replayed, Torn};

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
    /// The first of the frames before them that are gone for good and are missed; for whoever sends to say.
    pub gone_from: Option<u64>,
}

/// The log of one agent. One owner.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    config: JournalConfig,
    meta: Meta,
    segments: VecDeque<Found>,
    open: recovery::Open,
    end: Position,
    durable: Position,
    mark: Mark,
    cursor: Option<read::Cursor>,
    has_ballast: bool,
    is_broken: bool,
    owes_memory: bool,
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
        let (mut newest, mut open) = (0, recovery::Open::default());
        let mut seen = |replayed: Replayed<'_>| {
            open.note(replayed.frame.seq, replayed.record.as_ref());
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
            open,
            end: Position {
                seq: 0,
                hash: Digest::ZERO,
            },
            durable: Position {
                seq: 0,
                hash: Digest::ZERO,
            },
            mark: Mark::default(),
            cursor: None,
            has_ballast: false,
            is_broken: false,
            owes_memory: false,
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
                is_proven,
            } => {
                self.meta.journal_id = journal_id;
                let seq = segments.back().map_or(0, |last| last.last_seq);
                self.end = Position { seq, hash };
                self.segments = segments;
                if let Some(torn) = &torn {
                    self.cut(torn)?;
                }
                if !is_proven {
                    self.write_anew()?;
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
                self.open = recovery::Open::default();
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

    /// Writes the last segment again and flushes it. After a flush that failed the kernel shows bytes that it will never write: what this process
    /// reads is then not what the disk holds, and a second flush of them says nothing.
    fn write_anew(&self) -> Result<(), JournalError> {
        let Some(last) = self.segments.back() else {
            return Ok(());
        };
        let name = segment::name(last.index);
        let disk = self.disk.as_ref();
        let again = |bytes: Vec<u8>| match disk::replace(disk, &name, &bytes) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                // A copy needs room for a moment; the ballast is raised again when there is some.
                disk.remove(BALLAST)?;
                disk::replace(disk, &name, &bytes)
            }
            other => other,
        };
        let written = disk::read_all(disk, &name, recovery::SEGMENT_READ_MAX).and_then(again);
        written.map_err(|source| JournalError::Disk {
            what: "write its last segment anew",
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
        #[cfg(feature = "planted")]
        let fresh = if writ_protocol::planted::is(writ_protocol::planted::Bug::JournalIdKept) {
            self.meta.journal_id
        } else {
            fresh
        };
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
        let prepared = Mark::prepare(self.disk.as_ref());
        prepared.map_err(|source| self.broken("make its mark", source))?;
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

    fn store_meta(&mut self) -> Result<(), JournalError> {
        let stored = self.meta.store(self.disk.as_ref());
        stored.map_err(|source| self.broken("write its memory", source))?;
        self.owes_memory = false;
        Ok(())
    }

    /// Takes note of the high water; [`Journal::keep_memory`] has it kept beside the frames.
    pub fn remember(&mut self, high_water: Generation, control_epoch: u64) {
        let epoch = self.meta.control_epoch.max(control_epoch);
        let water = self.meta.high_water.max(high_water);
        if (water, epoch) != (self.meta.high_water, self.meta.control_epoch) {
            (self.meta.high_water, self.meta.control_epoch) = (water, epoch);
            self.owes_memory = true;
        }
    }

    /// Keeps what was noted beside the frames, so that a damaged journal does not take it along. Nothing waits for it: the frames say the same,
    /// and none of them is removed before.
    ///
    /// # Errors
    /// [`JournalError::Disk`].
    pub fn keep_memory(&mut self) -> Result<(), JournalError> {
        if self.owes_memory {
            self.store_meta()?;
        }
        Ok(())
    }

    /// Whether there is something that [`Journal::keep_memory`] would keep.
    pub const fn owes_memory(&self) -> bool {
        self.owes_memory
    }

    /// Marks the journal as one that must not go on: the ledger holds records that it does not have.
    ///
    /// # Errors
    /// [`JournalError::Disk`].
    pub fn condemn(&mut self) -> Result<(), JournalError> {
        self.meta.condemned = true;
        self.store_meta()
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

#[cfg(test)]
mod tests;
