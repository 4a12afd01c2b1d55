//! Runs a script that is to leave a daemon behind, which a sandbox would not let it: nothing outlives a step there. So it gets a process group
//! of its own, a clean environment, an end in time, and none of the step's limits, which the daemon would live under for ever.
//!
//! Its output goes into a piece of memory of fixed size. A daemon that still holds it can neither fill it further nor be ended by a closed pipe.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use writ_protocol::digest::Digest;
use writ_protocol::exec::{EffectiveLimit, Exit, Isolation, KillConfidence, Meter, Usage};
use writ_sandbox::{CapturedOutput, Outcome, Stream};

use crate::context::Sinks;
use crate::error::Error;
use crate::tool::{Ended, Tools, environment};
use crate::wait::{Wait, nanos};

/// Bytes of output that are kept.
const OUTPUT_BYTES: usize = 64 << 10;
/// Time between two looks at whether a stop was asked for.
const LOOK: Duration = Duration::from_millis(100);

pub(super) fn run(argv: &[String], tools: &mut Tools<'_, '_>, sinks: &mut Sinks<'_>) -> Result<Ended, Error> {
    let outcome = start(argv, tools)?;
    (sinks.on_output)(Stream::Stdout, &outcome.output.head);
    tools.book(outcome)
}

fn start(argv: &[String], tools: &Tools<'_, '_>) -> Result<Outcome, Error> {
    let failed = |action: &'static str| {
        let path = argv.last().cloned().unwrap_or_default();
        move |source: std::io::Error| Error::Path {
            action,
            path,
            hint: "see the cause",
            source,
        }
    };
    let mut output = memory().map_err(failed("set up the output of"))?;
    let mut words = argv.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words).env_clear().envs(environment(&[]));
    command.current_dir("/").process_group(0).stdin(Stdio::null());
    command.stdout(output.try_clone().map_err(failed("set up the output of"))?);
    command.stderr(output.try_clone().map_err(failed("set up the output of"))?);
    let started = nanos(rustix::time::ClockId::Boottime);
    let wall = tools.wall_left_ms();
    let mut child = command.spawn().map_err(failed("start"))?;
    let exit = watch(&mut child, wall, tools).map_err(failed("wait for"))?;
    let text = kept(&mut output);
    Ok(Outcome {
        exit,
        effective: vec![EffectiveLimit {
            name: "wall".to_owned(),
            requested: wall,
            effective: wall,
            by: "agent".to_owned(),
        }],
        isolation_reached: Isolation::None,
        kill_confidence: KillConfidence::BestEffort,
        usage: Usage {
            wall_us: nanos(rustix::time::ClockId::Boottime).saturating_sub(started) / 1_000,
            output_bytes: text.len() as u64,
            lower_bound: true,
            ..Usage::none(Meter::Rusage)
        },
        output: CapturedOutput {
            digest: Digest::of(&text),
            total: text.len() as u64,
            truncated: false,
            head: text,
            tail: Vec::new(),
        },
        pid: i32::try_from(child.id()).unwrap_or(0),
        started_boot_us: started / 1_000,
    })
}

/// Memory that looks like a file and does not grow.
fn memory() -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("writ-service-output", flags)?;
    rustix::fs::ftruncate(&memory, OUTPUT_BYTES as u64)?;
    rustix::fs::fcntl_add_seals(&memory, SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(memory.into())
}

/// What was written: the place where the next byte would go is shared with whoever writes.
fn kept(output: &mut File) -> Vec<u8> {
    let end = output.stream_position().unwrap_or(0).min(OUTPUT_BYTES as u64);
    let mut text = Vec::new();
    if output.seek(SeekFrom::Start(0)).is_ok() {
        // What cannot be read is missing in a message, and nothing else.
        let _partial = Read::by_ref(output).take(end).read_to_end(&mut text);
    }
    // Leave the place as it was: a daemon that goes on writing would overwrite what others still read.
    let _back = output.seek(SeekFrom::Start(end));
    text
}

/// Waits for the script, not for what it leaves.
fn watch(child: &mut Child, wall_ms: u64, tools: &Tools<'_, '_>) -> std::io::Result<Exit> {
    let wait = Wait::new(Duration::from_millis(wall_ms));
    let pid = Pid::from_child(child);
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let end = |child: &mut Child| {
        // The whole group: a script's helpers hang as well as it does.
        let _gone = rustix::process::kill_process_group(pid, Signal::KILL);
        child.wait()
    };
    loop {
        let left = wait.left();
        if left.is_zero() {
            end(child)?;
            return Ok(Exit::Limit("wall".to_owned()));
        }
        if let Some(reason) = tools.context.control.asked() {
            end(child)?;
            return Ok(Exit::Killed(reason));
        }
        let nap = left.min(LOOK);
        let timeout = Timespec {
            tv_sec: i64::try_from(nap.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(nap.subsec_nanos()),
        };
        let mut handles = [PollFd::new(&handle, PollFlags::IN)];
        match poll(&mut handles, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => {
                end(child)?;
                return Err(errno.into());
            }
        }
        let status = child.wait()?;
        return Ok(
            match (
                status.code(),
                std::os::unix::process::ExitStatusExt::signal(&status),
            ) {
                (Some(code), _) => Exit::Code(code),
                (None, signal) => Exit::Signal(signal.unwrap_or(0)),
            },
        );
    }
}
