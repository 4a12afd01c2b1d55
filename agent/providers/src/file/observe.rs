//! What stands at a path. For the common case, a file that is as it should be: open, stat, one read, close, and nothing else.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use writ_protocol::digest::{Digest, Hasher};
use writ_protocol::graph::{FileSpec, FileState};

use crate::accounts::Accounts;
use crate::error::Error;
use crate::observation::{FileObservation, Found};

/// Larger files are described without a digest.
const DIGESTED_BYTES_MAX: u64 = 1 << 30;
/// Files up to this length are read in one go.
const ONE_READ_BYTES_MAX: u64 = 1 << 20;
/// Buffer for longer ones.
const BUFFER_BYTES: usize = 256 << 10;

pub(crate) fn observe(
    root: &OwnedFd,
    spec: &FileSpec,
    accounts: &Accounts,
) -> Result<FileObservation, Error> {
    let relative = relative(&spec.path);
    // Opening a device can do something; where no file is expected, look first.
    let expects_file = matches!(spec.state, FileState::Content { .. });
    let found = if expects_file {
        open_and_look(root, relative, spec, accounts)?
    } else {
        look_first(root, relative, spec, accounts)?
    };
    Ok(FileObservation {
        path: spec.path.clone(),
        found,
    })
}

/// A path relative to the root's descriptor.
fn relative(path: &str) -> &str {
    path.strip_prefix('/')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(".")
}

fn open_and_look(
    root: &OwnedFd,
    relative: &str,
    spec: &FileSpec,
    accounts: &Accounts,
) -> Result<Found, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat(root, relative, flags, Mode::empty()) {
        Ok(file) => {
            let stat = rustix::fs::fstat(&file).map_err(Error::at("look at", &spec.path))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                return regular(file, &stat, &spec.path, accounts);
            }
            describe(root, relative, &stat, spec, accounts)
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(Found::Absent),
        // A link, or something that does not open: a socket, a device without a driver.
        Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => look_first(root, relative, spec, accounts),
        Err(errno) => Err(Error::at("read", &spec.path)(errno)),
    }
}

fn look_first(root: &OwnedFd, relative: &str, spec: &FileSpec, accounts: &Accounts) -> Result<Found, Error> {
    match rustix::fs::statat(root, relative, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            let flags =
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(root, relative, flags, Mode::empty())
                .map_err(Error::at("read", &spec.path))?;
            let stat = rustix::fs::fstat(&file).map_err(Error::at("look at", &spec.path))?;
            regular(file, &stat, &spec.path, accounts)
        }
        Ok(stat) => describe(root, relative, &stat, spec, accounts),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(Found::Absent),
        Err(errno) => Err(Error::at("look at", &spec.path)(errno)),
    }
}

/// Everything but a regular file.
fn describe(
    root: &OwnedFd,
    relative: &str,
    stat: &Stat,
    spec: &FileSpec,
    accounts: &Accounts,
) -> Result<Found, Error> {
    let owner = accounts.owner(stat.st_uid, stat.st_gid);
    let other = |kind: &str| {
        Ok(Found::Other {
            kind: kind.to_owned(),
        })
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let empty = matches!(spec.state, FileState::Absent)
                .then(|| is_empty(root, relative, &spec.path))
                .transpose()?;
            Ok(Found::Directory {
                mode: stat.st_mode & 0o7777,
                owner,
                empty,
            })
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(root, relative, Vec::new())
                .map_err(Error::at("read the link", &spec.path))?;
            Ok(Found::Symlink {
                target: target.to_string_lossy().into_owned(),
                owner,
            })
        }
        FileType::Fifo => other("fifo"),
        FileType::Socket => other("socket"),
        FileType::CharacterDevice => other("character device"),
        FileType::BlockDevice => other("block device"),
        FileType::RegularFile => other("file that changed while it was looked at"),
        FileType::Unknown => other("thing of unknown kind"),
    }
}

fn regular(file: OwnedFd, stat: &Stat, path: &str, accounts: &Accounts) -> Result<Found, Error> {
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    let (length, digest) = if length <= ONE_READ_BYTES_MAX {
        read_once(file, length, path)?
    } else if length <= DIGESTED_BYTES_MAX {
        read_long(file, path)?
    } else {
        (length, None)
    };
    Ok(Found::File {
        mode: stat.st_mode & 0o7777,
        owner: accounts.owner(stat.st_uid, stat.st_gid),
        length,
        digest,
    })
}

/// One read takes it all: the buffer is a byte longer than the file, so a read that does not fill it has met the end.
fn read_once(file: OwnedFd, length: u64, path: &str) -> Result<(u64, Option<Digest>), Error> {
    let mut buffer = vec![0; usize::try_from(length).unwrap_or(0) + 1];
    let mut filled = 0;
    loop {
        let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) else {
            // It grows while it is read; what it will be nobody knows, and it is not what it was.
            return read_long(file, path);
        };
        let got = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *room))
            .map_err(Error::at("read", path))?;
        filled += got;
        if got == 0 || filled as u64 >= length && filled < buffer.len() {
            let bytes = buffer.get(..filled).unwrap_or_default();
            return Ok((filled as u64, Some(Digest::of(bytes))));
        }
    }
}

fn read_long(file: OwnedFd, path: &str) -> Result<(u64, Option<Digest>), Error> {
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).map_err(Error::at("read", path))?;
    // A file that grows for ever is read to the bound and no further.
    let mut file = File::from(file).take(DIGESTED_BYTES_MAX);
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut hasher, mut length) = (Hasher::new(), 0_u64);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((length, Some(hasher.finish()))),
            Ok(got) => {
                hasher.update(buffer.get(..got).unwrap_or_default());
                length = length.saturating_add(got as u64);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error(path)(error)),
        }
    }
}

fn io_error(path: &str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Path {
        action: "read",
        path: path.to_owned(),
        hint: "see the cause",
        source,
    }
}

fn is_empty(root: &OwnedFd, relative: &str, path: &str) -> Result<bool, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory =
        rustix::fs::openat(root, relative, flags, Mode::empty()).map_err(Error::at("list", path))?;
    let mut entries = Dir::new(directory).map_err(Error::at("list", path))?;
    Ok(!entries.any(|entry| entry.is_ok_and(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))))
}

/// The text of a regular file that is no longer than `most`.
pub(super) fn short_text(root: &OwnedFd, path: &str, most: usize) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, relative(path), flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    let short = usize::try_from(stat.st_size).is_ok_and(|length| length <= most);
    (short && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(())?;
    let mut text = String::new();
    File::from(file)
        .take(most as u64)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}
