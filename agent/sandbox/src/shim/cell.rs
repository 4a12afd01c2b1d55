//! A *cell*: reaper, init and who will become the program, made before a step asks for them and waiting for its instruction.
//!
//! What waits here has heard of no step, and serves one: it becomes that step's program, and nobody comes back. Whatever is wrong before that is said,
//! and the agent runs the step the long way. The init of a cell ends what its program left and says what all of it used, so that the agent need not
//! wait for the end of the cell itself; should the init be ended, its reaper says it.

use std::io::{PipeWriter, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use writ_protocol::exec::Isolation;

use super::strict::{self, Brought, Room, Site, Way};
use super::{
    Job, Never, close_output, die_with_parent, fork_child, namespaces, program, report_exit, storage_bytes,
    used_report,
};
use crate::kernel::{self, Fork, Rusage};
use crate::wire::{self, Failure, Ground, Report, Task};

/// What the init of a cell says to its reaper.
pub(super) struct Ends {
    /// Takes the way to the host's tree, for the reaper to hold.
    holder: OwnedFd,
    /// Held by who waits, and by nobody when the program has begun.
    waiting: PipeWriter,
}

/// In the reaper: makes the cell, and collects it.
///
/// What a step brings comes from the host's tree, to which the cell keeps a way: a second namespace of mounts, which nobody lives in. Its end takes the
/// kernel a while. The reaper holds it until everybody else has let go of it, and so nobody else waits for that.
pub(super) fn reap(socket: &OwnedFd, ground: &Ground) -> Result<(), Failure> {
    let before = storage_bytes();
    let (held, holder) = wire::pair().map_err(|e| Failure::setup("make a socket", e))?;
    let (mut begun, waiting) = std::io::pipe().map_err(|e| Failure::setup("make a pipe", e))?;
    let child = fork_child(socket, ground, Job::Later(Ends { holder, waiting }), None)?;
    let pid = child.as_raw_nonzero().get();
    wire::report(socket.as_fd(), &Report::Forked { pid });
    close_output()?;
    let way = wire::receive_handles(held.as_fd());
    // Nothing is ever written: the end is what is waited for.
    let _end = begun.read(&mut [0]);
    drop(way);
    let mut used = Rusage::default();
    while let Some(reaped) = kernel::wait_any().map_err(|e| Failure::setup("wait for the tree", e))? {
        used.add(&reaped.rusage);
        if reaped.pid == pid {
            report_exit(socket, &reaped, ground);
        }
    }
    wire::report(socket.as_fd(), &used_report(&used, before));
    Ok(())
}

/// In the init, in its namespaces: builds the root, has somebody wait in it, and waits for the end.
pub(super) fn make(socket: &OwnedFd, ground: &Ground, reaper: Pid, ends: Ends) -> Result<Never, Failure> {
    let Ends { holder, waiting } = ends;
    if ground.isolation < Isolation::Strict {
        return Err(Failure::setup("make a cell", "only strict steps have one"));
    }
    let host = Way::here()?;
    wire::send_handles(holder.as_fd(), &[host.mounts()])
        .map_err(|e| Failure::setup("hand over the mounts", e))?;
    drop(holder);
    kernel::unshare(UnshareFlags::NEWNS).map_err(|e| Failure::isolation("make namespaces", e))?;
    let site = Site::build(ground.network)?;
    match kernel::fork().map_err(|e| Failure::setup("fork", e))? {
        Fork::Parent(program) => {
            drop((host, waiting));
            keep(socket, program.as_raw_nonzero().get())
        }
        Fork::Child => {
            die_with_parent()?;
            // `waiting` goes when this process has become the program, or is gone.
            let never = wait_and_become_it(socket, ground, (site, host), reaper);
            drop(waiting);
            never
        }
    }
}

/// In the child of the init: says that all is ready, waits for the step, and becomes its program.
fn wait_and_become_it(
    socket: &OwnedFd,
    ground: &Ground,
    (mut site, host): (Site, Way),
    reaper: Pid,
) -> Result<Never, Failure> {
    let inside = Way::here()?;
    strict::give_up_bounds()?;
    site.seal()?;
    wire::report(socket.as_fd(), &Report::Prepared);
    let task = wire::receive_task(socket.as_fd()).map_err(|e| Failure::setup("read the instruction", e))?;
    let instruction = match task {
        Task::Run(instruction) if instruction.ground == *ground => instruction,
        _ => return Err(Failure::setup("use the cell", "it was made for something else")),
    };
    host.go()?;
    let brought = Brought::take(&instruction)?;
    inside.go()?;
    drop((host, inside));
    let room = Room::furnish(site, brought, &instruction, reaper)?;
    program::become_it(socket, &instruction, &program::Wall::Room(room))
}

/// In the init: waits for the program's end, ends what it left, and says so when nobody is left.
fn keep(socket: &OwnedFd, program: i32) -> Result<Never, Failure> {
    close_output()?;
    let before = storage_bytes();
    let used = namespaces::outlive(socket, program)?;
    wire::report(socket.as_fd(), &used_report(&used, before));
    kernel::end_at_once(0)
}
