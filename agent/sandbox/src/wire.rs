//! What the agent and its shim say to each other over one socket: an instruction down, reports up.
//!
//! The socket keeps message boundaries, and the kernel adds the sender's process id to every report, translated into the agent's own
//! process namespace: so the agent knows the program's id without being told.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};
use writ_protocol::exec::{EffectiveLimit, Isolation};

use crate::spec::User;

/// Longest instruction, bytes of JSON: program, arguments and environment.
pub(crate) const INSTRUCTION_BYTES_MAX: usize = 1 << 20;
/// Bytes of an instruction in one message: well below the socket's buffer.
const CHUNK_BYTES: usize = 64 << 10;
/// Longest report, bytes of JSON.
const REPORT_BYTES_MAX: usize = 8 << 10;
/// Most handles in one message.
const HANDLES_MAX: usize = 3;
/// What goes with them, because a message must not be empty; no report begins so.
const HANDLES: &[u8] = b"handles";
/// Said to a cell when nothing speaks against its step being run in it.
const LEAVE: &[u8; 5] = b"leave";
/// Longest free text in a report, bytes.
const DETAIL_BYTES_MAX: usize = 1 << 10;

/// What a reaper is for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) enum Task {
    /// Run a program.
    Run(Instruction),
    /// Make everything ready in which a program can be run, say so, and wait for a [`Task::Run`].
    Prepare(Ground),
    /// Make a network with nothing but a loopback, and with a listener at this port.
    Loopback(Option<u16>),
}

/// What a program sees of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sight {
    /// A loopback of its own.
    Own,
    /// A loopback whose handles follow the instruction.
    Shared,
    /// The host's network.
    Host,
}

/// What a program is run on: all that can be made before it is known which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ground {
    /// How far it is kept from the host.
    pub(crate) isolation: Isolation,
    /// What it sees of the network.
    pub(crate) network: Sight,
    /// `cgroup.procs` of the step's own cgroup.
    pub(crate) cgroup_procs: Option<String>,
}

/// What to run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instruction {
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) rlimits: Rlimits,
    /// It reads every file and changes none.
    pub(crate) looks: bool,
    /// The host's files are closed to its writing.
    pub(crate) asks: bool,
    /// Whose ids it takes.
    pub(crate) user: Option<User>,
    /// What it is run on.
    pub(crate) ground: Ground,
    /// It must not become the program before it hears that it may.
    pub(crate) waits_for_leave: bool,
}

/// The limits that a process sets on itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rlimits {
    pub(crate) cpu_seconds: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) open_files: u64,
    pub(crate) file_bytes: u64,
    pub(crate) processes: u64,
}

/// What the shim says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) enum Report {
    /// The reaper made its child: the program (isolation none) or the namespace's init.
    Forked { pid: i32 },
    /// Said by the process that will become the program: everything is ready for it.
    Prepared,
    /// Said by the process that becomes the program, last thing before it does.
    Ready {
        limits: Vec<EffectiveLimit>,
        isolation: Isolation,
    },
    /// Something cannot be done; nothing was run.
    Failed(Failure),
    /// The program ended.
    Exited { code: Option<i32>, signal: Option<i32> },
    /// The tree is gone; what it used. The last report.
    Used {
        user_us: u64,
        system_us: u64,
        max_rss_bytes: u64,
        read_bytes: u64,
        written_bytes: u64,
    },
}

/// Why the shim gave up.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) enum Failure {
    /// A limit cannot be set or reads back differently.
    Limit {
        name: String,
        requested: u64,
        detail: String,
    },
    /// Namespaces, or a part of `strict`, cannot be had.
    Isolation { detail: String },
    /// The program or its directory cannot be used.
    Start { program: String, detail: String },
    /// Anything else.
    Setup { detail: String },
}

impl Ground {
    /// Whether the program lives under an init of its own.
    pub(crate) fn has_init(&self) -> bool {
        self.isolation >= Isolation::Namespaces
    }
}

impl Failure {
    pub(crate) fn setup(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Setup {
            detail: bounded(&format!("{what}: {error}")),
        }
    }

    pub(crate) fn isolation(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Isolation {
            detail: bounded(&format!("{what}: {error}")),
        }
    }

    pub(crate) fn start(program: &str, error: impl std::fmt::Display) -> Self {
        Self::Start {
            program: bounded(program),
            detail: bounded(&error.to_string()),
        }
    }

    pub(crate) fn limit(name: &str, requested: u64, error: impl std::fmt::Display) -> Self {
        Self::Limit {
            name: name.to_owned(),
            requested,
            detail: bounded(&error.to_string()),
        }
    }
}

fn bounded(text: &str) -> String {
    let mut kept = text.chars();
    let mut out = String::new();
    while let Some(c) = kept
        .next()
        .filter(|c| out.len() + c.len_utf8() <= DETAIL_BYTES_MAX)
    {
        out.push(c);
    }
    out
}

/// A pair of connected ends: the agent's, which does not block and learns who speaks, and the shim's.
///
/// # Errors
/// When the process has no descriptor left.
pub(crate) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (agent, shim) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::sockopt::set_socket_passcred(&agent, true)?;
    Ok((agent, shim))
}

/// Sends what is to be done; the other side must be reading.
///
/// # Errors
/// When the text is too long or the other side is gone.
pub(crate) fn send_task(socket: BorrowedFd<'_>, text: &[u8]) -> io::Result<()> {
    send_all(
        socket,
        &u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes(),
    )?;
    text.chunks(CHUNK_BYTES)
        .try_for_each(|chunk| send_all(socket, chunk))
}

fn send_all(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    let sent = rustix::io::retry_on_intr(|| rustix::net::send(socket, message, SendFlags::NOSIGNAL))?;
    if sent == message.len() {
        Ok(())
    } else {
        Err(io::Error::other("a message was cut"))
    }
}

/// Lets a cell that was told its step go on to its program.
///
/// # Errors
/// When the other side is gone.
pub(crate) fn send_leave(socket: BorrowedFd<'_>) -> io::Result<()> {
    send_all(socket, LEAVE)
}

/// Waits for the word that lets a cell go on.
///
/// # Errors
/// When something else comes, or nobody is there to say it.
pub(crate) fn receive_leave(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut word = [0; LEAVE.len()];
    receive(socket, &mut word)?;
    if word == *LEAVE {
        Ok(())
    } else {
        Err(io::Error::other("it is not the word to go on"))
    }
}

/// Reads what is to be done.
///
/// # Errors
/// When it is too long, cut short or not an instruction.
pub(crate) fn receive_task(socket: BorrowedFd<'_>) -> io::Result<Task> {
    let mut length = [0; 8];
    receive(socket, &mut length)?;
    let length = usize::try_from(u64::from_le_bytes(length))
        .ok()
        .filter(|&length| length <= INSTRUCTION_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("the instruction is too long"))?;
    let mut text = vec![0; length];
    for chunk in text.chunks_mut(CHUNK_BYTES) {
        receive(socket, chunk)?;
    }
    serde_json::from_slice(&text).map_err(io::Error::other)
}

fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<()> {
    let (got, _) = rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()))?;
    if got == buffer.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Sends handles.
///
/// # Errors
/// When the other side is gone.
pub(crate) fn send_handles(socket: BorrowedFd<'_>, handles: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if handles.len() > HANDLES_MAX || !control.push(SendAncillaryMessage::ScmRights(handles)) {
        return Err(io::Error::other("the handles do not fit"));
    }
    let message = [IoSlice::new(HANDLES)];
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &message, &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Waits for handles; a report instead is why there are none.
///
/// # Errors
/// When what came is neither.
pub(crate) fn receive_handles(socket: BorrowedFd<'_>) -> io::Result<Result<Vec<OwnedFd>, Report>> {
    let mut buffer = [0; REPORT_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_MAX), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        let mut into = [IoSliceMut::new(&mut buffer)];
        rustix::net::recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let handles = control.drain().filter_map(|part| match part {
        RecvAncillaryMessage::ScmRights(handles) => Some(handles),
        _ => None,
    });
    let handles: Vec<OwnedFd> = handles.flatten().collect();
    match buffer.get(..message.bytes).unwrap_or_default() {
        HANDLES if !handles.is_empty() => Ok(Ok(handles)),
        [] => Err(io::ErrorKind::UnexpectedEof.into()),
        text => serde_json::from_slice(text).map(Err).map_err(io::Error::other),
    }
}

/// Sends a report. A failure means that the agent is gone, and then so are we.
pub(crate) fn report(socket: BorrowedFd<'_>, report: &Report) {
    let text = serde_json::to_vec(report).unwrap_or_default();
    let _sent = send_all(socket, &text);
}

/// What reading a report gave.
#[derive(Debug)]
pub(crate) enum Received {
    /// A report and who sent it.
    Report(i32, Report),
    /// Nothing at the moment.
    Nothing,
    /// The other side is gone.
    Closed,
}

/// Reads one report without blocking.
///
/// # Errors
/// When what came is no report.
pub(crate) fn receive_report(socket: BorrowedFd<'_>) -> io::Result<Received> {
    let mut buffer = [0; REPORT_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags)
    {
        Ok(message) if message.bytes == 0 => return Ok(Received::Closed),
        Ok(message) => message,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(Received::Nothing),
        Err(rustix::io::Errno::CONNRESET) => return Ok(Received::Closed),
        Err(errno) => return Err(errno.into()),
    };
    let sender = control.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmCredentials(who) => Some(who.pid.as_raw_nonzero().get()),
        _ => None,
    });
    let text = buffer.get(..message.bytes).unwrap_or_default();
    let report = serde_json::from_slice(text).map_err(io::Error::other)?;
    Ok(Received::Report(sender.unwrap_or(0), report))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn instruction(argument: String) -> Instruction {
        let rlimits = Rlimits {
            cpu_seconds: 1,
            memory_bytes: 2,
            open_files: 3,
            file_bytes: 4,
            processes: 5,
        };
        let argv = vec![argument];
        Instruction {
            argv,
            cwd: "/".into(),
            env: BTreeMap::new(),
            rlimits,
            looks: false,
            asks: false,
            user: None,
            ground: Ground {
                isolation: Isolation::Namespaces,
                network: Sight::Own,
                cgroup_procs: None,
            },
            waits_for_leave: false,
        }
    }

    #[test]
    fn long_instructions_arrive_whole_and_too_long_ones_are_refused() {
        let (agent, shim) = pair().expect("makes a pair");
        let task = Task::Run(instruction("x".repeat(300_000)));
        let text = serde_json::to_vec(&task).expect("serialises");
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| send_task(agent.as_fd(), &text));
            let got = receive_task(shim.as_fd()).expect("reads");
            assert!(matches!(got, Task::Run(run) if run.argv.first().map(String::len) == Some(300_000)));
            sender.join().expect("joins").expect("sends");
        });
        send_all(agent.as_fd(), &u64::MAX.to_le_bytes()).expect("sends");
        assert!(receive_task(shim.as_fd()).is_err());
    }

    #[test]
    fn reports_name_their_sender_and_the_end_is_seen() {
        let (agent, shim) = pair().expect("makes a pair");
        assert!(matches!(receive_report(agent.as_fd()), Ok(Received::Nothing)));
        report(shim.as_fd(), &Report::Forked { pid: 7 });
        let me = i32::try_from(std::process::id()).expect("fits");
        assert!(
            matches!(receive_report(agent.as_fd()), Ok(Received::Report(pid, Report::Forked { pid: 7 })) if pid == me)
        );
        send_all(shim.as_fd(), b"rubbish").expect("sends");
        assert!(receive_report(agent.as_fd()).is_err());
        drop(shim);
        assert!(matches!(receive_report(agent.as_fd()), Ok(Received::Closed)));
    }

    #[test]
    fn handles_arrive_or_the_reason_why_there_are_none() {
        let (agent, shim) = pair().expect("makes a pair");
        send_handles(shim.as_fd(), &[shim.as_fd(), agent.as_fd()]).expect("sends");
        let got = receive_handles(agent.as_fd()).expect("reads");
        assert_eq!(got.expect("handles").len(), 2);
        report(shim.as_fd(), &Report::Failed(Failure::setup("try", "no")));
        let got = receive_handles(agent.as_fd()).expect("reads");
        assert!(matches!(got, Err(Report::Failed(Failure::Setup { .. }))));
        drop(shim);
        assert!(receive_handles(agent.as_fd()).is_err());
    }
}
