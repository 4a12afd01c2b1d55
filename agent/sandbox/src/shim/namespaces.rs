//! Namespaces: own processes, mounts, IPC, host name and, unless the step may use the network, network; and the init that lives in them.
//!
//! Whoever ends the init ends all that is inside: the kernel sees to it, whatever the processes do.

use std::os::fd::{AsFd, OwnedFd};

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use writ_protocol::exec::Isolation;

use super::program::Wall;
use super::strict::{self, Brought, Look, Room, Site};
use super::{Job, Never, cell, die_with_parent, loopback, program};
use crate::kernel::{self, Fork, Rusage};
use crate::loopback::Joined;
use crate::wire::{self, Failure, Ground, Report, Sight};

/// In the reaper: its next child will be the init of a new process namespace. Without privilege that takes a user namespace, in which the
/// user stays who it is.
pub(super) fn enter_first(shared: Option<&Joined>) -> Result<(), Failure> {
    // Who shares a network lives in the user namespace that owns it: nobody else may enter it.
    match shared.map(|shared| shared.user.as_ref()) {
        Some(Some(user)) => loopback::join(user, LinkNameSpaceType::User, "join the user namespace")?,
        Some(None) => {}
        None if rustix::process::geteuid().is_root() => {}
        None => own_user_namespace()?,
    }
    kernel::unshare(UnshareFlags::NEWPID).map_err(|e| Failure::isolation("make a process namespace", e))
}

/// Moves this process into a user namespace in which the user stays who it is, with every right over what is made in it.
pub(super) fn own_user_namespace() -> Result<(), Failure> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    kernel::unshare(UnshareFlags::NEWUSER).map_err(|e| Failure::isolation("make a user namespace", e))?;
    let (uid, gid) = (uid.as_raw(), gid.as_raw());
    // The order is the kernel's: the group map is refused while setgroups is allowed.
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ] {
        std::fs::write(file, text).map_err(|e| Failure::isolation(&format!("write {file}"), e))?;
    }
    Ok(())
}

/// In the init: makes the other namespaces, starts the program, reaps until nobody is left, and says how it ended. Without an
/// instruction it becomes the init of a cell.
pub(super) fn run_init(
    socket: &OwnedFd,
    (ground, job): (&Ground, Job<'_>),
    reaper: Pid,
    shared: Option<Joined>,
) -> Result<Never, Failure> {
    let is_strict = ground.isolation >= Isolation::Strict;
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    flags.set(UnshareFlags::NEWNET, ground.network == Sight::Own);
    // It would show where on the host the agent keeps its steps.
    flags.set(UnshareFlags::NEWCGROUP, is_strict);
    if let Some(shared) = shared {
        loopback::join(&shared.network, LinkNameSpaceType::Network, "join the network")?;
    }
    kernel::unshare(flags).map_err(|e| Failure::isolation("make namespaces", e))?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|e| Failure::isolation("make mounts private", e))?;
    if ground.network == Sight::Own {
        loopback::raise().map_err(|e| Failure::isolation("bring up the loopback interface", e))?;
    }
    let instruction = match job {
        Job::Now(instruction) => instruction,
        Job::Later(ends) => return cell::make(socket, ground, reaper, ends),
    };
    let room = if is_strict {
        let brought = Brought::take(instruction)?;
        Some((Site::build(ground.network)?, brought))
    } else {
        let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("proc", "/proc", "proc", quiet, None)
            .map_err(|e| Failure::isolation("mount /proc", e))?;
        if instruction.looks {
            strict::close_mounts()?;
        }
        if instruction.asks {
            strict::close_mounts_to_who_asks()?;
        }
        None
    };
    let program = match kernel::fork().map_err(|e| Failure::setup("fork", e))? {
        Fork::Parent(program) => program.as_raw_nonzero().get(),
        Fork::Child => {
            die_with_parent()?;
            let wall = match room {
                Some((site, brought)) => {
                    strict::give_up_bounds()?;
                    Wall::Room(Room::furnish(site, brought, instruction, reaper)?)
                }
                None if instruction.looks => Wall::Look(Look::new(reaper)?),
                None => Wall::Open,
            };
            return program::become_it(socket, instruction, &wall);
        }
    };
    outlive(socket, program)?;
    kernel::end_at_once(0)
}

/// In the init: waits for the program's end, says it, ends what it left, and comes back when nobody is left: with what all of them used.
///
/// Whoever is left when the init goes is taken away by the kernel, uncounted, with all that it had waited for.
pub(super) fn outlive(socket: &OwnedFd, program: i32) -> Result<Rusage, Failure> {
    let mut used = Rusage::default();
    while let Some(reaped) = kernel::wait_any().map_err(|e| Failure::setup("wait for the program", e))? {
        used.add(&reaped.rusage);
        if reaped.pid == program {
            let (code, signal) = (reaped.code, reaped.signal);
            wire::report(socket.as_fd(), &Report::Exited { code, signal });
            if has_left_somebody() {
                kernel::kill_everyone_else().map_err(|e| Failure::setup("end what is left", e))?;
            }
        }
    }
    Ok(used)
}

/// Whether the program did: in this namespace everybody without a parent is a child of the init. To kill takes a look at the whole machine.
fn has_left_somebody() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(
        rustix::process::waitid(WaitId::All, look),
        Err(rustix::io::Errno::CHILD)
    )
}
