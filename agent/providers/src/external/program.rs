//! The program of a provider, out of the bundle and into a folder that nobody but the agent reaches.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use writ_protocol::digest::Digest;
use writ_protocol::graph::{ExternalSpec, PROGRAM_BYTES_MAX};

use crate::context::Context;
use crate::error::Error;

/// Readable and runnable, and written by nobody: who looks has ids of its own, and the folder keeps all others out.
const PROGRAM_MODE: u32 = 0o555;

/// Where the program is, as its digest says.
pub(super) fn put(spec: &ExternalSpec, context: &Context<'_>) -> Result<String, Error> {
    let shown = format!("the program of provider {}", spec.provider);
    let missing = || Error::BlobMissing {
        path: shown.clone(),
        digest: spec.program,
    };
    let folder = context.programs.ok_or_else(missing)?;
    let name = spec.program.to_hex();
    let path = folder.join(&name);
    let wrong = |action: &'static str| {
        let path = path.display().to_string();
        move |errno: Errno| Error::Path {
            action,
            path: path.clone(),
            hint: "the agent's state folder must be its own, and have room",
            source: errno.into(),
        }
    };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::open(folder, flags, Mode::empty()).map_err(wrong("open the folder of"))?;
    let there = read(&open, &name).map_err(wrong("read"))?;
    if there.as_deref().map(Digest::of) != Some(spec.program) {
        // Not there yet, or not what it was.
        let blob = (context.blob)(&spec.program).ok_or_else(missing)?;
        if Digest::of(blob) != spec.program {
            return Err(missing());
        }
        write(&open, &name, blob).map_err(wrong("write"))?;
        if read(&open, &name).map_err(wrong("read back"))?.as_deref() != Some(blob) {
            return Err(missing());
        }
    }
    path_text(&path).ok_or_else(missing)
}

fn path_text(path: &Path) -> Option<String> {
    path.to_str().map(str::to_owned)
}

/// The bytes of a regular file of that name; none where there is no such, or it is longer than a program can be.
fn read(folder: &OwnedFd, name: &str) -> Result<Option<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_mode & 0o222 != 0 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let most = PROGRAM_BYTES_MAX as u64 + 1;
    let read = File::from(file).take(most).read_to_end(&mut bytes);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(Some(bytes))
}

fn write(folder: &OwnedFd, name: &str, bytes: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?;
    let mut file = File::from(file);
    let written = file.write_all(bytes);
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    // The agent's own mask must not decide it.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(PROGRAM_MODE))
}
