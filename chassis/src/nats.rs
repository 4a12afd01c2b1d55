//! The connection to the bus: TLS that trusts one authority, reconnects that do not come as a herd, and no wait without a bound.
//!
//! The client library queues what is published while the connection is down and calls it sent, takes a flush of its own buffer for an
//! answer, and drops what a slow reader does not fetch. So Writ asks for an answer to everything that matters: [`request_with_timeout`]
//! and [`publish_acked`]. What is received may be lost, repeated or late; that is the protocol's business, not this connection's.

mod connect;
mod events;
mod options;
mod reconnect;
mod request;

pub use connect::{NatsError, connect};
pub use events::{EVENTS_MAX, Mover, NatsEvent, NatsEvents};
pub use options::{Capacities, CredentialSource, Credentials, NatsOptions, SignError, SignedNonce};
pub use reconnect::ReconnectWindow;
pub use request::{PublishError, Published, RequestError, publish_acked, request_with_timeout};

#[cfg(test)]
mod tests;
