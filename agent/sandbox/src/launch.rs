//! Has the starter make a reaper, and tells it what to do. Nothing here forks.

use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::net::sockopt::Timeout;
use writ_protocol::exec::{Isolation, Limits};

use crate::cgroup::StepCgroup;
use crate::clock::wait_for;
use crate::error::Error;
use crate::spec::{Network, Spec};
use crate::starter::{Reaper, Starter};
use crate::tree;
use crate::wire::{self, Ground, INSTRUCTION_BYTES_MAX, Instruction, Rlimits, Sight, Task};

/// Longest wait for a shim to take its instruction.
const SEND_WAIT_MAX: Duration = Duration::from_secs(10);

/// Longest time in which an abandoned tree is ended process by process; whoever is left dies with the reaper.
const ABANDON_WAIT_MAX: Duration = Duration::from_secs(2);
/// Time for the reaper to collect the dead between two looks.
const ABANDON_PAUSE: Duration = Duration::from_millis(1);

/// A shim, and the ends by which it is told what to do and watched.
#[derive(Debug)]
pub(crate) struct Launched {
    /// The reaper.
    pub(crate) child: Reaper,
    /// A handle on its init where that was made before there was a step: the tree is a cell then.
    pub(crate) init: Option<OwnedFd>,
    /// Reports come from here; closed when reaper and init are gone.
    pub(crate) socket: OwnedFd,
    /// The program's output; does not block.
    pub(crate) stdout: PipeReader,
    /// The program's error output; does not block.
    pub(crate) stderr: PipeReader,
}

impl Launched {
    /// A reaper that knows what to run.
    pub(crate) fn start(starter: &Starter, spec: &Spec, cgroup: Option<&StepCgroup>) -> Result<Self, Error> {
        let text = instruction(spec, cgroup, false)?;
        let launched = Self::open(starter, spec.input.as_deref())?;
        let sent = wire::send_task(launched.socket.as_fd(), &text).and_then(|()| match &spec.network {
            Network::Shared(loopback) => wire::send_handles(launched.socket.as_fd(), &loopback.handles()),
            Network::Own | Network::Host => Ok(()),
        });
        sent.map_err(|error| took_nothing(&error)).map(|()| launched)
    }

    /// A reaper that waits to be told, and whose program will read this.
    pub(crate) fn open(starter: &Starter, input: Option<&OwnedFd>) -> Result<Self, Error> {
        let (socket, theirs) = wire::pair().map_err(Error::os("make the shim's socket"))?;
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(SEND_WAIT_MAX))
            .map_err(Error::os("set up the shim's socket"))?;
        let (stdout, stdout_theirs) = pipe()?;
        let (stderr, stderr_theirs) = pipe()?;
        let empty;
        let input = if let Some(input) = input {
            input.as_fd()
        } else {
            empty = File::open("/dev/null").map_err(Error::io("open an empty input"))?;
            empty.as_fd()
        };
        let child = starter.reaper([
            theirs.as_fd(),
            input,
            stdout_theirs.as_fd(),
            stderr_theirs.as_fd(),
        ])?;
        // Our copies of the reaper's ends go with this function: their last holder's end must be seen as the end.
        Ok(Self {
            child,
            init: None,
            socket,
            stdout,
            stderr,
        })
    }

    /// Has it make everything ready for a step on this ground.
    pub(crate) fn prepare(&self, ground: &Ground) -> Result<(), Error> {
        let text = serde_json::to_vec(&Task::Prepare(ground.clone()))
            .map_err(|e| Error::Spec { rule: e.to_string() })?;
        wire::send_task(self.socket.as_fd(), &text).map_err(|error| took_nothing(&error))
    }

    /// Tells a cell its step. It makes itself ready for it, and waits for [`Self::allow`].
    pub(crate) fn begin(&self, spec: &Spec, cgroup: Option<&StepCgroup>) -> Result<(), Error> {
        let text = instruction(spec, cgroup, true)?;
        wire::send_task(self.socket.as_fd(), &text).map_err(|error| took_nothing(&error))
    }

    /// Lets a cell that was told its step become its program.
    pub(crate) fn allow(&self) -> Result<(), Error> {
        wire::send_leave(self.socket.as_fd()).map_err(|error| took_nothing(&error))
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

fn took_nothing(error: &io::Error) -> Error {
    Error::Shim {
        detail: format!("it did not take its instruction: {error}; is the shim binary right?"),
    }
}

/// What a step is run on.
pub(crate) fn ground(
    isolation: Isolation,
    network: Sight,
    cgroup: Option<&StepCgroup>,
) -> Result<Ground, Error> {
    let cgroup_procs = match cgroup.map(|cgroup| cgroup.procs().into_os_string().into_string()) {
        Some(Ok(path)) => Some(path),
        Some(Err(path)) => {
            return Err(Error::Spec {
                rule: format!("cgroup path {} is not UTF-8", path.display()),
            });
        }
        None => None,
    };
    Ok(Ground {
        isolation,
        network,
        cgroup_procs,
    })
}

/// What a step sees of the network, as the shim is told.
pub(crate) const fn sight(network: &Network) -> Sight {
    match network {
        Network::Own => Sight::Own,
        Network::Shared(_) => Sight::Shared,
        Network::Host => Sight::Host,
    }
}

fn instruction(spec: &Spec, cgroup: Option<&StepCgroup>, waits_for_leave: bool) -> Result<Vec<u8>, Error> {
    let instruction = Instruction {
        argv: spec.argv.clone(),
        cwd: spec.cwd.clone(),
        env: spec.env.clone(),
        rlimits: rlimits(&spec.limits),
        looks: spec.looks,
        asks: spec.asks,
        user: spec.user.clone(),
        ground: ground(spec.isolation, sight(&spec.network), cgroup)?,
        waits_for_leave,
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
