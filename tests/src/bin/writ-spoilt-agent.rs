//! An agent that is wrong in one thing, for tests of the suite of agents: a real agent behind this program, which changes what is said on the way. The keys of
//! the suite are known, so what an agent does not check can be made to look checked.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Parser, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;
use writ_conformance::world::{key, public, seed};
use writ_protocol::batch;
use writ_protocol::envelope::Envelope;
use writ_protocol::hello::{self, Watermark};
use writ_protocol::id::OrderId;
use writ_protocol::manifest::{self, Generation, Manifest};
use writ_protocol::pipe::{self, LENGTH_BYTES, ToAgent, ToDesk};
use writ_protocol::statement::{self, PAYLOAD_TYPE};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Spoilt {
    /// Takes manifests whoever signed them.
    Trusting,
    /// Takes manifests that go back.
    Careless,
    /// Carries each order out twice.
    Twice,
    /// Keeps its second batch of records to itself.
    Drops,
    /// Changes a bit of its records.
    Flips,
    /// Hears no halt.
    Deaf,
    /// Believes every watermark.
    Believing,
    /// Knows nothing of an earlier life.
    Forgets,
    /// Stays when its input ends.
    Stays,
}

#[derive(Debug, Parser)]
struct Arguments {
    /// What is wrong with it.
    #[arg(long = "as")]
    spoilt: Spoilt,
    /// The real agent.
    #[arg(long)]
    agent: std::path::PathBuf,
    /// As an agent is told.
    once: String,
    /// Its folder.
    #[arg(long)]
    state: std::path::PathBuf,
}

/// What both directions know.
#[derive(Debug, Default)]
struct Seen {
    asked: BTreeMap<u64, String>,
    highest: Generation,
    dropped: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let spoilt = arguments.spoilt;
    if spoilt == Spoilt::Forgets && arguments.state.exists() {
        std::fs::remove_dir_all(&arguments.state)?;
    }
    let mut command = Command::new(&arguments.agent);
    command.arg(&arguments.once).arg("--state").arg(&arguments.state);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let input = Arc::new(Mutex::new(child.stdin.take()));
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (to_agent, known) = (Arc::clone(&input), Arc::clone(&seen));
    std::thread::spawn(move || {
        let mut desk = io::stdin().lock();
        while let Ok(Some(word)) = read::<ToAgent>(&mut desk) {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(word) = told(spoilt, word, &mut known) {
                let _gone = say(&to_agent, &word);
            }
        }
        if spoilt != Spoilt::Stays {
            *to_agent.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    });
    let mut output = child.stdout.take().ok_or_else(|| anyhow::anyhow!("no output"))?;
    while let Some(word) = read::<ToDesk>(&mut output)? {
        let mut known = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match said(spoilt, word, &mut known) {
            Ok(word) => {
                let mut desk = io::stdout().lock();
                desk.write_all(&pipe::frame(&word)?)?;
                desk.flush()?;
            }
            Err(answer) => say(&input, &answer)?,
        }
    }
    let status = child.wait()?;
    std::process::exit(status.code().unwrap_or(1))
}

/// What the agent hears instead; nothing where it hears nothing.
fn told(spoilt: Spoilt, word: ToAgent, seen: &mut Seen) -> Option<ToAgent> {
    match word {
        ToAgent::Control { .. } if spoilt == Spoilt::Deaf => None,
        ToAgent::Mark { envelope } if spoilt == Spoilt::Believing => {
            let mark = peek::<Watermark>(&envelope);
            let signed = mark.and_then(|mark| {
                let envelope = hello::sign(&mark.identity.clone(), mark, &key(seed::DIRECTOR)).ok()?;
                envelope.to_json().ok()
            });
            Some(ToAgent::Mark {
                envelope: signed.unwrap_or(envelope),
            })
        }
        ToAgent::Answer {
            id,
            payload,
            status,
            refusal,
        } => {
            let is_manifest = seen.asked.remove(&id).is_some();
            let changed = is_manifest.then(|| ordered(spoilt, &payload, seen)).flatten();
            Some(ToAgent::Answer {
                id,
                payload: changed.unwrap_or(payload),
                status,
                refusal,
            })
        }
        other => Some(other),
    }
}

/// A manifest as a spoilt agent takes it; nothing where it takes it as it is.
fn ordered(spoilt: Spoilt, bytes: &[u8], seen: &mut Seen) -> Option<Vec<u8>> {
    let mut manifest = peek::<Manifest>(bytes)?;
    let is_signed = Envelope::parse(bytes)
        .and_then(|envelope| envelope.verify(PAYLOAD_TYPE, &[public(seed::DIRECTOR)], 1))
        .is_ok();
    let is_changed = match spoilt {
        Spoilt::Trusting => !is_signed,
        Spoilt::Careless if is_signed && manifest.at < seen.highest => {
            manifest.at = Generation {
                generation: seen.highest.generation + 1,
                ..seen.highest
            };
            true
        }
        Spoilt::Twice if is_signed => {
            let twins: Vec<_> = manifest.orders.clone();
            manifest.orders.extend(twins.into_iter().map(|mut twin| {
                let number = twin.order_id.as_uuid().as_u128();
                twin.order_id = OrderId::from_uuid(Uuid::from_u128(number ^ 1 << 32));
                twin
            }));
            true
        }
        _ => false,
    };
    if is_signed || is_changed {
        seen.highest = seen.highest.max(manifest.at);
    }
    is_changed.then(|| {
        let signed = manifest::sign(manifest, &key(seed::DIRECTOR)).ok()?;
        signed.to_json().ok()
    })?
}

/// What the desk hears instead; an error is what the agent hears in its place.
fn said(spoilt: Spoilt, word: ToDesk, seen: &mut Seen) -> Result<ToDesk, ToAgent> {
    match word {
        ToDesk::Ask(asked) => {
            if asked.subject.contains("WRIT_ORDERS") || asked.subject.ends_with(".manifest") {
                seen.asked.insert(asked.id, asked.subject.clone());
            }
            Ok(ToDesk::Ask(asked))
        }
        ToDesk::Store(mut asked) => {
            let first = batch::peek(&asked.payload).map_or(0, |header| header.first_seq);
            if spoilt == Spoilt::Drops && first > 1 && *seen.dropped.get_or_insert(first) == first {
                return Err(ToAgent::Answer {
                    id: asked.id,
                    payload: Vec::new(),
                    status: None,
                    refusal: None,
                });
            }
            if spoilt == Spoilt::Flips
                && first > 1
                && let Some(byte) = asked.payload.last_mut()
            {
                *byte ^= 1;
            }
            Ok(ToDesk::Store(asked))
        }
        other @ ToDesk::Tell { .. } => Ok(other),
    }
}

fn peek<P: statement::Predicate>(bytes: &[u8]) -> Option<P> {
    let envelope = Envelope::parse(bytes).ok()?;
    Some(statement::peek::<P>(&envelope).ok()?.predicate)
}

fn say<T: Serialize, W: Write>(to: &Mutex<Option<W>>, word: &T) -> anyhow::Result<()> {
    let bytes = pipe::frame(word)?;
    let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(to) = to.as_mut() {
        to.write_all(&bytes)?;
        to.flush()?;
    }
    Ok(())
}

fn read<T: DeserializeOwned>(from: &mut impl Read) -> anyhow::Result<Option<T>> {
    let mut prefix = [0; LENGTH_BYTES];
    match from.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut body = vec![0; pipe::length(prefix)?];
    from.read_exact(&mut body)?;
    Ok(Some(pipe::open(&body)?))
}
