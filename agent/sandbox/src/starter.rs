//! The agent's side of the *starter*: the shim, started once and kept for as long as steps follow one another, so that a step costs a fork of a
//! small process and not the start of the agent's whole binary.
//!
//! The starter forks each reaper as a child of *ours* (`CLONE_PARENT`), so everything that holds for a child holds: we wait for it, its id
//! is its own until then, and it dies with us. The kernel binds such a life to the thread that started the starter; therefore that is a thread
//! of its own, which lives as long as the sandbox. The starter itself goes when it was not needed for a while: an idle host pays nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::Timeout;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::clock::{boot_us, wait_for};
use crate::error::Error;
use crate::line;
use crate::shim::SHIM_ARGUMENT;

/// Longest wait for a starter to take a request or to answer it.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Starters tried for one reaper: one that was there and may just have died, and a new one.
const TRIES: usize = 2;
/// Stack of the thread that starts starters, bytes.
const STACK_BYTES: usize = 128 << 10;

/// Makes reapers. One per sandbox.
#[derive(Debug)]
pub(crate) struct Starter {
    shim: PathBuf,
    linger: Duration,
    line: Arc<Mutex<Line>>,
}

/// The way to the starter, and to the thread that starts it.
#[derive(Debug, Default)]
struct Line {
    /// To the starter that runs.
    socket: Option<OwnedFd>,
    /// To the thread, once there is one.
    thread: Option<SyncSender<Ask>>,
    /// When it was last used, microseconds since boot.
    used_us: u64,
}

/// Asks the thread for a new starter; the answer is the way to it.
type Ask = SyncSender<io::Result<OwnedFd>>;

impl Starter {
    pub(crate) fn new(shim: PathBuf, linger: Duration) -> Self {
        Self {
            shim,
            linger,
            line: Arc::default(),
        }
    }

    /// A new reaper with these ends: the socket for its instruction, standard output and standard error.
    pub(crate) fn reaper(&self, ends: [BorrowedFd<'_>; line::ENDS]) -> Result<Reaper, Error> {
        let mut line = lock(&self.line);
        let mut last = None;
        for _ in 0..TRIES {
            let socket = match line.socket.take() {
                Some(socket) => socket,
                None => self.start(&mut line)?,
            };
            match ask(&socket, ends) {
                Ok(reaper) => {
                    line.socket = Some(socket);
                    line.used_us = boot_us();
                    return Ok(reaper);
                }
                // It is gone or not well. Whatever it may have forked reads the end of its socket, and goes.
                Err(error) => last = Some(error),
            }
        }
        let why = last.map_or_else(String::new, |error| error.to_string());
        Err(Error::Shim {
            detail: format!("it started nothing: {why}; is the shim binary right?"),
        })
    }

    fn start(&self, line: &mut Line) -> Result<OwnedFd, Error> {
        let wrong = Error::io("start the sandbox shim");
        let gone = || io::Error::other("the thread that starts it is gone");
        let (answer, answered) = sync_channel(1);
        let thread = match line.thread.take() {
            Some(thread) => thread,
            None => match self.thread() {
                Ok(thread) => thread,
                Err(error) => return Err(wrong(error)),
            },
        };
        let told = thread.send(answer).map_err(|_| gone());
        let socket = told.and_then(|()| answered.recv().map_err(|_| gone()).flatten());
        line.thread = Some(thread);
        socket.map_err(wrong)
    }

    /// Starts the thread whose life bounds that of every starter and of every reaper.
    fn thread(&self) -> io::Result<SyncSender<Ask>> {
        let (ask, asked) = sync_channel(1);
        let (shim, linger, line) = (self.shim.clone(), self.linger, Arc::clone(&self.line));
        std::thread::Builder::new()
            .name("writ-starter".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || keep(&shim, linger, &line, &asked))?;
        Ok(ask)
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        // The thread waits for one of these, and holds the line itself.
        *lock(&self.line) = Line::default();
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread: starts starters when asked, and lets go of one that was not used for a while.
fn keep(shim: &Path, linger: Duration, line: &Mutex<Line>, asked: &Receiver<Ask>) {
    let mut running = None;
    let mut patience = linger;
    loop {
        match asked.recv_timeout(patience) {
            Ok(answer) => {
                reap(running.take());
                let started = start(shim).map(|(child, socket)| {
                    running = Some(child);
                    socket
                });
                // Whoever asked waits for it.
                let _heard = answer.send(started);
                patience = linger;
            }
            Err(RecvTimeoutError::Timeout) => {
                let left = left(linger, line);
                if left.is_none() {
                    reap(running.take());
                }
                patience = left.unwrap_or(linger);
            }
            Err(RecvTimeoutError::Disconnected) => return reap(running),
        }
    }
}

/// How long the starter may still stay unused; when that is over its line is closed, and there is nothing left.
fn left(linger: Duration, line: &Mutex<Line>) -> Option<Duration> {
    // Whoever holds the line may be waiting for us, and uses it in any case.
    let Ok(mut line) = line.try_lock() else {
        return Some(linger);
    };
    let idle = Duration::from_micros(boot_us().saturating_sub(line.used_us));
    let left = linger.saturating_sub(idle);
    if line.socket.is_some() && !left.is_zero() {
        return Some(left);
    }
    line.socket = None;
    None
}

/// Waits for a starter whose line is closed. It has nothing to finish, and is not waited for in vain.
fn reap(child: Option<std::process::Child>) {
    if let Some(mut child) = child {
        let _gone = child.kill();
        let _reaped = child.wait();
    }
}

fn start(shim: &Path) -> io::Result<(std::process::Child, OwnedFd)> {
    let (ours, theirs) = line::pair()?;
    for timeout in [Timeout::Send, Timeout::Recv] {
        rustix::net::sockopt::set_socket_timeout(&ours, timeout, Some(ANSWER_WAIT_MAX))?;
    }
    let child = Command::new(shim)
        .arg(SHIM_ARGUMENT)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((child, ours))
}

fn ask(socket: &OwnedFd, ends: [BorrowedFd<'_>; line::ENDS]) -> io::Result<Reaper> {
    line::ask(socket.as_fd(), ends)?;
    let pid = Pid::from_raw(line::answer(socket.as_fd())?)
        .ok_or_else(|| io::Error::other("it answered with no process"))?;
    // Our own child, which nobody else waits for: the id is still its own.
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Reaper {
        pid: pid.as_raw_nonzero().get(),
        handle,
    })
}

/// A reaper: a child of this process.
#[derive(Debug)]
pub(crate) struct Reaper {
    /// Its process id, its own until it is waited for.
    pub(crate) pid: i32,
    handle: OwnedFd,
}

impl Reaper {
    pub(crate) fn kill(&self) {
        // One that is gone already is what we want.
        let _gone = rustix::process::pidfd_send_signal(&self.handle, Signal::KILL);
    }

    /// Waits for its end, which must be certain.
    pub(crate) fn wait(&self) {
        let ended = WaitIdOptions::EXITED;
        // Waited for already is as well.
        let _reaped =
            rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(self.handle.as_fd()), ended));
    }

    /// Waits for its end, but not for ever; whether it has come.
    pub(crate) fn wait_at_most(&self, most: Duration) -> bool {
        let ended = || [PollFd::new(&self.handle, PollFlags::IN)];
        wait_for(most, |left| {
            !self.is_alive() || {
                // Readable when it is over.
                let _news = poll(&mut ended(), Some(&left));
                !self.is_alive()
            }
        })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(
            rustix::process::waitid(WaitId::PidFd(self.handle.as_fd()), look),
            Ok(None)
        )
    }
}
