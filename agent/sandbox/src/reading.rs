//! Looking as a fact and not as a wish: work of the agent's own on a thread that the kernel holds to reading.
//!
//! The thread ends with the work, and its walls with it; the rest of the process keeps its rights.

use std::panic::resume_unwind;
use std::thread::{Builder, scope};

use crate::error::Error;
use crate::shim::only_read;

/// What the thread is called.
const NAME: &str = "look";

/// Does `work` where it can change no file, start no program and reach no process or network. `work` may wait, and starts no thread.
///
/// # Errors
/// [`Error::Io`] when no thread is to be had, or the kernel has a wall and does not put it up; then nothing was done.
pub fn only_reading<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    scope(|all| {
        let held = || only_read().map(|_version| work());
        let thread = Builder::new().name(NAME.to_owned()).spawn_scoped(all, held);
        let thread = thread.map_err(Error::io("start a thread that looks"))?;
        let done = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        done.map_err(Error::io("hold a look to reading"))
    })
}
