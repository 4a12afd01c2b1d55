//! A network with nothing in it but a loopback, kept by handles and joined by one program after another: a namespace costs more to make than a
//! process, and whoever listens in it for the agent need not be started again for every step.
//!
//! Nobody lives in it between two programs; it is gone when the last handle is.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::Timeout;
use writ_protocol::exec::Isolation;

use crate::error::Error;
use crate::starter::Starter;
use crate::wire::{self, Failure, Report, Task};

/// Longest wait for the shim to make one.
const MAKE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Handles on a network with nothing but a loopback in it.
#[derive(Debug)]
pub struct Loopback(Joined);

/// A network, and the user namespace that owns it where it was not root who made it.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) network: OwnedFd,
    pub(crate) user: Option<OwnedFd>,
}

impl Loopback {
    /// In the order in which [`Joined::of`] takes them.
    pub(crate) fn handles(&self) -> Vec<BorrowedFd<'_>> {
        let user = self.0.user.iter().map(AsFd::as_fd);
        std::iter::once(self.0.network.as_fd()).chain(user).collect()
    }
}

impl Joined {
    pub(crate) fn of(handles: Vec<OwnedFd>) -> io::Result<Self> {
        let mut handles = handles.into_iter();
        match (handles.next(), handles.next(), handles.next()) {
            (Some(network), user, None) => Ok(Self { network, user }),
            _ => Err(io::Error::other("these are not the handles of a network")),
        }
    }
}

pub(crate) fn make(starter: &Starter, port: Option<u16>) -> Result<(Loopback, Option<TcpListener>), Error> {
    let (socket, theirs) = wire::pair().map_err(Error::os("make the shim's socket"))?;
    for timeout in [Timeout::Send, Timeout::Recv] {
        rustix::net::sockopt::set_socket_timeout(&socket, timeout, Some(MAKE_WAIT_MAX))
            .map_err(Error::os("set up the shim's socket"))?;
    }
    let null = std::fs::File::options().write(true).open("/dev/null");
    let null = null.map_err(Error::io("open /dev/null"))?;
    let maker = starter.reaper([theirs.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()])?;
    drop(theirs);
    let made = ask(&socket, port);
    maker.kill();
    maker.wait();
    let mut handles = made?;
    let listener = if port.is_some() {
        handles.pop().map(TcpListener::from)
    } else {
        None
    };
    let joined = Joined::of(handles).map_err(Error::io("take the network"))?;
    Ok((Loopback(joined), listener))
}

fn ask(socket: &OwnedFd, port: Option<u16>) -> Result<Vec<OwnedFd>, Error> {
    let silent = |error: io::Error| Error::Shim {
        detail: format!("it made no network: {error}"),
    };
    let text = serde_json::to_vec(&Task::Loopback(port)).map_err(|error| silent(error.into()))?;
    wire::send_task(socket.as_fd(), &text).map_err(silent)?;
    match wire::receive_handles(socket.as_fd()).map_err(silent)? {
        Ok(handles) => Ok(handles),
        Err(Report::Failed(Failure::Isolation { detail })) => Err(Error::Isolation {
            wanted: Isolation::Namespaces,
            detail,
        }),
        Err(other) => Err(Error::Shim {
            detail: format!("it made no network: {other:?}"),
        }),
    }
}
