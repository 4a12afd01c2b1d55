//! Connecting: options checked before anything is sent, and the library's defaults replaced where they would hurt a fleet.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use async_nats::{Auth, AuthError, Client, ConnectOptions, ServerAddr};
use writ_protocol::nats::{NkeyError, NkeyKind, NkeyPair};

use super::events::{self, NatsEvents};
use super::options::{CredentialSource, Credentials, NatsOptions, SignError, SignedNonce};
use super::reconnect::{ReconnectDelays, ReconnectWindow};
use crate::config::Secret;
use crate::ids::named_rng;
use crate::tls::{self, CaError};

/// The bus cannot be reached with these options.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// No server is named.
    #[error("no bus server is configured; name at least one, such as tls://bus.example:4222")]
    NoServers,
    /// An address is not one. The address is not shown, because it may hold a password.
    #[error("bus server {index} is not an address such as tls://bus.example:4222 without user and password")]
    Server {
        /// Its place in the list, from zero.
        index: usize,
    },
    /// The inbox prefix is not a plain subject.
    #[error("inbox prefix {prefix:?} must be words joined by dots, without wildcards")]
    InboxPrefix {
        /// The prefix.
        prefix: String,
    },
    /// Both `ca_file` and `ca_pem` are set, and it is not clear which to trust.
    #[error("both a file and a text of certificate authorities are set; keep one")]
    TwoAuthorities,
    /// The certificate authorities cannot be used.
    #[error("cannot use the certificate authorities of the bus")]
    Authorities(#[from] CaError),
    /// The certificate authorities cannot be handed to the client.
    #[error("cannot hold the certificate authorities in memory")]
    Memory(#[source] std::io::Error),
    /// The seed is not a user nkey seed. It is not shown.
    #[error("the nkey seed is not that of a user; such a seed begins with SU")]
    Seed(#[source] NkeyError),
    /// No server let us in.
    #[error("cannot connect to the bus")]
    Connect(#[source] async_nats::ConnectError),
}

/// Connects to the bus. `seed` drives every random wait; take it from [`crate::ids::seed_from`].
///
/// With `retry_on_initial_connect` this returns at once and [`NatsEvents`] says how it goes on.
///
/// # Errors
/// When the options cannot be used; without `retry_on_initial_connect` also when no server lets us in.
pub async fn connect(options: NatsOptions, seed: u64) -> Result<(Client, NatsEvents), NatsError> {
    tls::install_provider();
    let servers = addresses(&options.servers)?;
    check_prefix(&options.inbox_prefix)?;
    let window = ReconnectWindow::new(options.reconnect_window);
    let rng = named_rng(seed, "nats.reconnect");
    let delays = Arc::new(ReconnectDelays::new(
        options.first_connect_window,
        window.clone(),
        rng,
    ));
    let (sender, receiver) = events::channel();
    let dropped = sender.dropped();

    let client_options = bounded(identified(&options.credentials)?, &options);
    let (mut client_options, authorities) = trusting(client_options, &options)?;
    let callback = Arc::clone(&delays);
    client_options = client_options.reconnect_delay_callback(move |attempt| {
        // The authorities live in memory behind this descriptor and are read again at each connect: it lives as long as the client.
        let _held = &authorities;
        callback.delay(attempt)
    });
    client_options = client_options.event_callback(move |event| {
        sender.send(event);
        std::future::ready(())
    });
    let client = client_options
        .connect(servers)
        .await
        .map_err(NatsError::Connect)?;
    let events = NatsEvents {
        client: client.clone(),
        receiver,
        dropped,
        delays,
        window,
        lame_duck_window: options.lame_duck_window,
        rng: named_rng(seed, "nats.lame_duck"),
        leave_at: None,
    };
    Ok((client, events))
}

fn addresses(servers: &[String]) -> Result<Vec<ServerAddr>, NatsError> {
    if servers.is_empty() {
        return Err(NatsError::NoServers);
    }
    let usable = |address: &ServerAddr| {
        !address.has_user_pass() && !address.host().is_empty() && matches!(address.scheme(), "nats" | "tls")
    };
    let address = |(index, server): (usize, &String)| {
        server
            .parse()
            .ok()
            .filter(usable)
            .ok_or(NatsError::Server { index })
    };
    servers.iter().enumerate().map(address).collect()
}

fn check_prefix(prefix: &str) -> Result<(), NatsError> {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'*' && byte != b'>')
    };
    if prefix.split('.').all(word) {
        Ok(())
    } else {
        Err(NatsError::InboxPrefix {
            prefix: prefix.to_owned(),
        })
    }
}

fn bounded(client_options: ConnectOptions, options: &NatsOptions) -> ConnectOptions {
    let client_options = client_options
        .name(&options.name)
        .custom_inbox_prefix(&options.inbox_prefix)
        .ignore_discovered_servers()
        .connection_timeout(options.connect_timeout)
        .request_timeout(Some(options.request_timeout))
        .ping_interval(options.ping_interval)
        .subscription_capacity(options.capacities.subscription.max(1))
        .client_capacity(options.capacities.commands.max(1))
        .read_buffer_capacity(options.capacities.read_buffer);
    if options.retry_on_initial_connect {
        client_options.retry_on_initial_connect()
    } else {
        client_options
    }
}

/// Options with an identity, through the library's general callback: unlike its JWT option, it is asked again at every connect.
fn identified(credentials: &Credentials) -> Result<ConnectOptions, NatsError> {
    let source: Arc<dyn CredentialSource> = match credentials {
        Credentials::Anonymous => return Ok(ConnectOptions::new()),
        Credentials::Jwt { jwt, seed } => Arc::new(UserJwt::new(jwt, seed)?),
        Credentials::Source(source) => Arc::clone(source),
    };
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let signed = source.sign(&nonce).map(auth).map_err(AuthError::new);
        std::future::ready(signed)
    }))
}

fn auth(signed: SignedNonce) -> Auth {
    let mut auth = Auth::new();
    auth.jwt = signed.jwt;
    auth.nkey = signed.nkey;
    auth.signature = Some(signed.signature);
    auth
}

/// Adds TLS. The library trusts the machine's authorities beside ours unless ours come as a file, and fails where the machine has none;
/// so a text becomes a file in memory.
fn trusting(
    client_options: ConnectOptions,
    options: &NatsOptions,
) -> Result<(ConnectOptions, Option<OwnedFd>), NatsError> {
    let (path, held) = match (&options.ca_file, &options.ca_pem) {
        (Some(_), Some(_)) => return Err(NatsError::TwoAuthorities),
        (Some(path), None) => {
            tls::read_authorities(path)?;
            (Some(path.clone()), None)
        }
        (None, Some(pem)) => {
            tls::authorities(pem, "the configured text")?;
            let held = in_memory(pem).map_err(NatsError::Memory)?;
            (
                Some(PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))),
                Some(held),
            )
        }
        (None, None) => (None, None),
    };
    let client_options = match path {
        Some(path) => client_options.add_root_certificates(path).require_tls(true),
        None => client_options,
    };
    Ok((
        if options.tls_first {
            client_options.tls_first()
        } else {
            client_options
        },
        held,
    ))
}

fn in_memory(pem: &str) -> std::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("writ-bus-authorities", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut rest = pem.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(file)
}

/// A user JWT with its key.
#[derive(Debug)]
struct UserJwt {
    jwt: String,
    key: NkeyPair,
}

impl UserJwt {
    fn new(jwt: &str, seed: &Secret<String>) -> Result<Self, NatsError> {
        let key = NkeyPair::from_seed(NkeyKind::User, seed.expose()).map_err(NatsError::Seed)?;
        Ok(Self {
            jwt: jwt.to_owned(),
            key,
        })
    }
}

impl CredentialSource for UserJwt {
    fn sign(&self, nonce: &[u8]) -> Result<SignedNonce, SignError> {
        let signature = self
            .key
            .sign_nonce(nonce)
            .map_err(|error| SignError(error.to_string()))?;
        Ok(SignedNonce {
            jwt: Some(self.jwt.clone()),
            nkey: None,
            signature: signature.to_vec(),
        })
    }
}
