//! Networks with nothing in them but a loopback: made in one process of the shim, joined by others.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::namespaces;
use crate::kernel;
use crate::wire::{self, Failure};

/// Makes a network, with a listener where a port is given, and hands both to the agent. The network lives for as long as somebody holds a handle.
pub(super) fn make(socket: &OwnedFd, port: Option<u16>) -> Result<(), Failure> {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        namespaces::own_user_namespace()?;
    }
    kernel::unshare(UnshareFlags::NEWNET).map_err(|e| Failure::isolation("make a network", e))?;
    raise().map_err(|e| Failure::isolation("bring up the loopback interface", e))?;
    let listen = |port| TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let listener = port.map(listen).transpose();
    let listener = listener.map_err(|e| Failure::isolation("listen in the network", e))?;
    let open = |name: &str| {
        File::open(format!("/proc/self/ns/{name}")).map_err(|e| Failure::isolation("hold the network", e))
    };
    let network = open("net")?;
    let user = if is_root { None } else { Some(open("user")?) };
    let mut handles = vec![network.as_fd()];
    handles.extend(user.iter().map(AsFd::as_fd));
    handles.extend(listener.iter().map(AsFd::as_fd));
    wire::send_handles(socket.as_fd(), &handles).map_err(|e| Failure::setup("hand over the network", e))
}

/// Moves this process into a namespace that somebody else made.
pub(super) fn join(namespace: &OwnedFd, kind: LinkNameSpaceType, what: &str) -> Result<(), Failure> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))
        .map_err(|e| Failure::isolation(what, e))
}

/// Brings `lo` up in the new network namespace: a program may talk to itself.
pub(super) fn raise() -> rustix::io::Result<()> {
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
