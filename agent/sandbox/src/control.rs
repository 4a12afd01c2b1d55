//! The handle by which another thread stops a run, and sees what it has used so far.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use writ_protocol::exec::{Meter, Usage};

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

/// Stops the runs of one piece of work from any thread, and tells what they use; clones speak of the same work.
#[derive(Clone, Debug)]
pub struct Control {
    all: Arc<Shared>,
    /// A stop of one run alone.
    part: Option<Arc<Mutex<Stop>>>,
}

#[derive(Debug)]
struct Shared {
    wake: OwnedFd,
    stop: Mutex<Stop>,
    used: Mutex<Used>,
}

/// What was used under one handle.
#[derive(Debug)]
struct Used {
    /// By the runs that ended.
    ended: Usage,
    /// By the run under way, as it was last looked at.
    present: Option<Usage>,
}

impl Control {
    /// A handle for one run.
    ///
    /// # Errors
    /// [`Error::Io`] when the process has no descriptor left.
    pub fn new() -> Result<Self, Error> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(Error::os("make an event descriptor"))?;
        let all = Arc::new(Shared {
            wake,
            stop: Mutex::new(Stop::No),
            used: Mutex::new(Used {
                ended: Usage::none(Meter::Agent),
                present: None,
            }),
        });
        Ok(Self { all, part: None })
    }

    /// A handle for one run of this work, by which that alone is stopped; what stops the work stops it too.
    #[must_use]
    pub fn part(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            part: Some(Arc::default()),
        }
    }

    /// What the runs under this handle have used so far: those that ended, and the one under way as it was looked at less than half a second ago.
    pub fn used(&self) -> Usage {
        let held = self.all.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = held.ended.clone();
        if let Some(present) = &held.present {
            sum.add(present);
        }
        sum
    }

    /// Says what the run under way has used so far.
    pub(crate) fn note_used(&self, present: Usage) {
        self.all
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .present = Some(present);
    }

    /// Books a run that is over; where nobody knows what it used in the end, what was seen of it last.
    pub(crate) fn book_used(&self, ended: Option<&Usage>) {
        let mut held = self.all.used.lock().unwrap_or_else(PoisonError::into_inner);
        let present = held.present.take();
        if let Some(usage) = ended.cloned().or(present) {
            held.ended.add(&usage);
        }
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
        let stops = self.part.as_deref().unwrap_or(&self.all.stop);
        let mut held = stops.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*held, &stop) {
            (Stop::No, _) | (Stop::Terminate(_), Stop::Kill(_)) => *held = stop,
            (Stop::Terminate(_) | Stop::Kill(_), _) => return,
        }
        // A full counter means that the watcher was woken already.
        let _woken = rustix::io::write(&self.all.wake, &1_u64.to_ne_bytes());
    }

    /// Why a stop was asked for; `None` while none was. For work between runs.
    pub fn asked(&self) -> Option<String> {
        match self.wanted() {
            Stop::No => None,
            Stop::Terminate(reason) | Stop::Kill(reason) => Some(reason),
        }
    }

    pub(crate) fn wanted(&self) -> Stop {
        let of = |stop: &Mutex<Stop>| stop.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let part = self.part.as_deref().map(of);
        match (of(&self.all.stop), part) {
            (Stop::No, Some(part)) | (Stop::Terminate(_), Some(part @ Stop::Kill(_))) => part,
            (all, _) => all,
        }
    }

    /// Readable when something was asked; stays so until [`Self::calm`].
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.all.wake.as_fd()
    }

    pub(crate) fn calm(&self) {
        let mut counter = [0; 8];
        let _read = rustix::io::read(&self.all.wake, &mut counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_and_what_is_under_way_add_up() {
        let control = Control::new().expect("makes a handle");
        let used = |cpu_user_us| Usage {
            cpu_user_us,
            ..Usage::none(Meter::Cgroup2)
        };
        control.note_used(used(3));
        control.note_used(used(5));
        assert_eq!(control.clone().used(), used(5));
        control.book_used(Some(&used(7)));
        control.note_used(used(20));
        assert_eq!(control.used(), used(27));
        control.book_used(None);
        control.book_used(None);
        assert_eq!(control.used(), used(27));
    }

    #[test]
    fn a_part_is_stopped_alone_and_with_all() {
        let all = Control::new().expect("makes a handle");
        let (one, other) = (all.part(), all.part());
        one.kill("it lies");
        assert_eq!((all.asked(), other.asked()), (None, None));
        assert_eq!(one.asked().as_deref(), Some("it lies"));
        all.terminate("drain");
        assert_eq!(other.wanted(), Stop::Terminate("drain".into()));
        assert_eq!(one.wanted(), Stop::Kill("it lies".into()));
    }

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
