//! Namespaces: own processes, mounts, IPC, host name and, unless the step may use the network, network; and the init that lives in them.
//!
//! Whoever ends the init ends all that is inside: the kernel sees to it, whatever the processes do.

use std::os::fd::{AsFd, OwnedFd};

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use writ_protocol::exec::Isolation;

use super::strict::Room;
use super::{Never, die_with_parent, program};
use crate::kernel::{self, Fork};
use crate::wire::{self, Failure, Instruction, Report};

/// In the reaper: its next child will be the init of a new process namespace. Without privilege that takes a user namespace, in which the
/// user stays who it is.
pub(super) fn enter_first() -> Result<(), Failure> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if uid.is_root() {
        return kernel::unshare(UnshareFlags::NEWPID)
            .map_err(|e| Failure::isolation("make a process namespace", e));
    }
    let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWPID;
    kernel::unshare(flags).map_err(|e| Failure::isolation("make a user namespace", e))?;
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

/// In the init: makes the other namespaces, starts the program, reaps until it ends, and says how it ended. Leaving ends the rest.
pub(super) fn run_init(socket: &OwnedFd, instruction: &Instruction, reaper: Pid) -> Result<Never, Failure> {
    let is_strict = instruction.isolation >= Isolation::Strict;
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    flags.set(UnshareFlags::NEWNET, !instruction.network);
    // It would show where on the host the agent keeps its steps.
    flags.set(UnshareFlags::NEWCGROUP, is_strict);
    kernel::unshare(flags).map_err(|e| Failure::isolation("make namespaces", e))?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|e| Failure::isolation("make mounts private", e))?;
    let room = if is_strict {
        Some(Room::enter(instruction, reaper)?)
    } else {
        let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("proc", "/proc", "proc", quiet, None)
            .map_err(|e| Failure::isolation("mount /proc", e))?;
        None
    };
    if !instruction.network {
        raise_loopback().map_err(|e| Failure::isolation("bring up the loopback interface", e))?;
    }
    let program = match kernel::fork().map_err(|e| Failure::setup("fork", e))? {
        Fork::Parent(program) => program.as_raw_nonzero().get(),
        Fork::Child => {
            die_with_parent()?;
            return program::become_it(socket, instruction, room.as_ref());
        }
    };
    while let Some(reaped) = kernel::wait_any().map_err(|e| Failure::setup("wait for the program", e))? {
        if reaped.pid == program {
            wire::report(
                socket.as_fd(),
                &Report::Exited {
                    code: reaped.code,
                    signal: reaped.signal,
                },
            );
            break;
        }
    }
    std::process::exit(0)
}

/// Brings `lo` up in the new network namespace: a program may talk to itself.
fn raise_loopback() -> rustix::io::Result<()> {
    /// `RTM_NEWLINK` with `NLM_F_REQUEST | NLM_F_ACK` on interface 1, setting `IFF_UP`.
    const LOOPBACK_UP: [u8; 32] = {
        let mut message = [0; 32];
        message[0] = 32; // length
        message[4] = 16; // RTM_NEWLINK
        message[6] = 5; // NLM_F_REQUEST | NLM_F_ACK
        message[20] = 1; // interface: the loopback is the first of every namespace
        message[24] = 1; // flags: IFF_UP
        message[28] = 1; // mask: only IFF_UP
        message
    };
    // No protocol is protocol 0: NETLINK_ROUTE.
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::send(&socket, &native(LOOPBACK_UP), SendFlags::empty())?;
    let mut answer = [0; 64];
    let (got, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    // The answer is a header of 16 bytes and the negative error number, 0 for none.
    let code = answer
        .get(16..20)
        .filter(|_| got >= 20)
        .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(rustix::io::Errno::from_raw_os_error(code.saturating_neg())),
        None => Err(rustix::io::Errno::PROTO),
    }
}

/// Netlink speaks the machine's own byte order; every field of the message that is not zero fits in its lowest byte.
fn native(mut little: [u8; 32]) -> [u8; 32] {
    if cfg!(target_endian = "big") {
        for (start, width) in [(0_usize, 4_usize), (4, 2), (6, 2), (20, 4), (24, 4), (28, 4)] {
            if let Some(field) = little.get_mut(start..start + width) {
                field.reverse();
            }
        }
    }
    little
}
