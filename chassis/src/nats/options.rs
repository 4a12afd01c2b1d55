//! What a connection is told: where, as whom, trusting whom, how patiently and how large.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Secret;

/// How to connect. Start from `NatsOptions::default()` and name what differs.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Server addresses such as `tls://bus.example:4222`, without user or password. Servers that a server advertises are not used: the
    /// advertisement arrives before TLS, and its addresses seldom match certificates.
    pub servers: Vec<String>,
    /// What the server's monitoring calls this connection.
    pub name: String,
    /// As whom.
    pub credentials: Credentials,
    /// A PEM file of the only authorities trusted; read again at each reconnect. Requires TLS.
    pub ca_file: Option<PathBuf>,
    /// The PEM text of the only authorities trusted. Requires TLS. Not together with `ca_file`.
    pub ca_pem: Option<String>,
    /// Whether TLS begins before the server says anything. The server must be set to the same. Requires TLS.
    pub tls_first: bool,
    /// The subject prefix of replies. It must be one that only this identity may subscribe to, else others read the replies.
    pub inbox_prefix: String,
    /// Whether [`super::connect`] returns at once and keeps trying, instead of failing when no server answers.
    pub retry_on_initial_connect: bool,
    /// The first connection waits a random time up to this. Zero unless a whole fleet starts at once.
    pub first_connect_window: Duration,
    /// After a lost connection, the first try waits a random time up to this; see [`super::ReconnectWindow`].
    pub reconnect_window: Duration,
    /// When a server announces its end (lame duck), the connection moves within a random time up to this. Less than the server's own
    /// `lame_duck_duration`, whose default is two minutes.
    pub lame_duck_window: Duration,
    /// The bound of one try to connect, handshakes included.
    pub connect_timeout: Duration,
    /// The bound of a request that names no other.
    pub request_timeout: Duration,
    /// How often the server is asked for a sign of life; two missed answers end the connection.
    pub ping_interval: Duration,
    /// Bounds of the client's queues.
    pub capacities: Capacities,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            name: "writ".to_owned(),
            credentials: Credentials::Anonymous,
            ca_file: None,
            ca_pem: None,
            tls_first: false,
            inbox_prefix: "_INBOX".to_owned(),
            retry_on_initial_connect: false,
            first_connect_window: Duration::ZERO,
            reconnect_window: Duration::from_secs(5),
            lame_duck_window: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(20),
            capacities: Capacities::AGENT,
        }
    }
}

/// Bounds of the client's queues. Queues take memory as they fill, so these bound the worst case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacities {
    /// Messages held for one subscription before new ones are dropped and [`super::NatsEvent::SlowConsumer`] is raised.
    pub subscription: usize,
    /// Commands waiting for the connection before senders wait.
    pub commands: usize,
    /// Bytes of the read buffer of a connection without TLS.
    pub read_buffer: u16,
}

impl Capacities {
    /// For agents: a few subscriptions, few messages, little memory.
    pub const AGENT: Self = Self {
        subscription: 256,
        commands: 64,
        read_buffer: 8 * 1024,
    };
    /// For controllers: shared consumers that fetch in batches.
    pub const CONTROLLER: Self = Self {
        subscription: 16 * 1024,
        commands: 2048,
        read_buffer: u16::MAX,
    };
}

/// As whom a connection speaks.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// As nobody: for tests and a bus on loopback.
    Anonymous,
    /// As the user of a JWT, proven with the user's nkey seed.
    Jwt {
        /// The user JWT. It is shown to the server and is no secret by itself.
        jwt: String,
        /// The seed, `SU…`.
        seed: Secret<String>,
    },
    /// As whoever the source says at each connect, so that renewed credentials need no new client.
    Source(Arc<dyn CredentialSource>),
}

/// Proves an identity to a server.
pub trait CredentialSource: Send + Sync + fmt::Debug {
    /// Signs the server's `nonce`. Called at every connect and reconnect; must not block.
    ///
    /// # Errors
    /// When it cannot be signed now; the connection is tried again later.
    fn sign(&self, nonce: &[u8]) -> Result<SignedNonce, SignError>;
}

/// A proof of identity for one nonce.
#[derive(Clone)]
pub struct SignedNonce {
    /// The user JWT, on a bus in operator mode.
    pub jwt: Option<String>,
    /// The public user nkey, on a bus without JWTs.
    pub nkey: Option<String>,
    /// The raw Ed25519 signature of the nonce.
    pub signature: Vec<u8>,
}

impl fmt::Debug for SignedNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedNonce")
            .field("nkey", &self.nkey)
            .finish_non_exhaustive()
    }
}

/// A nonce cannot be signed.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign the server's nonce: {0}")]
pub struct SignError(pub String);
