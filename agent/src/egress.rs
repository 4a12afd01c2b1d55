//! Egress: the only way out of a step's network. The step's network has nothing in it but a loopback; at one port of it listens this proxy, which
//! lives in the agent's network, decides on every connection by the plan's list and the host's policy, and writes down what it decided.
//!
//! Not here: the network itself (`writ-sandbox`), and what a destination is (`writ_protocol::egress`).

mod connection;
mod decide;
pub mod policy;
mod proxy;
mod relay;
pub mod request;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

pub use decide::{Asked, Rules};
pub use proxy::{Proxy, Session, Traffic};

/// Where the proxy listens in a step's network.
pub const DOOR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3128);

/// Most connections of a step at once; one more is refused.
pub const CONNECTIONS_AT_ONCE_MAX: usize = 64;
/// Longest wait for a request to be there as a whole.
pub const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for a name's addresses.
pub const RESOLVE_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for a destination to answer, over all its addresses.
pub const DIAL_WAIT: Duration = Duration::from_secs(10);
/// A connection on which nothing moves for this long is closed.
pub const IDLE_MAX: Duration = Duration::from_secs(120);
/// Most addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// How much and how long, for one proxy.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// [`CONNECTIONS_AT_ONCE_MAX`].
    pub at_once: usize,
    /// [`REQUEST_WAIT`].
    pub request: Duration,
    /// [`RESOLVE_WAIT`].
    pub resolve: Duration,
    /// [`DIAL_WAIT`].
    pub dial: Duration,
    /// [`IDLE_MAX`].
    pub idle: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            at_once: CONNECTIONS_AT_ONCE_MAX,
            request: REQUEST_WAIT,
            resolve: RESOLVE_WAIT,
            dial: DIAL_WAIT,
            idle: IDLE_MAX,
        }
    }
}

/// Finds the addresses of names. A seam: tests need no network.
pub trait Resolver: Send + Sync + std::fmt::Debug {
    /// The addresses of a name, in the order in which they are to be tried. May block.
    ///
    /// # Errors
    /// When it has none, or nobody can tell.
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The host's own resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = (name, 0).to_socket_addrs()?;
        Ok(found.map(|address| address.ip()).take(ADDRESSES_MAX).collect())
    }
}
