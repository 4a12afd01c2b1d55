//! The handle by which another thread stops a run.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::error::Error;

/// What was asked for. Ordered: a later one is stronger and is never taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing.
    #[default]
    No,
    /// SIGTERM, then SIGKILL after the grace.
    Terminate(String),
    /// SIGKILL now.
    Kill(String),
}

/// Stops one run from any thread; clones speak of the same run.
#[derive(Clone, Debug)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    wake: OwnedFd,
    stop: Mutex<Stop>,
}

impl Control {
    /// A handle for one run.
    ///
    /// # Errors
    /// [`Error::Io`] when the process has no descriptor left.
    pub fn new() -> Result<Self, Error> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(Error::os("make an event descriptor"))?;
        Ok(Self(Arc::new(Shared {
            wake,
            stop: Mutex::new(Stop::No),
        })))
    }

    /// Ends the tree now. The reason is reported as [`writ_protocol::exec::Exit::Killed`]. A run that has not begun does not begin.
    pub fn kill(&self, reason: &str) {
        self.ask(Stop::Kill(reason.to_owned()));
    }

    /// Sends SIGTERM, and ends the tree when the grace of its spec is over.
    pub fn terminate(&self, reason: &str) {
        self.ask(Stop::Terminate(reason.to_owned()));
    }

    fn ask(&self, stop: Stop) {
        let mut held = self.0.stop.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*held, &stop) {
            (Stop::No, _) | (Stop::Terminate(_), Stop::Kill(_)) => *held = stop,
            (Stop::Terminate(_) | Stop::Kill(_), _) => return,
        }
        // A full counter means that the watcher was woken already.
        let _woken = rustix::io::write(&self.0.wake, &1_u64.to_ne_bytes());
    }

    /// Why a stop was asked for; `None` while none was. For work between runs.
    pub fn asked(&self) -> Option<String> {
        match self.wanted() {
            Stop::No => None,
            Stop::Terminate(reason) | Stop::Kill(reason) => Some(reason),
        }
    }

    pub(crate) fn wanted(&self) -> Stop {
        self.0.stop.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Readable when something was asked; stays so until [`Self::calm`].
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }

    pub(crate) fn calm(&self) {
        let mut counter = [0; 8];
        let _read = rustix::io::read(&self.0.wake, &mut counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_grows_stronger_and_never_weaker() {
        let control = Control::new().expect("makes a handle");
        assert_eq!((control.wanted(), control.asked()), (Stop::No, None));
        control.clone().terminate("drain");
        control.terminate("again");
        assert_eq!(control.wanted(), Stop::Terminate("drain".into()));
        control.kill("halt");
        control.terminate("late");
        control.kill("later");
        assert_eq!(control.wanted(), Stop::Kill("halt".into()));
    }
}
