//! Watches one tree from its start to its last process: drains its output, hears the shim, holds it to its limits, ends it.
//!
//! One thread, one `poll`: nothing is waited for anywhere else, and there is always a time limit on the wait.

mod meter;
mod verdict;

use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use writ_protocol::exec::{EffectiveLimit, Exit, Isolation};
use writ_protocol::limits::OUTPUT_BYTES_MAX;

use crate::capture::Capture;
use crate::cgroup::StepCgroup;
use crate::clock::{boot_us, timespec};
use crate::control::{Control, Stop};
use crate::error::Error;
use crate::launch::Launched;
use crate::spec::{OUTPUT_CHUNK_BYTES_MAX, Outcome, Spec, Stream};
use crate::tree::{self, CpuTime};
use crate::wire::{self, Failure, Received, Report};

/// Longest time between two looks at what the tree uses.
const SAMPLE_US_MAX: u64 = 200_000;
/// The same in a tree's first second.
const SAMPLE_YOUNG_US: u64 = 20_000;
/// How long that is.
const YOUNG_US: u64 = 1_000_000;
/// Shortest: a tree close to its limit is not watched any closer.
const SAMPLE_US_MIN: u64 = 2_000;
/// Time between two attempts to end what does not end.
const KILL_AGAIN_US: u64 = 10_000;
/// After this long without an end the tree is reported as it is: a process stuck in the kernel cannot be ended.
const KILL_WAIT_US_MAX: u64 = 10_000_000;
/// Longest time from the start of the shim to that of the program.
const START_US_MAX: u64 = 10_000_000;
/// The same where everything was ready before; after that the step is run the long way.
const START_READY_US_MAX: u64 = 500_000;
/// How long an init may take to end what its program left, before it is ended itself.
const LEFTOVERS_US_MAX: u64 = 100_000;
/// Bytes read from a pipe at once: what a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// Most reads from a pipe after the tree's end: nobody is left to fill it, or somebody is who must not hold us up.
const LAST_READS_MAX: usize = 16;

/// One run under way.
pub(crate) struct Watch<'a> {
    spec: &'a Spec,
    control: &'a Control,
    cgroup: Option<&'a StepCgroup>,
    launched: Launched,
    /// It was ready before the step was asked for.
    is_cell: bool,
    seen: Seen,
    capture: Capture,
    buffer: Vec<u8>,
    open: [bool; 2],
    started_us: u64,
    ending: Option<Ending>,
    /// When the tree is looked at next: what it says in between does not bring that forward.
    look_at_us: u64,
    /// The last looks at what the tree had used.
    sampled: CpuTime,
    sampled_memory: Option<u64>,
    metered: meter::Metered,
}

/// What the shim has said so far.
#[derive(Default)]
struct Seen {
    /// The reaper has made its child,
    forked: bool,
    /// which is the namespace's init or the program; `None` too when it was gone before we could look.
    first: Option<OwnedFd>,
    /// The program, and a handle on it unless it was gone before we could look.
    program: Option<(Pid, Option<OwnedFd>)>,
    limits: Option<Vec<EffectiveLimit>>,
    isolation: Option<Isolation>,
    failure: Option<Failure>,
    /// Exit code, signal.
    exited: Option<(Option<i32>, Option<i32>)>,
    used: Option<Used>,
    closed: bool,
}

/// What the reaper counted.
#[derive(Clone, Copy, Default)]
struct Used {
    cpu: CpuTime,
    max_rss_bytes: u64,
    read_bytes: u64,
    written_bytes: u64,
}

/// Our decision to end the tree.
struct Ending {
    exit: Exit,
    /// SIGKILL from then on.
    kill_at_us: u64,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(
        spec: &'a Spec,
        control: &'a Control,
        cgroup: Option<&'a StepCgroup>,
        mut launched: Launched,
    ) -> Self {
        let kept = usize::try_from(spec.limits.output_bytes)
            .unwrap_or(usize::MAX)
            .min(OUTPUT_BYTES_MAX);
        let started_us = boot_us();
        let init = launched.init.take();
        Self {
            spec,
            control,
            cgroup,
            launched,
            is_cell: init.is_some(),
            seen: Seen {
                forked: init.is_some(),
                first: init,
                ..Seen::default()
            },
            capture: Capture::new(kept),
            buffer: vec![0; READ_BYTES],
            open: [true; 2],
            started_us,
            ending: None,
            // Not at once: there is nothing to be seen yet, and who is to become the program may wait for this very processor.
            look_at_us: started_us.saturating_add(look_after_us(
                spec.limits.cpu_ms.saturating_mul(1_000),
                SAMPLE_YOUNG_US,
            )),
            sampled: CpuTime::default(),
            sampled_memory: None,
            metered: meter::Metered::since(started_us),
        }
    }

    /// Watches until nothing of the step is left. `None` is a cell that ran nothing, for whatever reason; what is handed back beside it is what
    /// there still is of us: a cell's own end need not be waited for.
    pub(crate) fn run(
        mut self,
        on_output: &mut dyn FnMut(Stream, &[u8]),
    ) -> (Result<Option<Outcome>, Error>, Launched) {
        let ran = self.watch(on_output).and_then(|emptied| self.verdict(emptied));
        (ran, self.launched)
    }

    /// Whether the cgroup, where it was to be emptied, is empty.
    fn watch(&mut self, on_output: &mut dyn FnMut(Stream, &[u8])) -> Result<Option<bool>, Error> {
        let (mut killing_since, mut exited_since) = (None, None);
        let mut next_us = 0;
        while !self.is_over() {
            self.wait(next_us)?;
            self.drain(on_output);
            self.hear()?;
            self.heed_control();
            let now = boot_us();
            next_us = if self.seen.exited.is_none() {
                self.enforce(now)
            } else {
                KILL_AGAIN_US
            };
            let patience = if self.spec.isolation >= Isolation::Namespaces {
                LEFTOVERS_US_MAX
            } else {
                0
            };
            let kill = (self.seen.exited.is_some()
                && now.saturating_sub(*exited_since.get_or_insert(now)) >= patience)
                || self
                    .ending
                    .as_ref()
                    .is_some_and(|ending| ending.kill_at_us <= now);
            // The reaper's last word is that nothing is left.
            if kill && !self.seen.closed && self.seen.used.is_none() {
                self.kill_tree(now);
                next_us = KILL_AGAIN_US;
                if now.saturating_sub(*killing_since.get_or_insert(now)) > KILL_WAIT_US_MAX {
                    break;
                }
            }
        }
        if self.seen.closed {
            self.launched.child.wait();
        } else if !self.is_over() {
            self.launched.abandon();
            self.hear()?;
        }
        let emptied = if self.is_over() && !self.seen.closed {
            None
        } else {
            self.cgroup.map(StepCgroup::end)
        };
        for _ in 0..LAST_READS_MAX {
            self.drain(on_output);
        }
        Ok(emptied)
    }

    /// Nobody of the step is left, and we know what they used.
    fn is_over(&self) -> bool {
        let is_told = self.seen.limits.is_some() && self.seen.exited.is_some() && self.seen.used.is_some();
        self.seen.closed || (self.is_cell && is_told)
    }

    fn wait(&mut self, micros: u64) -> Result<(), Error> {
        let mut fds = Vec::with_capacity(4);
        fds.push(PollFd::new(&self.launched.socket, PollFlags::IN));
        let wake = self.control.wake();
        fds.push(PollFd::from_borrowed_fd(wake, PollFlags::IN));
        for (pipe, open) in [&self.launched.stdout, &self.launched.stderr]
            .into_iter()
            .zip(self.open)
        {
            if open {
                fds.push(PollFd::new(pipe, PollFlags::IN));
            }
        }
        match poll(&mut fds, Some(&timespec(micros))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                self.launched.abandon();
                return Err(Error::os("wait for the step")(errno));
            }
        }
        if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
            self.control.calm();
        }
        Ok(())
    }

    /// Reads at most one buffer from each pipe, so that a flood does not keep us from looking at the clock.
    fn drain(&mut self, on_output: &mut dyn FnMut(Stream, &[u8])) {
        let pipes: [(&mut PipeReader, Stream); 2] = [
            (&mut self.launched.stdout, Stream::Stdout),
            (&mut self.launched.stderr, Stream::Stderr),
        ];
        for ((pipe, stream), open) in pipes.into_iter().zip(&mut self.open) {
            if !*open {
                continue;
            }
            match pipe.read(&mut self.buffer) {
                Ok(0) => *open = false,
                Ok(got) => {
                    let bytes = self.buffer.get(..got).unwrap_or_default();
                    self.capture.take(bytes);
                    bytes
                        .chunks(OUTPUT_CHUNK_BYTES_MAX)
                        .for_each(|chunk| on_output(stream, chunk));
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
                    ) => {}
                Err(_) => *open = false,
            }
        }
    }

    fn hear(&mut self) -> Result<(), Error> {
        loop {
            match wire::receive_report(self.launched.socket.as_fd()) {
                Ok(Received::Report(sender, report)) => self.note(sender, report),
                Ok(Received::Nothing) => return Ok(()),
                Ok(Received::Closed) => {
                    self.seen.closed = true;
                    return Ok(());
                }
                Err(error) => {
                    self.launched.abandon();
                    return Err(Error::Shim {
                        detail: format!("it said something that is no report: {error}"),
                    });
                }
            }
        }
    }

    fn note(&mut self, sender: i32, report: Report) {
        match report {
            Report::Prepared => {}
            Report::Forked { pid } => {
                self.seen.forked = true;
                self.seen.first = pidfd_of_child(pid, self.launched.reaper());
            }
            Report::Ready { limits, isolation } => {
                self.seen.limits = Some(limits);
                self.seen.isolation = Some(isolation);
                let pid = Some(sender).filter(|&pid| pid > 1).and_then(Pid::from_raw);
                self.seen.program = pid.map(|pid| (pid, pidfd_of(pid)));
            }
            Report::Failed(failure) => {
                self.seen.failure.get_or_insert(failure);
            }
            Report::Exited { code, signal } => {
                self.seen.exited.get_or_insert((code, signal));
            }
            Report::Used {
                user_us,
                system_us,
                max_rss_bytes,
                read_bytes,
                written_bytes,
            } => {
                self.seen.used = Some(Used {
                    cpu: CpuTime { user_us, system_us },
                    max_rss_bytes,
                    read_bytes,
                    written_bytes,
                });
            }
        }
    }

    fn heed_control(&mut self) {
        match self.control.wanted() {
            Stop::No => {}
            Stop::Kill(reason) => self.end_now(Exit::Killed(reason)),
            Stop::Terminate(reason) => {
                if self.ending.is_none() && self.seen.exited.is_none() {
                    self.terminate(reason);
                }
            }
        }
    }

    fn terminate(&mut self, reason: String) {
        let grace = u64::try_from(self.spec.grace.as_micros()).unwrap_or(u64::MAX);
        let mut kill_at_us = boot_us();
        if let Some((pid, Some(pidfd))) = &self.seen.program {
            // While the program is not reaped its id is its own, and its group's: it leads a session.
            if rustix::process::pidfd_send_signal(pidfd, Signal::TERM).is_ok() {
                let _told = rustix::process::kill_process_group(*pid, Signal::TERM);
                // A stopped process must run to hear it.
                let _woken = rustix::process::kill_process_group(*pid, Signal::CONT);
                kill_at_us = kill_at_us.saturating_add(grace);
            }
        }
        self.ending = Some(Ending {
            exit: Exit::Killed(reason),
            kill_at_us,
        });
    }

    /// Decides to end the tree at once; a decision that was made before keeps its reason.
    fn end_now(&mut self, exit: Exit) {
        let now = boot_us();
        match &mut self.ending {
            Some(ending) => ending.kill_at_us = ending.kill_at_us.min(now),
            None if self.seen.exited.is_none() => {
                self.ending = Some(Ending {
                    exit,
                    kill_at_us: now,
                });
            }
            None => {}
        }
    }

    /// Holds the tree to its limits; microseconds until the next look.
    fn enforce(&mut self, now: u64) -> u64 {
        let limits = &self.spec.limits;
        let since_start = now.saturating_sub(self.started_us);
        let wall_left = limits.wall_ms.saturating_mul(1_000).saturating_sub(since_start);
        let is_due = now >= self.look_at_us;
        let mut processes = 0;
        if is_due {
            self.sampled = self.sampled.max(self.cpu());
            processes = self.processes();
            self.metered.processes = self.metered.processes.max(processes);
            self.meter(now);
        }
        let cpu_left = limits
            .cpu_ms
            .saturating_mul(1_000)
            .saturating_sub(self.sampled.total_us());
        let start_max = if self.is_cell {
            START_READY_US_MAX
        } else {
            START_US_MAX
        };
        if self.seen.limits.is_none() && since_start > start_max {
            self.seen
                .failure
                .get_or_insert(Failure::setup("start", "the program did not start in time"));
            self.end_now(Exit::Limit("wall".to_owned()));
        } else if wall_left == 0 {
            self.end_now(Exit::Limit("wall".to_owned()));
        } else if cpu_left == 0 {
            self.end_now(Exit::Limit("cpu".to_owned()));
        } else if processes > limits.processes {
            self.end_now(Exit::Limit("processes".to_owned()));
        }
        let longest = if since_start < YOUNG_US {
            SAMPLE_YOUNG_US
        } else {
            SAMPLE_US_MAX
        };
        if is_due {
            self.look_at_us = now.saturating_add(look_after_us(cpu_left, longest));
        }
        let next = self.look_at_us.saturating_sub(now).min(wall_left);
        self.ending
            .as_ref()
            .map_or(next, |ending| next.min(ending.kill_at_us.saturating_sub(now)))
    }

    fn cpu(&self) -> CpuTime {
        self.cgroup
            .map_or_else(|| tree::descendants_cpu(self.launched.reaper()), StepCgroup::cpu)
    }

    /// Processes of the tree now, without our init.
    fn processes(&self) -> u64 {
        let own = u64::from(self.spec.isolation >= Isolation::Namespaces);
        let enough = usize::try_from(self.spec.limits.processes)
            .unwrap_or(usize::MAX)
            .saturating_add(2);
        let count_below = || tree::descendants(self.launched.reaper(), enough).len() as u64;
        self.cgroup
            .map_or_else(count_below, StepCgroup::tasks)
            .saturating_sub(own)
    }

    /// Kills all that can be seen, by every means there is. Called again until nothing is left.
    fn kill_tree(&mut self, now: u64) {
        if self.sampled_memory.is_none() && self.seen.exited.is_none() {
            // What a killed init had not reaped yet, its reaper never learns. The look is bounded, the end waits for nothing else.
            self.sampled = self.sampled.max(self.cpu());
            self.sampled_memory = Some(tree::descendants_memory(self.launched.reaper()).peak_bytes);
        }
        if let Some(cgroup) = self.cgroup {
            cgroup.kill();
        }
        if let (Some((pid, Some(_))), None) = (&self.seen.program, &self.seen.exited) {
            // Not yet reaped, so the group is the program's: the common tree ends here, at once.
            let _gone = rustix::process::kill_process_group(*pid, Signal::KILL);
        }
        if let Some(first) = &self.seen.first {
            // In a namespace the init's end is everybody's.
            let _gone = rustix::process::pidfd_send_signal(first, Signal::KILL);
        }
        if self.spec.isolation < Isolation::Namespaces {
            // Outside of one, the reaper inherits what escaped its parents, or its cgroup.
            tree::kill_descendants(self.launched.reaper());
        }
        let since_decision = self
            .ending
            .as_ref()
            .map_or(0, |ending| now.saturating_sub(ending.kill_at_us));
        if !self.seen.forked && since_decision > SAMPLE_US_MAX {
            // It has not even forked: its end is that of all.
            self.launched.child.kill();
        }
    }
}

/// When to look again at a tree that may use so much processor time: all processors together cannot use more than that in the meantime. A bomb
/// goes off early more often than late.
fn look_after_us(cpu_left_us: u64, longest: u64) -> u64 {
    (cpu_left_us / processors()).clamp(SAMPLE_US_MIN, longest)
}

/// How many processors this process may use. The answer takes reading of several files and is asked for by every step.
fn processors() -> u64 {
    static PROCESSORS: OnceLock<u64> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u64))
}

/// A lasting handle on a process; `None` when it is gone.
fn pidfd_of(pid: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// The same, for a child of `parent`: if the number had gone to somebody else in the meantime, that somebody would have another parent.
pub(crate) fn pidfd_of_child(pid: i32, parent: i32) -> Option<OwnedFd> {
    let pidfd = pidfd_of(Some(pid).filter(|&pid| pid > 1).and_then(Pid::from_raw)?)?;
    (tree::parent(pid)? == parent).then_some(pidfd)
}
