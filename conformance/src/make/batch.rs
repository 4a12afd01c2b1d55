//! Area `batch`: frames on their way to the ledger, and how they fit to what is there.

use serde::Serialize;
use serde_json::json;
use writ_protocol::batch::{self, BatchHeader};
use writ_protocol::digest::Digest;
use writ_protocol::statement::{self, Subject};

use super::{Area, Given, flip};
use crate::case::{Check, Context, Upto, Vector};
use crate::run::{self, Golden, golden};
use crate::world::{MakeError, key, public, seed};

const INPUT: &str = "batch.msgpack";

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut area = Area::new("batch");
    let golden = golden()?;
    good(&mut area, &golden)?;
    bad(&mut area, &golden)?;
    contradictions(&mut area, &golden)?;
    numbers(&mut area, &golden)?;
    after(&mut area, &golden)?;
    Ok(area.vectors)
}

fn given(bytes: Vec<u8>) -> Given {
    let context = Context {
        keys: vec![public(seed::ARTEFACT)],
        ..Context::default()
    };
    Given::new(Check::BatchOpen, INPUT, bytes, context)
}

fn good(area: &mut Area, golden: &Golden) -> Result<(), MakeError> {
    area.good(
        "whole-journal",
        "Signature, digest, sequence numbers and chain fit, from the first record on.",
        given(golden.batch(1, 12)?),
        json!({ "header": golden.header(1, 12)?, "frames": 12 }),
    );
    area.good(
        "middle",
        "A batch may begin anywhere; it names the chain's value before it.",
        given(golden.batch(4, 6)?),
        json!({ "header": golden.header(4, 6)?, "frames": 3 }),
    );
    let (bytes, link) = run::frame(200, 13, b"\x80", &golden.link(12))?;
    let header = BatchHeader {
        last_seq: 13,
        last_hash: link,
        ..golden.header(12, 12)?
    };
    let bytes = [golden.bytes(12, 12), bytes].concat();
    area.good(
        "unknown-kind",
        "A record kind from the future travels, is chained and stored like any other.",
        given(batch::sign(header.clone(), bytes, &key(seed::ARTEFACT))?),
        json!({ "header": header, "frames": 2 }),
    );
    Ok(())
}

/// The wire form, open to every mistake.
#[derive(Serialize)]
struct Wire<'a> {
    v: u16,
    #[serde(serialize_with = "bin")]
    statement: &'a [u8],
    #[serde(serialize_with = "bin")]
    frames: &'a [u8],
}

fn bin<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Signs whatever the header says about whatever bytes.
fn forced(header: BatchHeader, frames: &[u8], version: u16, seed: u8) -> Result<Vec<u8>, MakeError> {
    let subject = vec![Subject::new("frames", &Digest::of(frames))];
    let statement = statement::sign(subject, header, &[&key(seed)])?.to_json()?;
    let wire = Wire {
        v: version,
        statement: &statement,
        frames,
    };
    Ok(writ_protocol::codec::to_msgpack("event batch", &wire)?)
}

fn bad(area: &mut Area, golden: &Golden) -> Result<(), MakeError> {
    let (header, frames) = (golden.header(4, 6)?, golden.bytes(4, 6));
    area.bad(
        "forged",
        "Signed by another key than the registry names for this agent.",
        given(forced(header.clone(), &frames, 1, seed::STRANGER)?),
        "envelope/untrusted",
    );
    area.bad(
        "later-version",
        "A later form of batch is not guessed at.",
        given(forced(header.clone(), &frames, 2, seed::ARTEFACT)?),
        "batch/mismatch",
    );
    let whole = golden.batch(4, 6)?;
    area.bad(
        "one-bit",
        "One bit of the last frame was changed on the way: the statement names other bytes.",
        given(flip(&whole, whole.len() - 40)),
        "batch/mismatch",
    );
    let cut = whole.get(..whole.len() - 16).unwrap_or_default().to_vec();
    area.bad(
        "cut-short",
        "The message ends early.",
        given(cut),
        "codec/malformed",
    );
    area.bad(
        "not-msgpack",
        "Bytes that are no batch.",
        given(b"{}".to_vec()),
        "codec/malformed",
    );
    area.bad(
        "trailing-byte",
        "Every byte must belong to the message.",
        given([whole, vec![0]].concat()),
        "codec/trailing",
    );
    let envelope = batch::open(&golden.batch(4, 6)?, &public(seed::ARTEFACT))?
        .envelope()
        .to_vec();
    let other = golden.bytes(7, 9);
    area.bad(
        "frames-of-another-batch",
        "A good statement beside frames that it does not name.",
        given(batch::encode(envelope, other)?),
        "batch/mismatch",
    );
    Ok(())
}

/// Batches that the agent itself signed, and that contradict themselves.
fn contradictions(area: &mut Area, golden: &Golden) -> Result<(), MakeError> {
    let header = golden.header(4, 6)?;
    let mut refused = |name, why, header: &BatchHeader, frames: Vec<u8>, error| -> Result<(), MakeError> {
        area.bad(
            name,
            why,
            given(forced(header.clone(), &frames, 1, seed::ARTEFACT)?),
            error,
        );
        Ok(())
    };
    let mismatch = "batch/mismatch";
    let gap = [golden.bytes(4, 4), golden.bytes(6, 6)].concat();
    refused(
        "frame-removed",
        "A frame is missing in the middle.",
        &header,
        gap,
        mismatch,
    )?;
    refused(
        "last-frame-removed",
        "The last frame is missing.",
        &header,
        golden.bytes(4, 5),
        mismatch,
    )?;
    let swapped = [golden.bytes(5, 5), golden.bytes(4, 4), golden.bytes(6, 6)].concat();
    refused(
        "reordered",
        "Two frames changed places.",
        &header,
        swapped,
        mismatch,
    )?;
    refused(
        "no-frames",
        "A batch without frames says nothing.",
        &header,
        vec![],
        mismatch,
    )?;
    let mut torn = golden.bytes(4, 6);
    torn.truncate(torn.len() - 16);
    refused(
        "torn-frame",
        "The last frame is cut.",
        &header,
        torn,
        "frame/short",
    )?;
    refused(
        "damaged-frame",
        "A frame's checksum does not fit.",
        &header,
        flip(&golden.bytes(4, 6), 40),
        "frame/checksum",
    )?;
    Ok(())
}

/// Chain values and numbers that no batch may have.
fn numbers(area: &mut Area, golden: &Golden) -> Result<(), MakeError> {
    let mut refused = |name, why, header: &BatchHeader, frames: Vec<u8>| -> Result<(), MakeError> {
        let bytes = forced(header.clone(), &frames, 1, seed::ARTEFACT)?;
        area.bad(name, why, given(bytes), "batch/mismatch");
        Ok(())
    };
    let header = golden.header(4, 6)?;
    let broken = BatchHeader {
        last_hash: Digest::ZERO,
        ..header.clone()
    };
    refused(
        "chain-ends-elsewhere",
        "The chain does not end where the statement says.",
        &broken,
        golden.bytes(4, 6),
    )?;
    let moved = BatchHeader {
        prev_hash: Digest::ZERO,
        ..header
    };
    refused(
        "chain-begins-elsewhere",
        "The chain does not begin where the statement says.",
        &moved,
        golden.bytes(4, 6),
    )?;
    let (first, link) = run::frame(10, 0, b"", &Digest::ZERO)?;
    let zero = BatchHeader {
        first_seq: 0,
        last_seq: 0,
        last_hash: link,
        ..golden.header(1, 1)?
    };
    refused("sequence-zero", "Sequence numbers begin at 1.", &zero, first)?;
    let mut many = (Vec::new(), Digest::ZERO);
    for seq in 1..=101 {
        let (bytes, link) = run::frame(10, seq, b"", &many.1)?;
        many = ([many.0, bytes].concat(), link);
    }
    let too_many = BatchHeader {
        last_seq: 101,
        last_hash: many.1,
        ..golden.header(1, 1)?
    };
    refused(
        "too-many-frames",
        "At most 100 frames stand in one batch.",
        &too_many,
        many.0,
    )
}

fn after(area: &mut Area, golden: &Golden) -> Result<(), MakeError> {
    let mut compared = |name, why, (first, last), (upto, hash), value| -> Result<(), MakeError> {
        let context = Context {
            keys: vec![public(seed::ARTEFACT)],
            committed: Some(Upto { upto, hash }),
            ..Context::default()
        };
        let given = Given::new(Check::BatchAfter, INPUT, golden.batch(first, last)?, context);
        area.good(name, why, given, value);
        Ok(())
    };
    let link = |seq| (seq, golden.link(seq));
    compared(
        "after-begins",
        "The first batch of a journal.",
        (1, 3),
        link(0),
        json!({ "new": { "skip": 0 } }),
    )?;
    compared(
        "after-continues",
        "It begins where the ledger ends.",
        (4, 6),
        link(3),
        json!({ "new": { "skip": 0 } }),
    )?;
    compared(
        "after-overlaps",
        "Its first two frames are committed: they are left out, the rest is taken.",
        (2, 6),
        link(3),
        json!({ "new": { "skip": 2 } }),
    )?;
    compared(
        "after-known",
        "Sent twice: nothing is new, and the watermark is sent again.",
        (4, 6),
        link(6),
        json!("known"),
    )?;
    compared(
        "after-gap",
        "Frames 4 to 6 are missing: nothing is taken, and the agent is asked to send from 4.",
        (7, 9),
        link(3),
        json!({ "gap": { "resendFrom": 4 } }),
    )?;
    let other = Digest::of(b"another history");
    compared(
        "after-fork",
        "It continues another history: a cloned agent.",
        (4, 6),
        (3, other),
        json!("fork"),
    )?;
    compared(
        "after-fork-inside",
        "Its overlap differs from what is committed.",
        (2, 6),
        (3, other),
        json!("fork"),
    )
}
