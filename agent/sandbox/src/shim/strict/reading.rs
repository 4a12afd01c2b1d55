//! Walls round a thread of the agent itself that only reads: no new rights, Landlock where the kernel has it, a system call filter.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::{filter, landlock};
use crate::kernel;

/// What every process may write, and a reader may not.
const PROOF: &str = "/dev/null";

/// Holds the calling thread, and no other, to reading files for the rest of its life. Which version of Landlock holds, 0 for none.
///
/// # Errors
/// When the kernel has a wall and does not put it up.
pub(crate) fn only_read() -> io::Result<u32> {
    rustix::thread::set_no_new_privs(true)?;
    let nowhere: [&Path; 0] = [];
    let landlock = landlock::restrict(&nowhere, &[])?;
    if let Some(calls) = filter::of_readers() {
        match kernel::filter_system_calls(calls) {
            Err(error) if error.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => return Ok(landlock),
            filtered => filtered?,
        }
        let opened = std::fs::OpenOptions::new().write(true).open(PROOF);
        if !opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            return Err(io::Error::other(format!(
                "{PROOF}, the proof that the filter holds, is not refused"
            )));
        }
    }
    Ok(landlock)
}
