//! A controller that is wrong in one thing, for tests of the suite of controllers: real ones behind this program, which sits between the suite and their bus and
//! changes what they say on the way. It prints join tokens that lead through it, one a line, and ends when its input does.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use writ_conformance::bus::{self, Frame, Frames, LOOK, Message, Stream};
use writ_protocol::digest::Digest;
use writ_protocol::enrol::{JoinToken, JoinTokenParts};
use writ_protocol::envelope::Envelope;
use writ_protocol::hello::{ERROR_HEADER, HelloReply, Watermark};
use writ_protocol::manifest::Manifest;
use writ_protocol::statement::{self, Predicate};

/// What one read takes.
const READ_BYTES: usize = 16 << 10;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Spoilt {
    /// Sends no watermark.
    Silent,
    /// Says after each watermark the one before it.
    Backwards,
    /// Changes a bit of each watermark's signature.
    Flips,
    /// Asks for nothing again.
    Gapless,
    /// Gives the first manifest for ever.
    Stale,
    /// Answers every hello as the first one.
    Echoes,
    /// Refuses nothing.
    Lenient,
    /// Has another root than it should.
    Other,
}

#[derive(Debug, Parser)]
struct Arguments {
    /// What is wrong with it.
    #[arg(long = "as")]
    spoilt: Spoilt,
    /// A join token of the real controllers.
    #[arg(long = "token", required = true)]
    tokens: Vec<String>,
}

/// What all connections know.
#[derive(Debug, Default)]
struct Seen {
    mark: Option<Vec<u8>>,
    manifest: Option<Vec<u8>>,
    answer: Option<Vec<u8>>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = format!("nats://{}", listener.local_addr()?);
    let mut real = None;
    let mut said = io::stdout().lock();
    for text in &arguments.tokens {
        let token = JoinToken::parse(text)?;
        let mut parts = JoinTokenParts {
            token_id: token.token_id,
            tenant: token.tenant.clone(),
            user_jwt: token.user_jwt.clone(),
            servers: vec![here.clone()],
            ca_pem: token.ca_pem.clone(),
            root: token.root,
            expires_at: token.expires_at,
        };
        if arguments.spoilt == Spoilt::Other {
            parts.root = Digest::of(b"another root");
        }
        let changed = JoinToken::new(&token.seed(), parts).to_text()?;
        writeln!(said, "{}", changed.as_str())?;
        real.get_or_insert(token);
    }
    said.flush()?;
    drop(said);
    let real = Arc::new(real.context("no token")?);
    let seen = Arc::new(Mutex::new(Seen::default()));
    std::thread::spawn(move || {
        for guest in listener.incoming().flatten() {
            let (real, seen) = (Arc::clone(&real), Arc::clone(&seen));
            // It ends with the connection; whoever is at the other end says why.
            std::thread::spawn(move || between(arguments.spoilt, guest, &real, &seen));
        }
    });
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// Carries one connection until one side ends it.
fn between(spoilt: Spoilt, mut guest: TcpStream, real: &JoinToken, seen: &Mutex<Seen>) -> anyhow::Result<()> {
    let (mut server, mut info) = bus::dial(&real.servers, &real.ca_pem)?;
    if let Some(info) = info.as_object_mut() {
        // The way to this program is plain.
        info.retain(|name, _| !name.starts_with("tls_") && name != "connect_urls");
    }
    guest.set_nodelay(true)?;
    guest.set_read_timeout(Some(LOOK))?;
    guest.write_all(format!("INFO {info}\r\n").as_bytes())?;
    let mut frames = Frames::default();
    loop {
        let Some(asked) = read(&mut guest)? else {
            return Ok(());
        };
        server.write_all(&asked)?;
        server.flush()?;
        let Some(came) = read::<Stream>(&mut server)? else {
            return Ok(());
        };
        frames.push(&came);
        while let Some(frame) = frames.cut()? {
            let bytes = match frame {
                Frame::Message(message) => {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    let told = told(spoilt, message, &mut seen);
                    told.iter().flat_map(Message::to_bytes).collect()
                }
                Frame::Info(_) => Vec::new(),
                Frame::Ping => b"PING\r\n".to_vec(),
                Frame::Pong => b"PONG\r\n".to_vec(),
                Frame::Taken => b"+OK\r\n".to_vec(),
                Frame::Refused(why) => format!("-ERR '{why}'\r\n").into_bytes(),
            };
            guest.write_all(&bytes)?;
        }
    }
}

/// What is there; nothing at the end.
fn read<S: Read>(from: &mut S) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; READ_BYTES];
    match from.read(&mut bytes) {
        Ok(0) => Ok(None),
        Ok(count) => {
            bytes.truncate(count);
            Ok(Some(bytes))
        }
        Err(error) if bus::is_silence(&error) => Ok(Some(Vec::new())),
        Err(error) => Err(error),
    }
}

/// What the guest hears instead.
fn told(spoilt: Spoilt, mut message: Message, seen: &mut Seen) -> VecDeque<Message> {
    let bytes = message.payload.clone();
    if let Some(mark) = peek::<Watermark>(&bytes) {
        match spoilt {
            Spoilt::Silent => return VecDeque::new(),
            Spoilt::Gapless if mark.resend_from.is_some() => return VecDeque::new(),
            Spoilt::Flips => message.payload = flipped(&bytes).unwrap_or(bytes),
            Spoilt::Backwards => {
                let before = seen.mark.replace(bytes).map(|payload| Message {
                    payload,
                    ..message.clone()
                });
                return [message].into_iter().chain(before).collect();
            }
            _ => {}
        }
    } else if spoilt == Spoilt::Stale && peek::<Manifest>(&bytes).is_some() {
        message.payload.clone_from(seen.manifest.get_or_insert(bytes));
    } else if spoilt == Spoilt::Echoes && peek::<HelloReply>(&bytes).is_some() {
        message.payload.clone_from(seen.answer.get_or_insert(bytes));
    } else if spoilt == Spoilt::Lenient && message.header(ERROR_HEADER).is_some() {
        message.headers.clear();
        message.payload = b"{}".to_vec();
    }
    [message].into_iter().collect()
}

fn peek<P: Predicate>(bytes: &[u8]) -> Option<P> {
    let envelope = Envelope::parse(bytes).ok()?;
    Some(statement::peek::<P>(&envelope).ok()?.predicate)
}

/// An envelope with another signature, in the same form.
fn flipped(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut json: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let signature = json.pointer_mut("/signatures/0/sig")?;
    let mut raw = data_encoding::BASE64
        .decode(signature.as_str()?.as_bytes())
        .ok()?;
    *raw.first_mut()? ^= 1;
    *signature = data_encoding::BASE64.encode(&raw).into();
    serde_json::to_vec(&json).ok()
}
