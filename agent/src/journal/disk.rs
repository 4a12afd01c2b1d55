//! The disk as the journal sees it: few operations, each of which may fail, and nothing durable before it is synced. The real one is here;
//! [`sim::SimDisk`] is the one that loses, tears and fails on purpose.

pub mod sim;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, FlockOperation, RenameFlags, renameat_with};
use rustix::io::Errno;

/// A directory of append-only files. Names are plain; `a/b` puts a file aside into a directory `a`, where nobody reads it again.
///
/// Calls block. Durable is what was synced: a file's bytes by [`Disk::sync`], its name by [`Disk::sync_dir`].
pub trait Disk: Send + Sync + Debug {
    /// Makes an empty file, in place of one that has the name.
    fn create(&self, name: &str) -> io::Result<()>;
    /// Adds bytes to the end. An error may leave a part of them.
    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Writes over bytes that the file has; some of them may be old and some new after a crash.
    fn overwrite(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file to a length.
    fn truncate(&self, name: &str, length: u64) -> io::Result<()>;
    /// Makes the bytes of a file durable. After an error nothing is known about them, whatever a later call says.
    fn sync(&self, name: &str) -> io::Result<()>;
    /// Makes names durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Gives a file another name, in place of one that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Two files take each other's name, at once. Where the host cannot do that, `next` takes the place of `name`.
    fn swap(&self, next: &str, name: &str) -> io::Result<()>;
    /// At most `max` bytes from `offset` on.
    fn read(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>>;
    /// The length of a file, bytes.
    fn length(&self, name: &str) -> io::Result<u64>;
    /// Removes a file; one that is not there is no error.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Names of the files here, sorted; not of those put aside.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Bytes that can still be written.
    fn free(&self) -> io::Result<u64>;
    /// Makes a file that takes `length` bytes of disk.
    fn allocate(&self, name: &str, length: u64) -> io::Result<()>;
    /// Lets go of what is held open for a file that will not be written again.
    fn close(&self, name: &str);
    /// Whether every call is quick enough for an asynchronous task.
    fn is_memory(&self) -> bool {
        false
    }
}

/// Puts `bytes` under `name`, durably, and never half. The file that they take the place of is kept and written the next time: to make one and to
/// remove one cost the host more than all the rest.
///
/// # Errors
/// What the disk says; then the old content stands.
pub fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let next = format!("{name}.next");
    let is_there = |name: &str| match disk.length(name) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    if is_there(&next)? {
        disk.truncate(&next, 0)?;
    } else {
        disk.create(&next)?;
    }
    disk.append(&next, bytes)?;
    disk.sync(&next)?;
    disk.close(&next);
    if is_there(name)? {
        disk.swap(&next, name)?;
    } else {
        disk.rename(&next, name)?;
    }
    disk.sync_dir()
}

/// Every byte of a file of at most `max` bytes.
///
/// # Errors
/// What the disk says, and `InvalidData` for a longer file.
pub fn read_all(disk: &dyn Disk, name: &str, max: u64) -> io::Result<Vec<u8>> {
    let length = disk.length(name)?;
    if length > max {
        let what = format!("{name} has {length} bytes, at most {max} are accepted");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    disk.read(name, 0, usize::try_from(length).unwrap_or(usize::MAX))
}

/// A directory of the host.
#[derive(Debug)]
pub struct RealDisk {
    dir: PathBuf,
    handle: File,
    open: Mutex<BTreeMap<String, File>>,
    /// Held for as long as the process has the directory.
    _lock: File,
}

impl RealDisk {
    /// Takes a directory, making it where it is missing. One process at a time may have it.
    ///
    /// # Errors
    /// What the host says; `WouldBlock` when another process has it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        rustix::fs::chmod(dir, rustix::fs::Mode::RWXU)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(dir.join("lock"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            dir: dir.to_owned(),
            handle: File::open(dir)?,
            open: Mutex::default(),
            _lock: lock,
        })
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, File>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the file's handle. Handles stay open between write and sync: an error of the flush is told to those who held the file.
    fn with<T>(&self, name: &str, work: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
        let mut files = self.files();
        if !files.contains_key(name) {
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .open(self.dir.join(name))?;
            files.insert(name.to_owned(), file);
        }
        match files.get_mut(name) {
            Some(file) => work(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<()> {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(self.dir.join(name))?;
        drop(file);
        self.close(name);
        self.with(name, |_| Ok(()))
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.with(name, |file| file.write_all(bytes))
    }

    fn overwrite(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // A handle of its own: those that are kept open write at the end, wherever they are told to.
        let file = OpenOptions::new().write(true).open(self.dir.join(name))?;
        file.write_all_at(bytes, offset)
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.with(name, |file| file.set_len(length))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.with(name, |file| file.sync_data())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let target = self.dir.join(to);
        if let Some(parent) = target.parent()
            && parent != self.dir
        {
            fs::create_dir_all(parent)?;
        }
        self.close(from);
        self.close(to);
        fs::rename(self.dir.join(from), target)
    }

    fn swap(&self, next: &str, name: &str) -> io::Result<()> {
        self.close(next);
        self.close(name);
        match renameat_with(&self.handle, next, &self.handle, name, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.rename(next, name),
            other => Ok(other?),
        }
    }

    fn read(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        read_part(&self.dir.join(name), offset, max)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.dir.join(name))?.len())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.close(name);
        match fs::remove_file(self.dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        names(&self.dir)
    }

    fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.handle)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn allocate(&self, name: &str, length: u64) -> io::Result<()> {
        self.create(name)?;
        self.with(name, |file| {
            match rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, length) {
                // A file system without reservation: zeros do as well.
                Err(Errno::OPNOTSUPP) => zeros(file, length),
                other => Ok(other?),
            }
        })?;
        self.close(name);
        Ok(())
    }

    fn close(&self, name: &str) {
        drop(self.files().remove(name));
    }
}

fn zeros(file: &mut File, length: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(length), file).map(|_| ())
}

/// A directory that is only looked at; every change is refused.
#[derive(Debug)]
pub struct ReadOnly {
    dir: PathBuf,
}

impl ReadOnly {
    /// Looks at a directory.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::metadata(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }
}

fn refuse<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for ReadOnly {
    fn create(&self, _name: &str) -> io::Result<()> {
        refuse()
    }
    fn append(&self, _name: &str, _bytes: &[u8]) -> io::Result<()> {
        refuse()
    }
    fn overwrite(&self, _name: &str, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        refuse()
    }
    fn truncate(&self, _name: &str, _length: u64) -> io::Result<()> {
        refuse()
    }
    fn sync(&self, _name: &str) -> io::Result<()> {
        refuse()
    }
    fn sync_dir(&self) -> io::Result<()> {
        refuse()
    }
    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refuse()
    }
    fn swap(&self, _next: &str, _name: &str) -> io::Result<()> {
        refuse()
    }
    fn read(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        read_part(&self.dir.join(name), offset, max)
    }
    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.dir.join(name))?.len())
    }
    fn remove(&self, _name: &str) -> io::Result<()> {
        refuse()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        names(&self.dir)
    }
    fn free(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn allocate(&self, _name: &str, _length: u64) -> io::Result<()> {
        refuse()
    }
    fn close(&self, _name: &str) {}
}

fn read_part(path: &Path, offset: u64, max: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(u64::try_from(max).unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file()
            && let Some(name) = entry.file_name().to_str()
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}
