//! Landlock: the second wall around files. The new root already shows only what a step may see and writes only where it may write; this holds
//! where a mount does not, and is only there where the kernel has it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::kernel;

/// The youngest version of the interface whose rights are known here.
pub(super) const YOUNGEST_KNOWN: u32 = 7;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
/// Making of character and block devices.
const MAKE_DEVICES: u64 = (1 << 6) | (1 << 11);
/// All thirteen rights of the first version.
const FIRST: u64 = (1 << 13) - 1;
/// Renaming and linking between directories, from version 2.
const REFER: u64 = 1 << 13;
/// From version 3.
const TRUNCATE: u64 = 1 << 14;
/// Control of devices, from version 5.
const CONTROL_DEVICE: u64 = 1 << 15;
/// From version 6: abstract sockets and signals reach nobody outside.
const SCOPES: u64 = 1 | (1 << 1);

const READ: u64 = EXECUTE | READ_FILE | READ_DIRECTORY;

/// Opening this for writing is what the mounts and modes allow and the ruleset does not: the proof that it holds.
const PROOF: &str = "/dev/urandom";

/// Restricts this process to reading, and to writing at and below `writable` and to these devices. Hands back the version in force, 0 for none.
///
/// # Errors
/// When the kernel has Landlock and does not do what it is asked.
pub(super) fn restrict(writable: &[impl AsRef<Path>], devices: &[&str]) -> io::Result<u32> {
    let version = kernel::landlock_version().min(YOUNGEST_KNOWN);
    if version == 0 {
        return Ok(0);
    }
    let handled = handled(version);
    let ruleset = kernel::landlock_ruleset(version, handled, if version >= 6 { SCOPES } else { 0 })?;
    let allow = |path: &Path, rights: u64| {
        let parent = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        kernel::landlock_allow(&ruleset, parent.as_fd(), rights & handled)
    };
    allow(Path::new("/"), READ)?;
    for path in writable {
        allow(path.as_ref(), handled & !(MAKE_DEVICES | CONTROL_DEVICE))?;
    }
    for device in devices {
        allow(Path::new(device), READ_FILE | WRITE_FILE | TRUNCATE)?;
    }
    let write = || OpenOptions::new().write(true).open(PROOF);
    write().map_err(|e| proof(&format!("cannot be opened before it holds: {e}")))?;
    kernel::landlock_restrict(&ruleset)?;
    match write() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(version),
        Err(error) => Err(proof(&format!("is refused for another reason: {error}"))),
        Ok(_) => Err(proof("can still be opened")),
    }
}

fn handled(version: u32) -> u64 {
    [(2, REFER), (3, TRUNCATE), (5, CONTROL_DEVICE)]
        .into_iter()
        .filter(|&(since, _)| version >= since)
        .fold(FIRST, |all, (_, right)| all | right)
}

fn proof(what: &str) -> io::Error {
    io::Error::other(format!("{PROOF}, the proof that Landlock holds, {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_asked_only_for_rights_that_it_knows() {
        assert_eq!(handled(1), 0x1fff);
        assert_eq!(handled(2), 0x3fff);
        assert_eq!(handled(4), 0x7fff);
        assert_eq!(handled(7), 0xffff);
    }
}
