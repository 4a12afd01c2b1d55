//! What the agent and the starter say to each other over one socket: four ends of a step down, the process id of its reaper up.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The ends that a reaper gets: the socket for its instruction, standard input, standard output, standard error.
pub(crate) const ENDS: usize = 4;
/// What goes with them, because a message must not be empty.
const REQUEST: &[u8] = b"reaper";
/// A process id, in the machine's byte order.
const ANSWER_BYTES: usize = 4;

/// A pair of connected ends that keeps message boundaries.
///
/// # Errors
/// When the process has no descriptor left.
pub(crate) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// The agent: asks for a reaper with these ends.
///
/// # Errors
/// When the starter is gone.
pub(crate) fn ask(line: BorrowedFd<'_>, ends: [BorrowedFd<'_>; ENDS]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ENDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&ends)) {
        return Err(io::Error::other("the ends do not fit"));
    }
    let message = [IoSlice::new(REQUEST)];
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(line, &message, &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// The agent: the process id of the reaper; negative is what the kernel said instead.
///
/// # Errors
/// When the starter is gone, is silent, or could not fork.
pub(crate) fn answer(line: BorrowedFd<'_>) -> io::Result<i32> {
    let mut bytes = [0; ANSWER_BYTES];
    let (got, _) = rustix::io::retry_on_intr(|| rustix::net::recv(line, &mut bytes, RecvFlags::empty()))?;
    if got != ANSWER_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it went without an answer",
        ));
    }
    match i32::from_ne_bytes(bytes) {
        pid if pid > 0 => Ok(pid),
        errno => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
    }
}

/// The starter: waits for a request; `None` when the agent has closed the line.
///
/// # Errors
/// When what came is no request.
pub(crate) fn hear(line: BorrowedFd<'_>) -> io::Result<Option<[OwnedFd; ENDS]>> {
    let mut bytes = [0; REQUEST.len()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ENDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut into = [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(line, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let ends: Vec<OwnedFd> = control
        .drain()
        .filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(ends) => Some(ends),
            _ => None,
        })
        .flatten()
        .collect();
    match <[OwnedFd; ENDS]>::try_from(ends) {
        Ok(ends) if bytes == *REQUEST => Ok(Some(ends)),
        Ok(_) | Err(_) => Err(io::Error::other("the request is strange")),
    }
}

/// The starter: says which process it made, or what the kernel said.
///
/// # Errors
/// When the agent is gone.
pub(crate) fn tell(line: BorrowedFd<'_>, made: io::Result<i32>) -> io::Result<()> {
    let number = made.unwrap_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO).saturating_neg());
    let bytes = number.to_ne_bytes();
    rustix::io::retry_on_intr(|| rustix::net::send(line, &bytes, SendFlags::NOSIGNAL))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn ends_go_down_in_their_order_and_an_answer_comes_up() {
        let (agent, starter) = pair().expect("makes a pair");
        let (mut out, into) = io::pipe().expect("makes a pipe");
        let ends = [starter.as_fd(), out.as_fd(), out.as_fd(), into.as_fd()];
        ask(agent.as_fd(), ends).expect("asks");
        drop(into);
        let [_, _, _, last] = hear(starter.as_fd()).expect("hears").expect("a request");
        std::fs::File::from(last).write_all(b"x").expect("writes");
        let mut said = String::new();
        out.read_to_string(&mut said).expect("reads to the end");
        assert_eq!(said, "x");
        tell(starter.as_fd(), Ok(7)).expect("tells");
        assert_eq!(answer(agent.as_fd()).expect("is answered"), 7);
        tell(starter.as_fd(), Err(io::Error::from_raw_os_error(libc::EAGAIN))).expect("tells");
        let refused = answer(agent.as_fd()).expect_err("no process");
        assert_eq!(refused.raw_os_error(), Some(libc::EAGAIN));
        drop(starter);
        assert!(answer(agent.as_fd()).is_err());
    }

    #[test]
    fn what_is_no_request_is_refused_and_a_closed_line_is_the_end() {
        let (agent, starter) = pair().expect("makes a pair");
        rustix::net::send(&agent, b"reaper", SendFlags::empty()).expect("sends");
        assert!(hear(starter.as_fd()).is_err(), "without ends");
        drop(agent);
        assert!(hear(starter.as_fd()).expect("hears").is_none());
    }
}
