//! One life of a program that is examined: started, spoken to through its pipe, waited for with a bound, and ended with everything that it started.

use std::io::Write as _;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::family::Family;

/// How long a program may take to end.
pub(crate) const END_WAIT: Duration = Duration::from_secs(20);
/// Words on their way, in each direction.
const WAITING_MAX: usize = 16;

/// What came of waiting for a word.
#[derive(Debug)]
pub(crate) enum Heard<W> {
    Word(W),
    /// It is no word.
    Broken(String),
    /// It closed its standard output.
    End,
    Silence,
}

/// Reads one word; none at the end.
pub(crate) type Read<W> = fn(&mut ChildStdout) -> Result<Option<W>, String>;

/// How a process ended: its exit code, which a signal leaves out.
#[derive(Clone, Copy)]
struct Ended(Option<i32>);

/// A program that runs.
pub(crate) struct Process<W> {
    pid: Option<Pid>,
    /// Closed by dropping it.
    to: Option<SyncSender<Vec<u8>>>,
    from: Receiver<Heard<W>>,
    ended: Receiver<Option<i32>>,
    /// How it ended, once that is known.
    end: Option<Ended>,
}

impl<W: Send + 'static> Process<W> {
    /// Starts it.
    pub(crate) fn start(mut command: Command, read: Read<W>) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("it does not start: {error}"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (to, words) = sync_channel::<Vec<u8>>(WAITING_MAX);
        let (heard, from) = sync_channel(WAITING_MAX);
        let (over, ended) = sync_channel(1);
        if let Some(mut input) = child.stdin.take() {
            // Of its own, so that a program that does not read cannot stop the suite. A closed pipe is told by its end.
            thread::spawn(move || {
                while let Ok(bytes) = words.recv() {
                    if input.write_all(&bytes).and_then(|()| input.flush()).is_err() {
                        return;
                    }
                }
            });
        }
        if let Some(mut output) = child.stdout.take() {
            thread::spawn(move || {
                loop {
                    let word = match read(&mut output) {
                        Ok(Some(word)) => Heard::Word(word),
                        Ok(None) => Heard::End,
                        Err(why) => Heard::Broken(why),
                    };
                    let is_last = !matches!(word, Heard::Word(_));
                    if heard.send(word).is_err() || is_last {
                        return;
                    }
                }
            });
        }
        thread::spawn(move || {
            let code = child.wait().ok().and_then(|status| status.code());
            // Nobody may want to know.
            let _unheard = over.send(code);
        });
        Ok(Self {
            pid,
            to: Some(to),
            from,
            ended,
            end: None,
        })
    }
}

impl<W> Process<W> {
    /// Sends any bytes.
    pub(crate) fn send(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        let to = self.to.as_ref().ok_or("its standard input is closed")?;
        to.try_send(bytes)
            .map_err(|_full| "it does not read its standard input".to_owned())
    }

    pub(crate) fn hear(&mut self, wait: Duration) -> Heard<W> {
        match self.from.recv_timeout(wait) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout) => Heard::Silence,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// Closes its standard input.
    pub(crate) fn close(&mut self) {
        self.to = None;
    }

    /// Waits for its end; its exit code, which a signal leaves out.
    pub(crate) fn end(&mut self, wait: Duration) -> Result<Option<i32>, String> {
        if let Some(Ended(code)) = self.end {
            return Ok(code);
        }
        match self.ended.recv_timeout(wait) {
            Ok(code) => {
                self.end = Some(Ended(code));
                Ok(code)
            }
            Err(_) => Err(format!("it did not end within {} s", wait.as_secs())),
        }
    }

    /// Kills it and what it started in its process group.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        if self.end.is_none()
            && let Some(pid) = self.pid
        {
            // It may have ended by itself.
            let _gone = kill_process_group(pid, Signal::KILL);
        }
        self.end(END_WAIT).map(drop)
    }

    /// Kills it and everything that it started, wherever that is by now, as a machine does that loses its power.
    pub(crate) fn kill_all(&mut self) -> Result<(), String> {
        let family = self.pid.map(Family::frozen).unwrap_or_default();
        family.kill();
        self.kill()?;
        family.gone()
    }

    /// Kills it as [`Process::kill`] does, and waits until nothing is left of anything that it started.
    pub(crate) fn kill_wholly(&mut self) -> Result<(), String> {
        let family = self.pid.map(Family::frozen).unwrap_or_default();
        self.kill()?;
        family.gone()
    }
}

impl<W> Drop for Process<W> {
    fn drop(&mut self) {
        let _left = self.kill();
    }
}
