//! What is kept of a file whose place another one takes: a copy beside it where the spec asks for one, and its SELinux context.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use writ_protocol::digest::{Digest, Hasher};

use crate::error::Error;
use crate::walk::Place;

/// Most copies kept of one path; the oldest goes first.
pub(super) const BACKUPS_MAX: usize = 5;
/// What stands between the file's name and the name of the copied content.
const MARK: &str = ".writ-";
/// How the name of a copy ends, so that no `*.conf` or `*.d` reads it.
const END: &str = ".bak";
/// Most entries of a folder that are looked at for copies.
const ENTRIES_MAX: usize = 100_000;
/// Buffer for copying.
const BUFFER_BYTES: usize = 256 << 10;
/// Where the context is.
const CONTEXT: &str = "security.selinux";
/// Longest context.
const CONTEXT_BYTES_MAX: usize = 4 << 10;

/// Opens the file at a place; `None` where none or something else is.
pub(super) fn open(place: &Place<'_>, path: &str) -> Result<Option<OwnedFd>, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(&place.parent, place.name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(Error::at("open", path)(errno)),
    };
    let stat = rustix::fs::fstat(&file).map_err(Error::at("look at", path))?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(is_file.then_some(file))
}

/// Gives a new file the SELinux context of the one whose place it takes, where there is such a thing.
pub(super) fn context(old: &OwnedFd, new: &OwnedFd, path: &str) -> Result<(), Error> {
    let mut buffer = [0_u8; CONTEXT_BYTES_MAX];
    let length = match rustix::fs::fgetxattr(old, CONTEXT, &mut buffer) {
        Ok(length) => length,
        // No SELinux here, or no context on this file.
        Err(Errno::NODATA | Errno::NOTSUP) => return Ok(()),
        Err(errno) => return Err(Error::at("read the SELinux context of", path)(errno)),
    };
    let context = buffer.get(..length).unwrap_or_default();
    rustix::fs::fsetxattr(new, CONTEXT, context, XattrFlags::empty())
        .map_err(Error::at("set the SELinux context of", path))
}

/// Copies the file beside itself, under a name that its content gives; the same content is kept once. Set-user-id bits are not copied.
pub(super) fn backup(place: &Place<'_>, path: &str) -> Result<(), Error> {
    let Some(old) = open(place, path)? else {
        return Ok(());
    };
    let stat = rustix::fs::fstat(&old).map_err(Error::at("look at", path))?;
    let beside = format!(".writ-{}.bak", Digest::of(place.name.as_bytes()).short());
    clear(place, &beside, path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let new = rustix::fs::openat(&place.parent, beside.as_str(), flags, Mode::RUSR | Mode::WUSR)
        .map_err(Error::at("keep a copy beside", path))?;
    let done = copy(&old, &new, path).and_then(|digest| {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::fchown(&new, Some(uid), Some(gid)).map_err(Error::at("give away the copy of", path))?;
        rustix::fs::fchmod(&new, Mode::from_raw_mode(stat.st_mode & 0o777))
            .map_err(Error::at("change the mode of the copy of", path))?;
        context(&old, &new, path)?;
        rustix::fs::fsync(&new).map_err(Error::at("flush the copy of", path))?;
        let name = format!("{}{MARK}{}{END}", place.name, digest.short());
        rustix::fs::renameat(&place.parent, &beside, &place.parent, &name)
            .map_err(Error::at("keep a copy beside", path))?;
        thin_out(place, &name, path)
    });
    if done.is_err() {
        let _gone = clear(place, &beside, path);
    }
    done
}

fn copy(old: &OwnedFd, new: &OwnedFd, path: &str) -> Result<Digest, Error> {
    let (mut buffer, mut hasher) = (vec![0; BUFFER_BYTES], Hasher::new());
    loop {
        let got = rustix::io::retry_on_intr(|| rustix::io::read(old, &mut buffer))
            .map_err(Error::at("read", path))?;
        if got == 0 {
            return Ok(hasher.finish());
        }
        let mut rest = buffer.get(..got).unwrap_or_default();
        hasher.update(rest);
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(new, rest))
                .map_err(Error::at("write the copy of", path))?;
            rest = rest.get(written..).unwrap_or_default();
        }
    }
}

/// Removes the oldest copies beyond the bound, by when they were made; never the one just made.
fn thin_out(place: &Place<'_>, newest: &str, path: &str) -> Result<(), Error> {
    let begins = format!("{}{MARK}", place.name);
    let mut copies = Vec::new();
    let entries = Dir::read_from(&place.parent).map_err(Error::at("list the directory of", path))?;
    for entry in entries.take(ENTRIES_MAX) {
        let entry = entry.map_err(Error::at("list the directory of", path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_copy = name.starts_with(&begins) && name.ends_with(END) && name != newest;
        if is_copy
            && let Ok(stat) = rustix::fs::statat(&place.parent, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
        {
            copies.push((stat.st_ctime, stat.st_ctime_nsec, name));
        }
    }
    copies.sort();
    let most = copies.len().saturating_sub(BACKUPS_MAX.saturating_sub(1));
    copies
        .iter()
        .take(most)
        .try_for_each(|(.., name)| clear(place, name, path))
}

fn clear(place: &Place<'_>, name: &str, path: &str) -> Result<(), Error> {
    match rustix::fs::unlinkat(&place.parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::at("clear a copy beside", path)(errno)),
    }
}
