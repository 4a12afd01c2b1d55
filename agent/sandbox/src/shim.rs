//! The shim: the agent's own binary, started again to prepare programs and then to reap what they leave.
//!
//! Its first process is the *starter*, which only forks: a *reaper* for each program, as a sibling. A reaper never enters the step's cgroup or namespaces, so that it outlives a `cgroup.kill` and can still
//! say what the tree used; everything in between runs in its children. All of them die with the agent.

mod cell;
mod loopback;
mod namespaces;
mod program;
mod starter;
mod strict;
mod user;

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, Signal};

use crate::kernel::{self, Fork, Reaped, Rusage};
use crate::loopback::Joined;
use crate::wire::{self, Failure, Ground, Instruction, Report, Sight, Task};

pub(crate) use strict::{ROOT_SOURCES, only_read};

/// The first argument that makes the binary a shim. Not for people.
pub(crate) const SHIM_ARGUMENT: &str = "__writ-shim";

/// Exit status of a shim process that gave up; the reason went over the socket.
const GAVE_UP: i32 = 125;

/// Becomes the shim when the process was started as one, and then never returns. Call it before anything else in `main`: no thread may
/// run yet, and standard input is a socket that nobody else may touch.
pub fn maybe_run_shim() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() == Some(OsStr::new(SHIM_ARGUMENT)) && arguments.next().is_none() {
        std::process::exit(starter::main());
    }
}

/// The reaper's life: from the fork to its exit status.
fn reaper_main(socket: &OwnedFd) -> i32 {
    match reap(socket) {
        Ok(()) => 0,
        Err(failure) => {
            wire::report(socket.as_fd(), &Report::Failed(failure));
            GAVE_UP
        }
    }
}

fn reap(socket: &OwnedFd) -> Result<(), Failure> {
    die_with_parent()?;
    if parent_is_gone(socket) {
        return Err(Failure::setup("watch the agent", "it is gone"));
    }
    rustix::process::setsid().map_err(|e| Failure::setup("start a session", e))?;
    let task = wire::receive_task(socket.as_fd()).map_err(|e| Failure::setup("read the instruction", e))?;
    let instruction = match task {
        Task::Run(instruction) => instruction,
        Task::Prepare(ground) => return cell::reap(socket, &ground),
        Task::Loopback(port) => return loopback::make(socket, port),
    };
    let shared = if instruction.ground.network == Sight::Shared {
        Some(receive_shared(socket)?)
    } else {
        None
    };
    let before = storage_bytes();
    let ground = &instruction.ground;
    let child = fork_child(socket, ground, Job::Now(&instruction), shared)?;
    wire::report(
        socket.as_fd(),
        &Report::Forked {
            pid: child.as_raw_nonzero().get(),
        },
    );
    close_output()?;
    let mut used = Rusage::default();
    while let Some(reaped) = kernel::wait_any().map_err(|e| Failure::setup("wait for the tree", e))? {
        used.add(&reaped.rusage);
        if reaped.pid == child.as_raw_nonzero().get() {
            report_exit(socket, &reaped, ground);
        }
    }
    wire::report(socket.as_fd(), &used_report(&used, before));
    Ok(())
}

/// Whoever is not the program must not hold its streams open, or their end would not be seen. They are empty from now on.
fn close_output() -> Result<(), Failure> {
    let wrong = |e: std::io::Error| Failure::setup("close the output", e);
    let empty = File::open("/dev/null").map_err(wrong)?;
    rustix::stdio::dup2_stdin(&empty).map_err(|e| wrong(e.into()))?;
    rustix::stdio::dup2_stdout(&empty).map_err(|e| wrong(e.into()))?;
    rustix::stdio::dup2_stderr(&empty).map_err(|e| wrong(e.into()))
}

fn receive_shared(socket: &OwnedFd) -> Result<Joined, Failure> {
    let wrong = |e: std::io::Error| Failure::setup("take the network", e);
    match wire::receive_handles(socket.as_fd()).map_err(wrong)? {
        Ok(handles) => Joined::of(handles).map_err(wrong),
        Err(_) => Err(Failure::setup("take the network", "it did not come")),
    }
}

/// What is made.
enum Job<'a> {
    /// The program of an instruction that has come.
    Now(&'a Instruction),
    /// A cell for one that will come.
    Later(cell::Ends),
}

/// Forks the program, or the init that starts it.
fn fork_child(
    socket: &OwnedFd,
    ground: &Ground,
    job: Job<'_>,
    shared: Option<Joined>,
) -> Result<Pid, Failure> {
    let cgroup = ground
        .cgroup_procs
        .as_deref()
        .map(|path| File::options().write(true).open(path));
    let cgroup = cgroup
        .transpose()
        .map_err(|e| Failure::setup("open the step's cgroup", e))?;
    if ground.has_init() {
        namespaces::enter_first(shared.as_ref())?;
    } else {
        // What the program daemonises comes to us, so that it is seen, counted and ended.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|e| Failure::setup("become subreaper", e))?;
    }
    // Entering a user namespace may clear it.
    die_with_parent()?;
    let reaper = rustix::process::getpid();
    match kernel::fork().map_err(|e| Failure::setup("fork", e))? {
        Fork::Parent(child) => Ok(child),
        Fork::Child => {
            let failure = match first_child(socket, (ground, job), cgroup, (reaper, shared)) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            wire::report(socket.as_fd(), &Report::Failed(failure));
            kernel::end_at_once(GAVE_UP)
        }
    }
}

/// What never happens: a function returns this when success means that it does not return.
enum Never {}

fn first_child(
    socket: &OwnedFd,
    (ground, job): (&Ground, Job<'_>),
    cgroup: Option<File>,
    (reaper, shared): (Pid, Option<Joined>),
) -> Result<Never, Failure> {
    if let Some(procs) = cgroup {
        // Before anything else: what this process does from here on is the step's.
        rustix::io::write(&procs, b"0").map_err(|e| Failure::setup("enter the step's cgroup", e))?;
    }
    die_with_parent()?;
    if parent_is_gone(socket) {
        return Err(Failure::setup("watch the agent", "it is gone"));
    }
    match job {
        Job::Now(instruction) if !ground.has_init() => {
            program::become_it(socket, instruction, &program::Wall::Open)
        }
        job => namespaces::run_init(socket, (ground, job), reaper, shared),
    }
}

fn die_with_parent() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| Failure::setup("bind the life to the parent's", e))
}

/// Whether the agent went away, perhaps before [`die_with_parent`] took hold: its end of the socket is closed then.
fn parent_is_gone(socket: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    !matches!(poll(&mut fds, Some(&now)), Ok(0))
}

/// Tells how the program ended. Of a namespace's init only an unnatural end is news; its program's end it told itself.
fn report_exit(socket: &OwnedFd, reaped: &Reaped, ground: &Ground) {
    if !ground.has_init() || reaped.signal.is_some() {
        wire::report(
            socket.as_fd(),
            &Report::Exited {
                code: reaped.code,
                signal: reaped.signal,
            },
        );
    }
}

fn used_report(used: &Rusage, before: Storage) -> Report {
    let after = storage_bytes();
    // The kernel counts blocks even where per-process accounting is not compiled in.
    let read_bytes = after
        .read
        .saturating_sub(before.read)
        .max(used.blocks_in.saturating_mul(512));
    let written_bytes = after
        .written
        .saturating_sub(before.written)
        .max(used.blocks_out.saturating_mul(512));
    let Rusage {
        user_us,
        system_us,
        max_rss_bytes,
        ..
    } = *used;
    Report::Used {
        user_us,
        system_us,
        max_rss_bytes,
        read_bytes,
        written_bytes,
    }
}

#[derive(Clone, Copy, Default)]
struct Storage {
    read: u64,
    written: u64,
}

/// What this process and the children it reaped moved to and from storage.
fn storage_bytes() -> Storage {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    Storage {
        read: field("read_bytes:"),
        written: field("write_bytes:"),
    }
}
