//! Brings a path into the state that is wanted. Content and links appear under their name whole or not at all: they are made under another
//! name in the same directory, flushed, and renamed.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use rustix::time::ClockId;
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Measured, Meter, Usage};
use writ_protocol::graph::{FileSpec, FileState};

use super::{keep, wanted_kind};
use crate::accounts::Accounts;
use crate::context::{Applied, Context};
use crate::error::Error;
use crate::observation::Change;
use crate::wait::nanos;
use crate::walk::{Place, to_parent};

/// Permission bits of a new file and of a new directory where the spec has none.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// One path at work.
struct Work<'a> {
    spec: &'a FileSpec,
    place: Place<'a>,
    uid: Option<Uid>,
    gid: Option<Gid>,
}

pub(crate) fn apply(
    root: &OwnedFd,
    spec: &FileSpec,
    changes: &[Change],
    with: (&Accounts, &Context<'_>),
) -> Result<Applied, Error> {
    let (accounts, context) = with;
    let started = (nanos(ClockId::Boottime), nanos(ClockId::ThreadCPUTime));
    let mut usage = Usage {
        measured: Some(Measured::by_agent()),
        ..Usage::none(Meter::Agent)
    };
    if !changes.is_empty() {
        let uid = account(
            spec.owner.as_deref(),
            |name| accounts.uid(name),
            ("user", "/etc/passwd"),
            &spec.path,
        )?;
        let gid = account(
            spec.group.as_deref(),
            |name| accounts.gid(name),
            ("group", "/etc/group"),
            &spec.path,
        )?;
        let place = to_parent(root, &spec.path)?;
        let work = Work {
            spec,
            place,
            uid: uid.map(Uid::from_raw),
            gid: gid.map(Gid::from_raw),
        };
        let is_new = changes
            .iter()
            .any(|change| matches!(change.attribute.as_str(), "kind" | "content" | "target"));
        let replaces = is_new && !matches!(spec.state, FileState::Directory);
        if spec.backup && replaces {
            keep::backup(&work.place, &spec.path)?;
        }
        match &spec.state {
            FileState::Content { digest, length } if is_new => {
                let bytes = (context.blob)(digest).filter(|bytes| bytes.len() as u64 == *length);
                work.content(bytes.ok_or_else(|| Error::BlobMissing {
                    path: spec.path.clone(),
                    digest: *digest,
                })?)?;
                usage.written_bytes = *length;
            }
            FileState::Symlink { target } if is_new => work.symlink(target)?,
            FileState::Directory => work.directory()?,
            FileState::Content { .. } => work.attributes(OFlags::empty())?,
            FileState::Symlink { .. } => work.own_link(work.place.name)?,
            FileState::Absent => work.absent()?,
        }
    }
    usage.wall_us = nanos(ClockId::Boottime).saturating_sub(started.0) / 1_000;
    usage.cpu_user_us = nanos(ClockId::ThreadCPUTime).saturating_sub(started.1) / 1_000;
    Ok(Applied {
        failure: None,
        run: None,
        usage,
    })
}

fn account(
    name: Option<&str>,
    find: impl Fn(&str) -> Option<u32>,
    what: (&'static str, &'static str),
    path: &str,
) -> Result<Option<u32>, Error> {
    let Some(name) = name else { return Ok(None) };
    let (kind, database) = what;
    let unknown = || Error::UnknownAccount {
        kind,
        name: name.to_owned(),
        path: path.to_owned(),
        database,
    };
    find(name).map(Some).ok_or_else(unknown)
}

impl Work<'_> {
    fn content(&self, bytes: &[u8]) -> Result<(), Error> {
        let before = match rustix::fs::statat(&self.place.parent, self.place.name, AtFlags::SYMLINK_NOFOLLOW)
        {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Some(stat),
                FileType::Symlink => None,
                other => return Err(self.wrong_kind(other)),
            },
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(self.failed("look at")(errno)),
        };
        let other_name = self.other_name();
        self.clear(&other_name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(
            &self.place.parent,
            other_name.as_str(),
            flags,
            Mode::RUSR | Mode::WUSR,
        )
        .map_err(self.failed("make a new file beside"))?;
        let done = self
            .keep_context(&file)
            .and_then(|()| self.fill(&file, bytes, before.as_ref()))
            .and_then(|()| self.rename(&other_name));
        if done.is_err() {
            let _gone = self.clear(&other_name);
        }
        done
    }

    fn keep_context(&self, file: &OwnedFd) -> Result<(), Error> {
        match keep::open(&self.place, &self.spec.path)? {
            Some(old) => keep::context(&old, file, &self.spec.path),
            None => Ok(()),
        }
    }

    /// Writes, gives away, permits and flushes, in this order: nobody can read or run it before it is what it should be.
    fn fill(&self, file: &OwnedFd, bytes: &[u8], before: Option<&Stat>) -> Result<(), Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written =
                rustix::io::retry_on_intr(|| rustix::io::write(file, rest)).map_err(self.failed("write"))?;
            rest = rest.get(written..).unwrap_or_default();
        }
        let uid = self.uid.or_else(|| before.map(|stat| Uid::from_raw(stat.st_uid)));
        let gid = self.gid.or_else(|| before.map(|stat| Gid::from_raw(stat.st_gid)));
        if uid.is_some() || gid.is_some() {
            rustix::fs::fchown(file, uid, gid).map_err(self.failed("change the owner of"))?;
        }
        let mode = self
            .spec
            .mode
            .or_else(|| before.map(|stat| stat.st_mode & 0o7777))
            .unwrap_or(FILE_MODE);
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).map_err(self.failed("change the mode of"))?;
        rustix::fs::fsync(file).map_err(self.failed("flush"))
    }

    fn symlink(&self, target: &str) -> Result<(), Error> {
        match self.place.kind(&self.spec.path)? {
            None | Some(FileType::RegularFile | FileType::Symlink) => {}
            Some(other) => return Err(self.wrong_kind(other)),
        }
        let other_name = self.other_name();
        self.clear(&other_name)?;
        rustix::fs::symlinkat(target, &self.place.parent, other_name.as_str())
            .map_err(self.failed("make a new link beside"))?;
        let done = self.own_link(&other_name).and_then(|()| self.rename(&other_name));
        if done.is_err() {
            let _gone = self.clear(&other_name);
        }
        done
    }

    fn own_link(&self, name: &str) -> Result<(), Error> {
        if self.uid.is_none() && self.gid.is_none() {
            return Ok(());
        }
        rustix::fs::chownat(
            &self.place.parent,
            name,
            self.uid,
            self.gid,
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(self.failed("change the owner of"))
    }

    fn directory(&self) -> Result<(), Error> {
        let made = match rustix::fs::mkdirat(&self.place.parent, self.place.name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(self.failed("make the directory")(errno)),
        };
        if !made && self.place.kind(&self.spec.path)? != Some(FileType::Directory) {
            return Err(self.place.kind(&self.spec.path)?.map_or_else(
                || self.failed("make the directory")(Errno::EXIST),
                |k| self.wrong_kind(k),
            ));
        }
        let new_mode = made.then_some(DIRECTORY_MODE);
        self.attributes_or(OFlags::DIRECTORY, new_mode)?;
        if made {
            self.place.sync(&self.spec.path)
        } else {
            Ok(())
        }
    }

    fn attributes(&self, flags: OFlags) -> Result<(), Error> {
        self.attributes_or(flags, None)
    }

    /// Owner, group and mode of what is there, through a descriptor of exactly that.
    fn attributes_or(&self, flags: OFlags, new_mode: Option<u32>) -> Result<(), Error> {
        let flags =
            flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let thing = rustix::fs::openat(&self.place.parent, self.place.name, flags, Mode::empty())
            .map_err(self.failed("open"))?;
        let stat = rustix::fs::fstat(&thing).map_err(self.failed("look at"))?;
        let is_wanted = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => matches!(self.spec.state, FileState::Content { .. }),
            FileType::Directory => matches!(self.spec.state, FileState::Directory),
            _ => false,
        };
        if !is_wanted {
            return Err(self.wrong_kind(FileType::from_raw_mode(stat.st_mode)));
        }
        if self.uid.is_some() || self.gid.is_some() {
            rustix::fs::fchown(&thing, self.uid, self.gid).map_err(self.failed("change the owner of"))?;
        }
        // A change of owner takes set-user-id bits away; what the spec does not name stays.
        let mode = self.spec.mode.or(new_mode).unwrap_or(stat.st_mode & 0o7777);
        rustix::fs::fchmod(&thing, Mode::from_raw_mode(mode)).map_err(self.failed("change the mode of"))?;
        rustix::fs::fsync(&thing).map_err(self.failed("flush"))
    }

    fn absent(&self) -> Result<(), Error> {
        let flags = match self.place.kind(&self.spec.path)? {
            None => return Ok(()),
            Some(FileType::RegularFile | FileType::Symlink) => AtFlags::empty(),
            Some(FileType::Directory) => AtFlags::REMOVEDIR,
            Some(other) => return Err(self.wrong_kind(other)),
        };
        match rustix::fs::unlinkat(&self.place.parent, self.place.name, flags) {
            Ok(()) | Err(Errno::NOENT) => self.place.sync(&self.spec.path),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Error::NotEmpty {
                path: self.spec.path.clone(),
            }),
            Err(errno) => Err(self.failed("remove")(errno)),
        }
    }

    /// The name under which the new thing is made. Always the same for a path, so that what a crash left is found and cleared.
    fn other_name(&self) -> String {
        format!(".writ-{}.new", Digest::of(self.place.name.as_bytes()).short())
    }

    fn clear(&self, name: &str) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.place.parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("clear what was left beside")(errno)),
        }
    }

    fn rename(&self, from: &str) -> Result<(), Error> {
        match rustix::fs::renameat(&self.place.parent, from, &self.place.parent, self.place.name) {
            Ok(()) => self.place.sync(&self.spec.path),
            // Somebody made a directory of that name since we looked.
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => Err(self.wrong_kind(FileType::Directory)),
            Err(errno) => Err(self.failed("put in place")(errno)),
        }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(Errno) -> Error {
        Error::at(action, &self.spec.path)
    }

    fn wrong_kind(&self, got: FileType) -> Error {
        let got = match got {
            FileType::RegularFile => "file",
            FileType::Directory => "directory",
            FileType::Symlink => "symlink",
            FileType::Fifo => "fifo",
            FileType::Socket => "socket",
            FileType::CharacterDevice | FileType::BlockDevice => "device",
            FileType::Unknown => "thing of unknown kind",
        };
        Error::WrongKind {
            path: self.spec.path.clone(),
            want: wanted_kind(&self.spec.state),
            got: got.to_owned(),
        }
    }
}
