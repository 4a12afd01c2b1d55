//! The agent's side of a *cell*: everything that a strict step needs and that does not depend on which step it is, made ready before one is asked for.
//!
//! At most [`CELLS_MAX`] is kept, of the kind last asked for. It is made while nobody waits for it, serves one step and no second one, and is let go
//! when it is not needed for a while. Nothing rests on it: a cell that does not fit, is gone, was touched, or does not begin in time is thrown
//! away, and the step is run as if there had been none. What is left of a cell when its step is over is taken down here too, so that no step
//! waits for it.

mod fresh;

use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use writ_protocol::exec::{Isolation, Limits};

use self::fresh::Host;
use crate::cgroup::{Cgroups, StepCgroup};
use crate::clock::{boot_us, timespec, wait_for};
use crate::error::Error;
use crate::launch::{self, Launched};
use crate::spec::{Network, Spec};
use crate::starter::Starter;
use crate::tree;
use crate::watch::pidfd_of_child;
use crate::wire::{self, Received, Report, Sight};

/// Cells kept ready. One step waits for nothing; of several at once the others are started the long way.
pub(crate) const CELLS_MAX: usize = 1;
/// Processes of ours in a cell's cgroup: its init.
const OWN: u64 = 1;
/// Longest time in which a cell is made.
const MAKE_WAIT_MAX: Duration = Duration::from_secs(2);
/// Time for those in a new cell to come to rest, and between two looks at it.
const REST_WAIT_MAX: Duration = Duration::from_millis(100);
const REST_PAUSE: Duration = Duration::from_micros(200);
/// The next cell is made when the step is over, or so long after its begin: a short step has the machine to itself.
const HEAD_START_US: u64 = 10_000;
/// How often a waiting cell is looked at.
const LOOK_US: u64 = 1_000_000;
/// Time for what is left of a cell to go by itself.
const LEAVE_WAIT_MAX: Duration = Duration::from_secs(2);
/// Words and leftovers that may wait for the thread; what does not fit is done by whoever brings it, or not at all.
const WORDS_MAX: usize = 16;
/// Stack of the thread, bytes.
const STACK_BYTES: usize = 256 << 10;

/// What a cell is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    isolation: Isolation,
    network: Sight,
}

impl Kind {
    /// `None` for steps that no cell is made for: those of less isolation need little, a shared network must be joined first, and an input comes with
    /// its step.
    fn of(spec: &Spec) -> Option<Self> {
        let is_alone = !matches!(spec.network, Network::Shared(_)) && spec.input.is_none();
        let is_made = spec.isolation == Isolation::Strict && is_alone;
        is_made.then(|| Self {
            isolation: spec.isolation,
            network: launch::sight(&spec.network),
        })
    }
}

/// A cell that waits.
#[derive(Debug)]
pub(crate) struct Cell {
    kind: Kind,
    launched: Launched,
    cgroup: Option<StepCgroup>,
    /// What it was made from.
    host: Host,
    /// Who waits in it: its init and its program.
    inside: [i32; 2],
}

/// What is left of a cell, or what it turned into.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) launched: Launched,
    pub(crate) cgroup: Option<StepCgroup>,
    /// Its step was run, so it goes by itself.
    pub(crate) is_spent: bool,
}

/// What the thread is told.
enum Word {
    /// A step of this kind begins.
    Began(Kind),
    /// It is over.
    Ended,
    /// To be taken down.
    Left(Leftover),
    /// Answer when there is nothing to do; whether a cell waits then.
    Settle(SyncSender<bool>),
}

/// Keeps a cell ready.
#[derive(Debug)]
pub(crate) struct Cells {
    shared: Arc<Shared>,
    thread: Mutex<Option<(SyncSender<Word>, JoinHandle<()>)>>,
}

#[derive(Debug)]
struct Shared {
    starter: Arc<Starter>,
    cgroups: Option<Arc<Cgroups>>,
    linger: Duration,
    /// Never more than [`CELLS_MAX`].
    ready: Mutex<Vec<Cell>>,
}

/// A step under way: the next cell is made when this goes.
pub(crate) struct Turn<'a>(Option<&'a Cells>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(cells) = self.0 {
            cells.tell(Word::Ended);
        }
    }
}

impl Cells {
    pub(crate) fn new(starter: Arc<Starter>, cgroups: Option<Arc<Cgroups>>, linger: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                starter,
                cgroups,
                linger,
                ready: Mutex::default(),
            }),
            thread: Mutex::new(None),
        }
    }

    /// A step begins: the cell that fits it, if there is one, and what is to be held until it is over.
    pub(crate) fn begin(&self, spec: &Spec) -> (Option<Leftover>, Turn<'_>) {
        let Some(kind) = Kind::of(spec) else {
            return (None, Turn(None));
        };
        let Some(cell) = lock(&self.shared.ready).pop() else {
            return (None, self.turn(kind));
        };
        let [init, _] = cell.inside;
        let host = cell.host;
        let mut taken = Leftover {
            launched: cell.launched,
            cgroup: cell.cgroup,
            is_spent: false,
        };
        // It makes itself ready while it is looked at, and before our thread is woken.
        let fits = cell.kind == kind && is_well(&taken.launched) && taken.tell(spec).is_ok();
        // It may have been woken on this very processor.
        std::thread::yield_now();
        let turn = self.turn(kind);
        let others = [taken.launched.reaper(), init];
        let is_as_made = || host.is_unchanged() && others.into_iter().all(tree::is_sleeping);
        if fits && is_as_made() && taken.launched.allow().is_ok() {
            taken.is_spent = true;
            return (Some(taken), turn);
        }
        self.leave(taken);
        (None, turn)
    }

    /// A step of this kind begins; it is over when what this gives goes.
    fn turn(&self, kind: Kind) -> Turn<'_> {
        self.tell(Word::Began(kind));
        Turn(Some(self))
    }

    /// Takes this down, later.
    pub(crate) fn leave(&self, leftover: Leftover) {
        // What comes back is taken down here.
        drop(self.tell(Word::Left(leftover)));
    }

    /// Waits until all that is done beside the steps is done; whether a cell waits then.
    pub(crate) fn settle(&self) -> bool {
        let (answer, answered) = sync_channel(1);
        let thread = lock(&self.thread);
        let told = thread
            .as_ref()
            .is_some_and(|(words, _)| words.send(Word::Settle(answer)).is_ok());
        drop(thread);
        told && answered.recv().unwrap_or(false)
    }

    /// Hands the word back when there is nobody to take it.
    fn tell(&self, word: Word) -> Option<Word> {
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            *thread = self.start();
        }
        match thread.as_ref().map(|(words, _)| words.try_send(word)) {
            Some(Err(TrySendError::Full(word) | TrySendError::Disconnected(word))) => Some(word),
            Some(Ok(())) | None => None,
        }
    }

    /// `None` when the process can have no more threads: then there are no cells.
    fn start(&self) -> Option<(SyncSender<Word>, JoinHandle<()>)> {
        let (words, heard) = sync_channel(WORDS_MAX);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name("writ-cells".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || keep(&shared, &heard));
        thread.ok().map(|thread| (words, thread))
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        if let Some((words, thread)) = lock(&self.thread).take() {
            drop(words);
            let _ended = thread.join();
        }
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread: makes cells when nobody waits for them, takes down what is left of them, and lets go of one that is not needed.
fn keep(shared: &Shared, words: &Receiver<Word>) {
    // What is to be made, and when.
    let mut due: Option<(Kind, u64)> = None;
    let mut used_us = boot_us();
    let linger_us = u64::try_from(shared.linger.as_micros()).unwrap_or(u64::MAX);
    let look_us = LOOK_US.min(linger_us);
    loop {
        let wait = due.map_or(look_us, |(_, at)| at.saturating_sub(boot_us()));
        let is_idle = due.is_none() && lock(&shared.ready).is_empty();
        let word = if is_idle {
            words.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            words.recv_timeout(Duration::from_micros(wait))
        };
        match (word, due) {
            (Ok(Word::Began(kind)), _) => {
                used_us = boot_us();
                due = Some((kind, used_us.saturating_add(HEAD_START_US)));
            }
            (Ok(Word::Ended), Some((kind, _))) => due = Some((kind, boot_us())),
            (Ok(Word::Ended), None) => {}
            (Ok(Word::Left(leftover)), _) => leftover.take_down(),
            (Ok(Word::Settle(answer)), _) => {
                if let Some((kind, _)) = due.take() {
                    shared.make(kind);
                }
                // Whoever asked waits for it.
                let _heard = answer.send(!lock(&shared.ready).is_empty());
            }
            (Err(RecvTimeoutError::Timeout), Some((kind, _))) => {
                due = None;
                shared.make(kind);
            }
            (Err(RecvTimeoutError::Timeout), None) => {
                shared.look(boot_us().saturating_sub(used_us) >= linger_us);
            }
            (Err(RecvTimeoutError::Disconnected), _) => return lock(&shared.ready).clear(),
        }
    }
}

impl Shared {
    fn make(&self, kind: Kind) {
        let is_of_use = |cell: &Cell| cell.kind == kind && cell.is_well();
        // The old ones first: there are never more than that.
        let old = {
            let mut ready = lock(&self.ready);
            if ready.len() >= CELLS_MAX && ready.iter().all(is_of_use) {
                return;
            }
            std::mem::take(&mut *ready)
        };
        drop(old);
        // Without one, steps are started the long way, and say what is wrong.
        if let Ok(cell) = Cell::make(kind, &self.starter, self.cgroups.as_deref()) {
            lock(&self.ready).push(cell);
        }
    }

    /// Lets go of a cell that nobody has asked for, or that nobody could use.
    fn look(&self, is_over: bool) {
        let is_useless = |cell: &Cell| is_over || !cell.is_well() || !cell.is_awake();
        let gone = {
            let mut ready = lock(&self.ready);
            if !ready.iter().any(is_useless) {
                return;
            }
            std::mem::take(&mut *ready)
        };
        // Their end takes a while, in which a step may begin.
        drop(gone);
    }
}

impl Cell {
    fn make(kind: Kind, starter: &Starter, cgroups: Option<&Cgroups>) -> Result<Self, Error> {
        // Before anything is made from it: what changes in between is seen as a change.
        let host = Host::look().map_err(Error::io("look at what a root is made from"))?;
        let cgroup = cgroups.map(|all| all.step(OWN)).transpose();
        let cgroup = cgroup.map_err(Error::io("make the step's cgroup"))?;
        let mut launched = Launched::open(starter, None)?;
        launched.prepare(&launch::ground(kind.isolation, kind.network, cgroup.as_ref())?)?;
        let mut inside = [0; 2];
        let mut failed = None;
        let is_made = wait_for(MAKE_WAIT_MAX, |left| {
            let _news = poll(&mut [PollFd::new(&launched.socket, PollFlags::IN)], Some(&left));
            match wire::receive_report(launched.socket.as_fd()) {
                Ok(Received::Report(_, Report::Forked { pid })) => {
                    inside = [pid, inside[1]];
                    launched.init = pidfd_of_child(pid, launched.reaper());
                    false
                }
                Ok(Received::Report(sender, Report::Prepared)) => {
                    inside = [inside[0], sender];
                    true
                }
                Ok(Received::Nothing) => false,
                other => {
                    failed = Some(format!("{other:?}"));
                    true
                }
            }
        });
        match failed {
            None if is_made && launched.init.is_some() => {
                let cell = Self {
                    kind,
                    launched,
                    cgroup,
                    host,
                    inside,
                };
                // Who is still on the way to sleep would be taken for one that somebody touched. No event tells of that.
                wait_for(REST_WAIT_MAX, |_| {
                    let rests = cell.is_awake();
                    if !rests {
                        std::thread::sleep(REST_PAUSE);
                    }
                    rests
                });
                Ok(cell)
            }
            why => Err(Error::Shim {
                detail: format!(
                    "it made no cell: {}",
                    why.unwrap_or_else(|| "it is silent".to_owned())
                ),
            }),
        }
    }

    /// It is well, and what it was made from is as it was.
    fn is_well(&self) -> bool {
        is_well(&self.launched) && self.host.is_unchanged()
    }

    /// Nobody in it was stopped.
    fn is_awake(&self) -> bool {
        let [init, program] = self.inside;
        [self.launched.reaper(), init, program]
            .into_iter()
            .all(tree::is_sleeping)
    }
}

/// Nobody has ended it, and it has nothing to say.
fn is_well(launched: &Launched) -> bool {
    let mut line = [PollFd::new(&launched.socket, PollFlags::IN)];
    let is_silent = matches!(poll(&mut line, Some(&timespec(0))), Ok(0));
    is_silent && launched.child.is_alive()
}

impl Leftover {
    /// Limits the cell as its step asks, and hands it over.
    fn tell(&mut self, spec: &Spec) -> Result<(), Error> {
        let limited = self
            .cgroup
            .as_mut()
            .map_or(Ok(()), |cgroup| limit(cgroup, &spec.limits));
        limited.and_then(|()| self.launched.begin(spec, self.cgroup.as_ref()))
    }

    /// Waits for its end; what does not end by itself is ended when it goes.
    fn take_down(self) {
        if self.is_spent {
            let _ended = self.launched.child.wait_at_most(LEAVE_WAIT_MAX);
        }
    }
}

fn limit(cgroup: &mut StepCgroup, limits: &Limits) -> Result<(), Error> {
    cgroup.limit(limits).map_err(Error::io("limit the step's cgroup"))
}
