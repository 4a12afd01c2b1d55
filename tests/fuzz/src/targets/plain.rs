//! Decoders that need no key.

use writ_protocol::digest::Digest;
use writ_protocol::enrol::JoinToken;
use writ_protocol::frame::{self, Frame};
use writ_protocol::graph::Graph;
use writ_protocol::nats::{NkeyPublic, UserKey, claims};
use writ_protocol::provider::{self, ToHost, ToProvider};
use writ_protocol::record::Record;
use writ_protocol::subject;
use writ_protocol::time::Timestamp;

/// Frames: a frame that is read is written as the same bytes, and taking frames off a text always ends.
pub(crate) fn frame(data: &[u8]) {
    if let Ok((frame, taken)) = Frame::parse(data) {
        let mut again = Vec::new();
        frame.encode(&mut again).expect("it was read");
        assert_eq!(again, data[..taken], "a frame has one form");
        assert_ne!(frame.link(&Digest::ZERO), Digest::ZERO);
    }
    let count = frame::frames(data).count();
    assert!(count <= data.len() / frame::padded(0) + 1);
}

/// Records: what is read can be written and read again.
pub(crate) fn record(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else {
        return;
    };
    let frame = |payload| Frame {
        kind: *kind,
        seq: 1,
        boot_ns: 0,
        wall: Timestamp::default(),
        payload,
    };
    if let Ok(Some(record)) = Record::decode(&frame(payload)) {
        assert_eq!(record.kind().number(), *kind);
        // Our own form may be longer than the one that was read, and then too long for a frame.
        if let Ok(again) = record.encode() {
            let read = Record::decode(&frame(&again)).expect("our own form");
            assert_eq!(read, Some(record));
        }
    }
}

/// Words of providers and hosts: what is read can be said, and is then read as the same.
pub(crate) fn provider(data: &[u8]) {
    if let Some((prefix, _)) = data.split_first_chunk() {
        let _ = provider::length(*prefix);
    }
    if let Ok(word) = provider::open::<ToProvider>(data) {
        // What is read in a short form may be too long in ours.
        if let Ok(again) = provider::frame(&word) {
            let read: ToProvider = provider::open(&again[provider::LENGTH_BYTES..]).expect("our own form");
            assert_eq!(format!("{read:?}"), format!("{word:?}"));
        }
    }
    if let Ok(word) = provider::open::<ToHost>(data) {
        if let ToHost::Welcome(welcome) = &word {
            let _ = welcome.validate(&[welcome.version]);
        }
        if let Ok(again) = provider::frame(&word) {
            let read: ToHost = provider::open(&again[provider::LENGTH_BYTES..]).expect("our own form");
            assert_eq!(format!("{read:?}"), format!("{word:?}"));
        }
    }
}

/// Graphs: what is read is valid and has one canonical form.
pub(crate) fn graph(data: &[u8]) {
    if let Ok(graph) = Graph::decode(data) {
        graph.validate().expect("it was read");
        if let Ok(again) = graph.encode() {
            assert_eq!(Graph::decode(&again).expect("our own form"), graph);
        }
    }
}

/// Texts: join tokens, nkeys, subjects, bus claims and instants.
pub(crate) fn token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(token) = JoinToken::parse(&text) {
        let again = token.to_text().expect("it was read");
        let again = JoinToken::parse(&again);
        // Its JSON may have grown by escapes beyond the bound; otherwise it says the same.
        assert!(
            again.is_ok_and(|again| again.seed().signer().public() == token.seed().signer().public())
                || data.len() > 8_192
        );
    }
    if let Ok(key) = text.parse::<NkeyPublic>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(key) = text.parse::<UserKey>() {
        assert_eq!(subject::agent_of(&subject::events(&key)), Some(key));
    }
    let _ = subject::agent_of(&text);
    let _ = subject::shard_of(&text);
    let _ = claims::expiry(&text);
    if let Ok(at) = Timestamp::parse(&text) {
        assert_eq!(Timestamp::parse(&at.to_string()).expect("our own form"), at);
    }
}
