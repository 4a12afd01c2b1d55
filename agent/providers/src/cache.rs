//! What was read of a host, kept while the files it came from stay the same: a check of five hundred packages reads the database once.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::AtFlags;

/// How some files looked: number, length and both times of each, nothing for one that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Option<[i128; 6]>>);

impl Stamp {
    /// How the files at these paths, relative to the root, look now.
    pub(crate) fn of(root: &OwnedFd, paths: &[&str]) -> Self {
        let look = |path: &&str| {
            let stat = rustix::fs::statat(root, *path, AtFlags::empty()).ok()?;
            Some([
                i128::from(stat.st_ino),
                i128::from(stat.st_size),
                i128::from(stat.st_mtime),
                i128::from(stat.st_mtime_nsec),
                i128::from(stat.st_ctime),
                i128::from(stat.st_ctime_nsec),
            ])
        };
        Self(paths.iter().map(look).collect())
    }

    /// Whether none of the files is there.
    pub(crate) fn is_nothing(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// Something read, with the stamp of what it was read from.
#[derive(Debug)]
pub(crate) struct Kept<T>(Mutex<Option<(Stamp, Arc<T>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Kept<T> {
    /// What was read when things looked like this, or what `read` reads. The stamp was made before: what changes meanwhile is read again.
    pub(crate) fn get<E>(&self, stamp: Stamp, read: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, value)) = &*held
            && *then == stamp
        {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(read()?);
        *held = Some((stamp, Arc::clone(&value)));
        Ok(value)
    }

    /// Forgets it: whoever changed something must see what came of it, however coarse the clock of the file system.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
