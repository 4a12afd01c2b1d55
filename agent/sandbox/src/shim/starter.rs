//! The starter: prepares once what every step needs, then forks a reaper whenever the agent asks for one.
//!
//! It reads no instruction and runs no program, so that nothing of one step is left in it for the next. Each reaper is a child of the agent, not
//! of the starter, which may go at any time.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Mode;

use super::{GAVE_UP, die_with_parent, parent_is_gone, reaper_main, strict};
use crate::kernel::{self, Fork};
use crate::line::{self, ENDS};

/// Forks until the agent closes the line or is gone.
pub(super) fn main() -> i32 {
    // When this fails there is nobody to tell but the agent, which sees the line closed.
    match serve() {
        Ok(status) => status,
        Err(_) => GAVE_UP,
    }
}

fn serve() -> io::Result<i32> {
    let line = take_line()?;
    if die_with_parent().is_err() || parent_is_gone(&line) {
        return Ok(GAVE_UP);
    }
    // A signal to the agent's terminal is not meant for us.
    rustix::process::setsid()?;
    kernel::reset_signals();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if !kernel::single_threaded() {
        return Err(io::Error::other(
            "the shim was called after threads were started; call it first in main",
        ));
    }
    strict::make_ready();
    while let Some(ends) = line::hear(line.as_fd())? {
        let made = match kernel::fork_sibling() {
            Ok(Fork::Child) => {
                drop(line);
                return take_ends(ends).map(|socket| reaper_main(&socket));
            }
            Ok(Fork::Parent(reaper)) => Ok(reaper.as_raw_nonzero().get()),
            Err(error) => Err(error),
        };
        // The last holder's end must be seen as the end, so ours go before anything is said.
        drop(ends);
        line::tell(line.as_fd(), made)?;
    }
    Ok(0)
}

/// Moves the line away from standard input, which becomes empty, and lets no other descriptor through to a program.
fn take_line() -> io::Result<OwnedFd> {
    let line = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    kernel::close_above_stderr_on_exec()?;
    Ok(line)
}

/// In the reaper: the ends take their places; the socket's is kept.
fn take_ends(ends: [OwnedFd; ENDS]) -> io::Result<OwnedFd> {
    let [socket, stdin, stdout, stderr] = ends;
    rustix::stdio::dup2_stdin(&stdin)?;
    rustix::stdio::dup2_stdout(&stdout)?;
    rustix::stdio::dup2_stderr(&stderr)?;
    Ok(socket)
}
