//! How much disk the journal takes, and what it does when there is little: it forgets only what the ledger has, keeps a reserve of that to
//! send again after a restore, and gives up its ballast to end what runs.

use std::time::Duration;

use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;

use super::{BALLAST, Journal, JournalError, MARK_EVERY, segment};

impl Journal {
    /// Takes the ledger's word that it has every frame up to `upto`. May go back, after a restore. Removes what need not be kept.
    ///
    /// # Errors
    /// [`JournalError::Disk`].
    pub fn acknowledge(&mut self, upto: u64, hash: Digest, now: Timestamp) -> Result<(), JournalError> {
        let (mut upto, mut hash) = (upto.min(self.durable.seq), hash);
        if let Some(front) = self.segments.front()
            && upto.saturating_add(1) < front.first_seq
        {
            // What was let go of had been committed: that it is not here is no damage, whatever a restored ledger remembers.
            (upto, hash) = (front.first_seq - 1, front.prev_hash);
        }
        let moved = upto.abs_diff(self.meta.acknowledged);
        (self.meta.acknowledged, self.meta.acknowledged_hash) = (upto, hash);
        let removed = self.trim(now)?;
        if removed || moved >= MARK_EVERY || upto == self.durable.seq && moved > 0 && self.is_memory() {
            self.store_meta()?;
        }
        Ok(())
    }

    /// Removes the oldest segments that the ledger has, that no open order needs, that are beyond the reserve and old; with little disk also
    /// younger ones.
    fn trim(&mut self, now: Timestamp) -> Result<bool, JournalError> {
        let free = self
            .disk
            .free()
            .map_err(|source| self.broken("ask for room", source))?;
        let is_tight = free < self.config.reserve_bytes.saturating_mul(2);
        let age = Duration::from_secs(self.config.retain_hours.saturating_mul(3_600));
        let mut kept: u64 = self.segments.iter().map(|found| found.bytes).sum();
        let mut removed = false;
        while let Some(front) = self.segments.front() {
            let is_old = now.since(front.last_wall) > age;
            let is_committed = front.last_seq <= self.meta.acknowledged;
            #[cfg(feature = "planted")]
            let is_committed =
                is_committed || writ_protocol::planted::is(writ_protocol::planted::Bug::UnackedRemoved);
            // A restart takes an order up from its acceptance on: without that frame it would be forgotten, however long ago it was.
            let is_needed = self.open.first().is_some_and(|first| first <= front.last_seq);
            #[cfg(feature = "planted")]
            let is_needed =
                is_needed && !writ_protocol::planted::is(writ_protocol::planted::Bug::OpenForgotten);
            let may_go = self.segments.len() > 1
                && is_committed
                && !is_needed
                && kept.saturating_sub(front.bytes) >= self.config.retain_bytes
                && (is_old || is_tight);
            if !may_go {
                break;
            }
            let (name, bytes, done) = (segment::name(front.index), front.bytes, front.done.clone());
            // What was done must stay known before the frames that say so are gone; and the mark, or the gap would look like a loss.
            let noted = self.docket().add_done(&done);
            noted.map_err(|source| self.broken("note what was done", source))?;
            if !removed {
                self.store_meta()?;
            }
            let gone = self.disk.remove(&name).and_then(|()| self.disk.sync_dir());
            gone.map_err(|source| self.broken("remove a segment", source))?;
            self.segments.pop_front();
            kept = kept.saturating_sub(bytes);
            removed = true;
        }
        Ok(removed)
    }

    /// Writes the watermark; for a quiet end.
    ///
    /// # Errors
    /// [`JournalError::Disk`].
    pub fn close(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        self.store_meta()
    }

    /// Bytes of free disk.
    pub fn free(&self) -> u64 {
        self.disk.free().unwrap_or(0)
    }

    /// Whether there is too little disk to take anything new on.
    pub fn is_tight(&mut self) -> bool {
        if !self.has_ballast {
            self.raise_ballast();
        }
        !self.has_ballast || self.free() < self.config.reserve_bytes
    }

    pub(super) fn raise_ballast(&mut self) {
        let wanted = self.config.ballast_bytes;
        if self
            .disk
            .list()
            .is_ok_and(|names| names.iter().any(|name| name == BALLAST))
        {
            self.has_ballast = true;
        } else if self.free() >= self.config.reserve_bytes.saturating_add(wanted) {
            // Without ballast nothing new is taken on, so a failure here shows as a full disk.
            self.has_ballast = self.disk.allocate(BALLAST, wanted).is_ok();
        }
    }

    /// Gives the ballast up; `false` when it was given up before.
    pub(super) fn drop_ballast(&mut self) -> Result<bool, JournalError> {
        if !std::mem::take(&mut self.has_ballast) {
            return Ok(false);
        }
        let gone = self.disk.remove(BALLAST).and_then(|()| self.disk.sync_dir());
        gone.map_err(|source| self.broken("give its ballast up", source))?;
        Ok(true)
    }
}
