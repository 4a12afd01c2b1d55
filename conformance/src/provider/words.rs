//! The cases of the protocol itself: the first words, versions that do not fit, what is no word, and the end.

use serde_json::json;
use writ_protocol::codec;
use writ_protocol::digest::Digest;
use writ_protocol::provider::{PROVIDER_FRAME_MAX, PROVIDER_PROTOCOL, Reason, Subject, ToHost, ToProvider};

use super::case::{Finding, Verdict, reported};
use super::place::Place;
use super::report::CaseReport;
use super::talk::{END_WAIT, Heard, Talk, shown};

/// A version that nobody speaks yet.
const NOBODYS: u16 = u16::MAX;

/// Name and function of a case.
type Row = (&'static str, fn(&Place) -> Result<Verdict, Finding>);

const CASES: [Row; 11] = [
    ("handshake", handshake),
    ("version-common", version_common),
    ("version-unknown", version_unknown),
    ("hello-first", hello_first),
    ("hello-once", hello_once),
    ("noise", noise),
    ("unknown-word", unknown_word),
    ("unknown-kind", unknown_kind),
    ("lent-lies", lent_lies),
    ("cancel-of-nothing", cancel_of_nothing),
    ("ends-with-the-pipe", ends_with_the_pipe),
];

pub(super) fn run(place: &Place) -> Vec<CaseReport> {
    let run = |(name, case): Row| reported(name, case(place));
    CASES.into_iter().map(run).collect()
}

fn handshake(place: &Place) -> Result<Verdict, Finding> {
    let (_talk, welcome) = Talk::greeted(place)?;
    let (_talk, again) = Talk::greeted(place)?;
    if welcome == again {
        return Ok(Verdict::Passed);
    }
    Err("two lives of it give two welcomes".to_owned())
}

/// A newer host: it still speaks the version that both know.
fn version_common(place: &Place) -> Result<Verdict, Finding> {
    let mut talk = Talk::start(place)?;
    talk.hello(&[PROVIDER_PROTOCOL, NOBODYS])?;
    match talk.hear(END_WAIT) {
        Heard::Word(ToHost::Welcome(welcome)) if welcome.version == PROVIDER_PROTOCOL => Ok(Verdict::Passed),
        other => Err(format!(
            "versions {PROVIDER_PROTOCOL} and {NOBODYS} were answered by {}",
            shown(&other)
        )),
    }
}

fn version_unknown(place: &Place) -> Result<Verdict, Finding> {
    let mut talk = Talk::start(place)?;
    talk.hello(&[NOBODYS])?;
    match talk.hear(END_WAIT) {
        Heard::Word(ToHost::Unfit { versions }) if versions.contains(&PROVIDER_PROTOCOL) => {}
        other => {
            return Err(format!(
                "a version that nobody speaks was answered by {}",
                shown(&other)
            ));
        }
    }
    talk.end(END_WAIT)?;
    Ok(Verdict::Passed)
}

fn hello_first(place: &Place) -> Result<Verdict, Finding> {
    let mut talk = Talk::start(place)?;
    let id = talk.number();
    talk.say(&ToProvider::Observe {
        id,
        subject: nothing(),
    })?;
    gives_up(talk, "a question before hello")
}

fn hello_once(place: &Place) -> Result<Verdict, Finding> {
    let (mut talk, _) = Talk::greeted(place)?;
    talk.hello(&[PROVIDER_PROTOCOL])?;
    gives_up(talk, "a second hello")
}

fn noise(place: &Place) -> Result<Verdict, Finding> {
    let too_long = u32::try_from(PROVIDER_FRAME_MAX)
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let torn = {
        let mut bytes = 100_u32.to_be_bytes().to_vec();
        bytes.extend(b"short");
        bytes
    };
    for (what, bytes) in [
        ("a frame that is too long", too_long.to_be_bytes().to_vec()),
        ("the longest length there is", vec![0xff; 16]),
        ("a frame that is no MessagePack", vec![0, 0, 0, 2, 0xc1, 0xc1]),
        ("a frame with a byte too many", vec![0, 0, 0, 2, 0xc0, 0xc0]),
        ("an empty frame", vec![0; 4]),
        (
            "a frame that nests deep",
            [&[0, 0, 0, 200][..], &[0x91; 200]].concat(),
        ),
        ("a torn frame", torn),
    ] {
        let (mut talk, _) = Talk::greeted(place)?;
        talk.send(bytes)?;
        talk.close();
        gives_up(talk, what)?;
    }
    Ok(Verdict::Passed)
}

fn unknown_word(place: &Place) -> Result<Verdict, Finding> {
    for word in [
        json!({"dance": {"id": 1}}),
        json!({"cancel": {"id": 1, "more": 2}}),
    ] {
        let (mut talk, _) = Talk::greeted(place)?;
        talk.send(framed(&word)?)?;
        gives_up(talk, &word.to_string())?;
    }
    Ok(Verdict::Passed)
}

fn framed(word: &serde_json::Value) -> Result<Vec<u8>, Finding> {
    let body = codec::to_msgpack("word", word).map_err(|error| error.to_string())?;
    let length = u32::try_from(body.len()).map_err(|error| error.to_string())?;
    Ok([length.to_be_bytes().to_vec(), body].concat())
}

fn unknown_kind(place: &Place) -> Result<Verdict, Finding> {
    let (mut talk, _) = Talk::greeted(place)?;
    for _ in 0..2 {
        match talk.observe(nothing())? {
            Err(problem) if problem.reason == Reason::Invalid => {}
            other => return Err(format!("a kind that it does not have was answered by {other:?}")),
        }
    }
    Ok(Verdict::Passed)
}

fn lent_lies(place: &Place) -> Result<Verdict, Finding> {
    let (mut talk, _) = Talk::greeted(place)?;
    let bytes = b"this".to_vec();
    let digest = Digest::of(b"that");
    talk.say(&ToProvider::Lend { digest, bytes })?;
    gives_up(talk, "content that is not what it is called")
}

fn cancel_of_nothing(place: &Place) -> Result<Verdict, Finding> {
    let (mut talk, _) = Talk::greeted(place)?;
    talk.say(&ToProvider::Cancel { id: 77 })?;
    match talk.observe(nothing())? {
        Err(problem) if problem.reason == Reason::Invalid => Ok(Verdict::Passed),
        other => Err(format!(
            "after a cancel of nothing a question was answered by {other:?}"
        )),
    }
}

fn ends_with_the_pipe(place: &Place) -> Result<Verdict, Finding> {
    let (mut talk, _) = Talk::greeted(place)?;
    talk.close();
    match talk.end(END_WAIT)? {
        Some(0) => {}
        code => {
            return Err(format!(
                "it ended with {code:?} after its standard input was closed; 0 is wanted"
            ));
        }
    }
    let mut talk = Talk::start(place)?;
    talk.close();
    talk.end(END_WAIT)?;
    Ok(Verdict::Passed)
}

/// Holds a provider to ending, not well and without an answer.
fn gives_up(mut talk: Talk, what: &str) -> Result<Verdict, Finding> {
    if let heard @ Heard::Word(_) = talk.hear(END_WAIT) {
        return Err(format!("{what} was answered by {}", shown(&heard)));
    }
    match talk
        .end(END_WAIT)
        .map_err(|finding| format!("after {what} {finding}"))?
    {
        Some(0) => Err(format!("after {what} it ended with 0, as if all were well")),
        _ => Ok(Verdict::Passed),
    }
}

/// A subject of a kind that nobody has.
fn nothing() -> Subject {
    Subject {
        id: "no-such-kind:x".to_owned(),
        kind: "no-such-kind".to_owned(),
        spec: serde_json::Map::new(),
        notified: false,
        wall_ms: 10_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use writ_protocol::provider;

    #[test]
    fn noise_is_noise_for_our_own_reader_too() {
        assert!(provider::open::<ToProvider>(&[0xc0, 0xc0]).is_err());
        assert!(provider::open::<ToProvider>(&[]).is_err());
        assert!(provider::open::<ToProvider>(&[0x91; 200]).is_err());
        let word = framed(&json!({"cancel": {"id": 1}})).expect("frames");
        assert!(provider::open::<ToProvider>(&word[4..]).is_ok());
    }
}
