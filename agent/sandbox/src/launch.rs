//! Has the starter make a reaper, and tells it what to do. Nothing here forks.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::net::sockopt::Timeout;
use writ_protocol::exec::Limits;

use crate::cgroup::StepCgroup;
use crate::clock::wait_for;
use crate::error::Error;
use crate::spec::{Network, Spec};
use crate::starter::{Reaper, Starter};
use crate::tree;
use crate::wire::{self, INSTRUCTION_BYTES_MAX, Instruction, Rlimits, Sight, Task};

/// Longest wait for a shim to take its instruction.
const SEND_WAIT_MAX: Duration = Duration::from_secs(10);

/// Longest time in which an abandoned tree is ended process by process; whoever is left dies with the reaper.
const ABANDON_WAIT_MAX: Duration = Duration::from_secs(2);
/// Time for the reaper to collect the dead between two looks.
const ABANDON_PAUSE: Duration = Duration::from_millis(1);

/// A shim that has its instruction, and the ends by which it is watched.
#[derive(Debug)]
pub(crate) struct Launched {
    /// The reaper.
    pub(crate) child: Reaper,
    /// Reports come from here; closed when reaper and init are gone.
    pub(crate) socket: OwnedFd,
    /// The program's output; does not block.
    pub(crate) stdout: PipeReader,
    /// The program's error output; does not block.
    pub(crate) stderr: PipeReader,
}

impl Launched {
    pub(crate) fn start(starter: &Starter, spec: &Spec, cgroup: Option<&StepCgroup>) -> Result<Self, Error> {
        let text = instruction(spec, cgroup)?;
        let (socket, theirs) = wire::pair().map_err(Error::os("make the shim's socket"))?;
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(SEND_WAIT_MAX))
            .map_err(Error::os("set up the shim's socket"))?;
        let (stdout, stdout_theirs) = pipe()?;
        let (stderr, stderr_theirs) = pipe()?;
        let child = starter.reaper([theirs.as_fd(), stdout_theirs.as_fd(), stderr_theirs.as_fd()])?;
        // Our copies of the reaper's ends go now: their last holder's end must be seen as the end.
        drop((theirs, stdout_theirs, stderr_theirs));
        let launched = Self {
            child,
            socket,
            stdout,
            stderr,
        };
        let sent = wire::send_task(launched.socket.as_fd(), &text).and_then(|()| match &spec.network {
            Network::Shared(loopback) => wire::send_handles(launched.socket.as_fd(), &loopback.handles()),
            Network::Own | Network::Host => Ok(()),
        });
        if let Err(error) = sent {
            launched.abandon();
            return Err(Error::Shim {
                detail: format!("it did not take its instruction: {error}; is the shim binary right?"),
            });
        }
        Ok(launched)
    }

    /// Ends all that is seen below the reaper, and then the reaper.
    pub(crate) fn abandon(&self) {
        if self.child.is_alive() {
            let reaper = self.reaper();
            wait_for(ABANDON_WAIT_MAX, |_| {
                tree::kill_descendants(reaper);
                let is_empty = tree::descendants(reaper, 1).is_empty();
                if !is_empty {
                    std::thread::sleep(ABANDON_PAUSE);
                }
                is_empty
            });
            self.child.kill();
        }
        self.child.wait();
    }

    /// The reaper's process id.
    pub(crate) const fn reaper(&self) -> i32 {
        self.child.pid
    }
}

impl Drop for Launched {
    /// However a run is left, a panic in the caller's output callback included, nothing goes on running.
    fn drop(&mut self) {
        self.abandon();
    }
}

fn instruction(spec: &Spec, cgroup: Option<&StepCgroup>) -> Result<Vec<u8>, Error> {
    let cgroup_procs = match cgroup.map(|cgroup| cgroup.procs().into_os_string().into_string()) {
        Some(Ok(path)) => Some(path),
        Some(Err(path)) => {
            return Err(Error::Spec {
                rule: format!("cgroup path {} is not UTF-8", path.display()),
            });
        }
        None => None,
    };
    let instruction = Instruction {
        argv: spec.argv.clone(),
        cwd: spec.cwd.clone(),
        env: spec.env.clone(),
        rlimits: rlimits(&spec.limits),
        isolation: spec.isolation,
        network: match spec.network {
            Network::Own => Sight::Own,
            Network::Shared(_) => Sight::Shared,
            Network::Host => Sight::Host,
        },
        cgroup_procs,
    };
    let text =
        serde_json::to_vec(&Task::Run(instruction)).map_err(|e| Error::Spec { rule: e.to_string() })?;
    if text.len() > INSTRUCTION_BYTES_MAX {
        let rule = format!(
            "arguments and environment take {} bytes, more than {INSTRUCTION_BYTES_MAX}; pass files instead",
            text.len()
        );
        return Err(Error::Spec { rule });
    }
    Ok(text)
}

fn rlimits(limits: &Limits) -> Rlimits {
    Rlimits {
        cpu_seconds: limits.cpu_ms.div_ceil(1_000).max(1),
        memory_bytes: limits.memory_bytes,
        open_files: limits.open_files,
        file_bytes: limits.file_bytes,
        processes: limits.processes,
    }
}

fn pipe() -> Result<(PipeReader, io::PipeWriter), Error> {
    let (ours, theirs) = io::pipe().map_err(Error::io("make an output pipe"))?;
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK).map_err(Error::os("set up an output pipe"))?;
    Ok((ours, theirs))
}
