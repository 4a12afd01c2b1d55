//! A small client of the bus, for the suite of controllers: one connection that logs in with claims, publishes, subscribes and hears, each wait with a
//! bound. It is not the client that agents and controllers have, so that a suite's finding is not a common mistake of both, and it has no thread
//! and no runtime, so that who only wants the vectors has neither.

mod frames;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use writ_protocol::nats::NkeyPair;

pub use frames::{Frame, Frames, Message};

/// How long a connection may take to come up.
const DIAL_WAIT: Duration = Duration::from_secs(10);
/// How long a read or write may take before it is looked at what else there is.
pub const LOOK: Duration = Duration::from_millis(20);
/// What a word takes of a wait: one who talks without end is not waited for without end.
const WORD: Duration = Duration::from_millis(2);
/// The port of a server that names none.
const PORT: u16 = 4_222;
/// What one read takes.
const READ_BYTES: usize = 16 << 10;

/// Why nothing more can be said or heard on a connection.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// None of the servers is one.
    #[error("{0:?} is no address of a bus")]
    Address(String),
    /// The network.
    #[error("the bus cannot be reached")]
    Io(#[from] std::io::Error),
    /// The certificate, or what the token says of it.
    #[error("the bus is not who it should be")]
    Tls(#[from] rustls::Error),
    /// The authorities in the token are no certificates.
    #[error("the token's authority is no certificate")]
    Authority,
    /// The server does not let the login in, or ends it.
    #[error("the bus says: {0}")]
    Refused(String),
    /// What it says is not what a bus says.
    #[error("the bus says what no bus says: {0}")]
    Malformed(&'static str),
    /// It closed the connection.
    #[error("the bus closed the connection")]
    Closed,
    /// Nothing came in time.
    #[error("the bus says nothing")]
    Silent,
}

/// What came of waiting.
#[derive(Debug)]
pub enum Heard {
    /// A message of a subscription.
    Message(Message),
    /// The server did not let something be done; the connection lives on.
    Denied(String),
    /// Nothing in time.
    Silence,
}

/// A connection's bytes, inside of TLS where the server asks for it.
#[derive(Debug)]
pub enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// Inside of TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Reaches the first of the servers that is there, and gives the connection with what the server says first. Reads end after [`LOOK`] without a word.
///
/// # Errors
/// [`BusError`] of the last server that was tried.
pub fn dial(servers: &[String], ca_pem: &str) -> Result<(Stream, Value), BusError> {
    let mut last = BusError::Address(String::new());
    for server in servers {
        match dial_one(server, ca_pem) {
            Ok(reached) => return Ok(reached),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn dial_one(server: &str, ca_pem: &str) -> Result<(Stream, Value), BusError> {
    let bad = || BusError::Address(server.to_owned());
    let (scheme, place) = server.split_once("://").ok_or_else(bad)?;
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
        None => (place, PORT),
    };
    let host = host.trim_matches(['[', ']']);
    let mut tcp = None;
    for address in (host, port).to_socket_addrs()? {
        tcp = Some(TcpStream::connect_timeout(&address, DIAL_WAIT));
        if matches!(tcp, Some(Ok(_))) {
            break;
        }
    }
    let mut tcp = tcp.ok_or_else(bad)??;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(DIAL_WAIT))?;
    tcp.set_write_timeout(Some(DIAL_WAIT))?;
    let info = greeting(&mut tcp)?;
    let wants_tls = info.get("tls_required").and_then(Value::as_bool) == Some(true);
    let stream = if wants_tls || scheme == "tls" {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| bad())?;
        let mut tls = ClientConnection::new(Arc::new(trusting(ca_pem)?), name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Stream::Tls(Box::new(StreamOwned::new(tls, tcp)))
    } else {
        Stream::Plain(tcp)
    };
    let inner = match &stream {
        Stream::Plain(tcp) => tcp,
        Stream::Tls(tls) => &tls.sock,
    };
    inner.set_read_timeout(Some(LOOK))?;
    Ok((stream, info))
}

/// The server's first line, byte by byte: what follows it may be of TLS.
fn greeting(tcp: &mut TcpStream) -> Result<Value, BusError> {
    let mut frames = Frames::default();
    loop {
        let mut byte = [0];
        tcp.read_exact(&mut byte)?;
        frames.push(&byte);
        match frames.cut()? {
            None => {}
            Some(Frame::Info(info)) => return Ok(info),
            Some(_) => return Err(BusError::Malformed("it does not begin with INFO")),
        }
    }
}

fn trusting(ca_pem: &str) -> Result<ClientConfig, BusError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.map_err(|_| BusError::Authority)?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A connection that is logged in.
#[derive(Debug)]
pub struct Bus {
    stream: Stream,
    frames: Frames,
    subscriptions: u32,
}

impl Bus {
    /// Logs in with claims and the key that they are for.
    ///
    /// # Errors
    /// [`BusError`]; [`BusError::Refused`] where the server does not take them.
    pub fn login(servers: &[String], ca_pem: &str, jwt: &str, key: &NkeyPair) -> Result<Self, BusError> {
        let (stream, info) = dial(servers, ca_pem)?;
        let nonce = info.get("nonce").and_then(Value::as_str).unwrap_or_default();
        let signed = key
            .sign_nonce(nonce.as_bytes())
            .map_err(|_| BusError::Malformed("its nonce cannot be signed"))?;
        let connect = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1, "lang": "rust",
            "version": env!("CARGO_PKG_VERSION"), "name": "writ-conformance", "jwt": jwt, "sig": BASE64URL_NOPAD.encode(&signed),
        });
        let mut bus = Self {
            stream,
            frames: Frames::default(),
            subscriptions: 0,
        };
        bus.write(format!("CONNECT {connect}\r\nPING\r\n").as_bytes())?;
        let mut left = DIAL_WAIT;
        loop {
            match bus.pull(&mut left)? {
                Some(Frame::Pong) => return Ok(bus),
                Some(Frame::Refused(why)) => return Err(BusError::Refused(why)),
                Some(_) => {}
                None => return Err(BusError::Silent),
            }
        }
    }

    /// Asks for what comes on a subject.
    ///
    /// # Errors
    /// [`BusError`].
    pub fn subscribe(&mut self, subject: &str) -> Result<(), BusError> {
        self.subscriptions += 1;
        let line = format!("SUB {subject} {}\r\n", self.subscriptions);
        self.write(line.as_bytes())
    }

    /// Says something, and where an answer is wanted.
    ///
    /// # Errors
    /// [`BusError`].
    pub fn publish(&mut self, subject: &str, reply: Option<&str>, payload: &[u8]) -> Result<(), BusError> {
        let reply = reply.map(|reply| format!(" {reply}")).unwrap_or_default();
        let head = format!("PUB {subject}{reply} {}\r\n", payload.len());
        self.write(&[head.as_bytes(), payload, b"\r\n"].concat())
    }

    /// Waits for what comes next, and takes what that takes of `left`.
    ///
    /// # Errors
    /// [`BusError`] when the connection is over.
    pub fn hear(&mut self, left: &mut Duration) -> Result<Heard, BusError> {
        loop {
            match self.pull(left)? {
                Some(Frame::Message(message)) => return Ok(Heard::Message(message)),
                Some(Frame::Refused(why)) if frames::lives_on(&why) => return Ok(Heard::Denied(why)),
                Some(Frame::Refused(why)) => return Err(BusError::Refused(why)),
                Some(Frame::Ping) => self.write(b"PONG\r\n")?,
                Some(Frame::Pong | Frame::Taken | Frame::Info(_)) => {}
                None => return Ok(Heard::Silence),
            }
        }
    }

    fn pull(&mut self, left: &mut Duration) -> Result<Option<Frame>, BusError> {
        loop {
            if let Some(frame) = self.frames.cut()? {
                *left = left.saturating_sub(WORD);
                return Ok(Some(frame));
            }
            if left.is_zero() {
                return Ok(None);
            }
            let mut bytes = [0; READ_BYTES];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(BusError::Closed),
                Ok(count) => self.frames.push(bytes.get(..count).unwrap_or_default()),
                Err(error) if is_silence(&error) => *left = left.saturating_sub(LOOK),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        self.stream.write_all(bytes)?;
        Ok(self.stream.flush()?)
    }
}

/// Whether a read only ended because nothing came in time.
pub fn is_silence(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
