//! NATS identities and claims, written by ourselves: nkeys, operator, account and user JWTs, and the table of who may speak where.
//!
//! The forms follow nats-io/jwt v2; the real server is the judge in the test suite. Users sign the server's nonce, so a key of this module
//! never signs an envelope and an envelope's key never signs a nonce: one could be made to sign the other's bytes.

pub mod access;
pub mod claims;
mod nkey;
pub mod peek;
pub mod server;

pub use nkey::{NkeyError, NkeyKind, NkeyPair, NkeyPublic, UserKey};
