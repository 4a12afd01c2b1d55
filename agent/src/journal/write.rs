//! Writing: frames at the end, segments one after another, and what to do when the disk is full or fails.

use std::io;

use writ_protocol::frame::Frame;
use writ_protocol::record::Record;
use writ_protocol::time::Timestamp;

use super::recovery::{self, Found};
use super::segment::{self, Header};
use super::{Journal, JournalError, Position, Stamp};

impl Journal {
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
        for (record, seq) in records.iter().zip(self.end.seq.saturating_add(1)..) {
            self.open.note(seq, Some(record));
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
            #[cfg(feature = "planted")]
            if writ_protocol::planted::is(writ_protocol::planted::Bug::FlushSkipped) {
                self.durable = self.end;
                return Ok(());
            }
            self.disk
                .sync(&name)
                .map_err(|source| self.broken("flush", source))?;
        }
        self.durable = self.end;
        let marked = self
            .mark
            .set(self.disk.as_ref(), self.meta.journal_id, self.durable.seq);
        marked.map_err(|source| self.broken("write its mark", source))?;
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

    pub(super) fn broken(&mut self, what: &'static str, source: io::Error) -> JournalError {
        self.is_broken = true;
        JournalError::Disk { what, source }
    }
}
