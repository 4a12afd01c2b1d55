//! A tool of this machine that is asked for a text: an inventory's script, `cue`. It has so long and may print so much, and what it started ends with it.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};
use writ_protocol::reason::Code;

use crate::clock::Deadline;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::interrupt::LOOK;

/// Most of what a tool says on its standard error that is kept, bytes.
const SAID_BYTES_MAX: usize = 16_384;
/// How long the rest of that is waited for once the tool is gone.
const SAID_WAIT: Duration = Duration::from_secs(1);

/// What a tool may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How long it has.
    pub(crate) patience: Duration,
    /// Most bytes of its output.
    pub(crate) bytes: usize,
    /// What to do where that time is not enough.
    pub(crate) late: &'static str,
}

/// How a tool ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: ExitStatus,
    /// Its output.
    pub(crate) text: String,
    /// The beginning of its standard error, where the command has that piped.
    pub(crate) said: String,
}

/// Starts a tool, named `name` in errors, and waits for its end.
///
/// # Errors
/// When it does not start, takes longer or prints more than it may, or prints what is no UTF-8 text. It is ended then.
pub(crate) fn ask(mut command: Command, name: &str, bounds: Bounds) -> anyhow::Result<Told> {
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let output = child.stdout.take().context("the tool's output")?;
    let said = child.stderr.take().map(beginning);
    let (to, from) = sync_channel(1);
    let what = format!("what {name} prints");
    std::thread::spawn(move || to.send(text_of(output, bounds.bytes, &what)));
    let deadline = Deadline::after(bounds.patience);
    let text = match from.recv_timeout(deadline.left()) {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            end(&mut child);
            return Err(error);
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            end(&mut child);
            return Err(late(name, bounds).into());
        }
    };
    loop {
        match child.try_wait().with_context(|| format!("waiting for {name}"))? {
            Some(status) => {
                // Something that it left behind may hold its standard error open.
                let said = said.and_then(|said| said.recv_timeout(SAID_WAIT).ok());
                let said = said.unwrap_or_default();
                return Ok(Told { status, text, said });
            }
            None if deadline.is_over() => {
                end(&mut child);
                return Err(late(name, bounds).into());
            }
            None => std::thread::sleep(LOOK),
        }
    }
}

/// A text of bounded length.
///
/// # Errors
/// When it cannot be read, is longer, or is not UTF-8; `what` names it.
pub(crate) fn text_of(from: impl Read, max: usize, what: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let read = from.take(max as u64 + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("reading {what}"))?;
    if bytes.len() > max {
        let what = format!("{what} is longer than {max} bytes");
        return Err(Fault::coded(Code::TooLarge, what).into());
    }
    String::from_utf8(bytes)
        .map_err(|_| Fault::coded(Code::Malformed, format!("{what} is not UTF-8 text")).into())
}

/// The beginning of a stream, all of which is read, so that nobody waits for room to write more.
fn beginning(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (to, said) = sync_channel(1);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What cannot be read is not kept either.
        let _partial = from.by_ref().take(SAID_BYTES_MAX as u64).read_to_end(&mut bytes);
        let _dropped = std::io::copy(&mut from, &mut std::io::sink());
        to.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    said
}

fn late(name: &str, bounds: Bounds) -> Fault {
    let what = format!("{name} was not done within {} s", bounds.patience.as_secs());
    Fault::new(Exit::TimedOut, what).help(bounds.late)
}

fn end(child: &mut Child) {
    // Where it is gone already there is nothing to end.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    drop(child.wait());
}
