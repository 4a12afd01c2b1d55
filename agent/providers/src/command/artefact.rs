//! Brings back the files a step declared. What a step leaves at these paths is not to be trusted: it may be a link to somebody's secrets,
//! a pipe that never ends, or a file that grows while it is read.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use writ_protocol::digest::Digest;
use writ_protocol::limits::ARTEFACT_BYTES_MAX;

use crate::context::Artefact;
use crate::error::Error;
use crate::walk::to_parent;

/// The file at `path`. Where the step ran as `user` it must be that user's: the agent can read more than the step could, and a link is made quickly.
pub(super) fn collect(root: &OwnedFd, path: &str, user: Option<u32>) -> Result<Artefact, Error> {
    let refuse = |rule: String| Error::Artefact {
        path: path.to_owned(),
        rule,
    };
    let place = to_parent(root, path).map_err(|error| match error {
        Error::ParentMissing { parent, .. } => refuse(format!("it is missing: {parent} is no directory")),
        other => refuse(other.to_string()),
    })?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&place.parent, place.name, flags, Mode::empty()).map_err(|errno| {
        refuse(match errno {
            Errno::NOENT => "it is missing: the command did not make it".to_owned(),
            Errno::LOOP => "it is a symbolic link, which is not followed; declare the file itself".to_owned(),
            Errno::NXIO => "it is not a regular file".to_owned(),
            other => format!("it cannot be opened: {other}"),
        })
    })?;
    let stat =
        rustix::fs::fstat(&file).map_err(|errno| refuse(format!("it cannot be looked at: {errno}")))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refuse("it is not a regular file".to_owned()));
    }
    if user.is_some_and(|user| user != stat.st_uid) {
        return Err(refuse(format!(
            "it belongs to uid {}, and not to the user that the command ran as",
            stat.st_uid
        )));
    }
    let length = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    let too_large = || {
        refuse(format!(
            "it is larger than {ARTEFACT_BYTES_MAX} bytes; split it or declare less"
        ))
    };
    if length > ARTEFACT_BYTES_MAX {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    let read = File::from(file)
        .take(ARTEFACT_BYTES_MAX + 1)
        .read_to_end(&mut bytes);
    read.map_err(|error| refuse(format!("it cannot be read: {error}")))?;
    if bytes.len() as u64 > ARTEFACT_BYTES_MAX {
        return Err(too_large());
    }
    Ok(Artefact {
        path: path.to_owned(),
        digest: Digest::of(&bytes),
        bytes,
    })
}
