//! The last process of the shim: sets its limits, reads them back, reports them and becomes the program.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit};
use writ_protocol::exec::{EffectiveLimit, Isolation};

use super::strict::{Look, Room};
use super::{Never, die_with_parent, user};
use crate::wire::{self, Failure, Instruction, Report, Rlimits};

/// What stands between a program and the host, beyond its limits.
pub(super) enum Wall {
    /// Namespaces at most.
    Open,
    /// A root of its own.
    Room(Room),
    /// The host's tree, read-only.
    Look(Look),
}

impl Wall {
    const fn room(&self) -> Option<&Room> {
        match self {
            Self::Room(room) => Some(room),
            Self::Open | Self::Look(_) => None,
        }
    }

    const fn look(&self) -> Option<&Look> {
        match self {
            Self::Look(look) => Some(look),
            Self::Open | Self::Room(_) => None,
        }
    }
}

pub(super) fn become_it(socket: &OwnedFd, instruction: &Instruction, wall: &Wall) -> Result<Never, Failure> {
    let room = wall.room();
    let (program, arguments) = instruction
        .argv
        .split_first()
        .ok_or_else(|| Failure::setup("read argv", "it is empty"))?;
    rustix::process::setsid().map_err(|e| Failure::setup("start a session", e))?;
    rustix::thread::set_no_new_privs(true).map_err(|e| Failure::setup("give up new privileges", e))?;
    if let Some(room) = room {
        room.give_up_privileges()?;
        // Taking other ids clears it.
        die_with_parent()?;
    }
    if let Some(look) = wall.look() {
        look.give_up_privileges()?;
        die_with_parent()?;
    }
    if let Some(user) = &instruction.user {
        user::become_it(user)?;
        die_with_parent()?;
    }
    let cwd = room.map_or(Path::new(&instruction.cwd), Room::cwd);
    std::env::set_current_dir(cwd).map_err(|e| Failure::start(&instruction.cwd, e))?;
    // Everything that needs memory comes before the memory limit.
    let mut command = Command::new(room.and_then(Room::program).unwrap_or(Path::new(program)));
    command
        .arg0(program)
        .args(arguments)
        .env_clear()
        .envs(&instruction.env);
    let confined = room.map(Room::close).transpose()?;
    let seen = wall.look().map(Look::close).transpose()?;
    let mut limits = install(&instruction.rlimits, instruction.user.is_some())?;
    let isolation = if confined.is_some() {
        Isolation::Strict
    } else {
        instruction.ground.isolation.min(Isolation::Namespaces)
    };
    limits.extend(confined.unwrap_or_default());
    limits.extend(seen.unwrap_or_default());
    if instruction.waits_for_leave {
        wire::receive_leave(socket.as_fd()).map_err(|e| Failure::setup("wait to be let go on", e))?;
    }
    wire::report(socket.as_fd(), &Report::Ready { limits, isolation });
    Err(Failure::start(program, command.exec()))
}

/// Sets every limit and reads it back. The memory limit is last: this process may itself be larger. That on processes counts all that its user
/// has on the host: where the user is somebody whose other processes are no matter of the step's, the agent counts instead.
fn install(wanted: &Rlimits, is_somebody: bool) -> Result<Vec<EffectiveLimit>, Failure> {
    let table = [
        ("core", Resource::Core, 0, 0),
        // SIGXCPU at the limit, SIGKILL a second later for those who ignore it.
        (
            "cpu",
            Resource::Cpu,
            wanted.cpu_seconds,
            wanted.cpu_seconds.saturating_add(1),
        ),
        ("nofile", Resource::Nofile, wanted.open_files, wanted.open_files),
        ("fsize", Resource::Fsize, wanted.file_bytes, wanted.file_bytes),
        ("nproc", Resource::Nproc, wanted.processes, wanted.processes),
        ("as", Resource::As, wanted.memory_bytes, wanted.memory_bytes),
    ];
    let mut effective = Vec::with_capacity(table.len());
    for (name, resource, soft, hard) in table {
        if is_somebody && name == "nproc" {
            effective.push(row(name, soft));
            continue;
        }
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: Some(soft),
                maximum: Some(hard),
            },
        )
        .map_err(|e| Failure::limit(name, soft, e))?;
        let read = rustix::process::getrlimit(resource);
        if (read.current, read.maximum) != (Some(soft), Some(hard)) {
            let detail = format!("it reads back as {:?} and {:?}", read.current, read.maximum);
            return Err(Failure::limit(name, soft, detail));
        }
        effective.push(row(name, soft));
    }
    Ok(effective)
}

fn row(name: &str, value: u64) -> EffectiveLimit {
    EffectiveLimit {
        name: name.to_owned(),
        requested: value,
        effective: value,
        by: "rlimit".to_owned(),
    }
}
