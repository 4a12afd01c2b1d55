//! Area `envelope`: DSSE, its signatures and its canonical form.

use serde_json::{Value, json};
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::statement::PAYLOAD_TYPE;

use super::{Area, Given, put, swap};
use crate::case::{Check, Context, Vector};
use crate::world::{MakeError, key, public, seed};

const PAYLOAD: &[u8] = br#"{"note":"any payload will do here"}"#;
const INPUT: &str = "envelope.json";

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut area = Area::new("envelope");
    good(&mut area)?;
    signatures(&mut area)?;
    covered(&mut area)?;
    forms(&mut area)?;
    Ok(area.vectors)
}

fn text(seeds: &[u8]) -> Result<String, MakeError> {
    let keys: Vec<_> = seeds.iter().map(|n| key(*n)).collect();
    let keys: Vec<_> = keys.iter().collect();
    Ok(String::from_utf8(
        Envelope::sign(PAYLOAD_TYPE, PAYLOAD.to_vec(), &keys)?.to_json()?,
    )?)
}

fn given(text: &str, keys: &[u8], needed: usize) -> Given {
    let context = Context {
        keys: keys.iter().map(|n| public(*n)).collect(),
        needed: Some(needed),
        ..Context::default()
    };
    Given::new(Check::EnvelopeVerify, INPUT, text, context)
}

fn canonical(text: &str) -> Given {
    Given {
        check: Check::EnvelopeCanonical,
        ..given(text, &[seed::ANN], 1)
    }
}

fn says(signers: usize) -> Value {
    json!({ "payload": Digest::of(PAYLOAD), "signers": signers })
}

fn good(area: &mut Area) -> Result<(), MakeError> {
    let one = text(&[seed::ANN])?;
    let two = text(&[seed::ANN, seed::BOB])?;
    area.good(
        "one-signature",
        "One trusted key signed and one is needed.",
        given(&one, &[seed::ANN], 1),
        says(1),
    );
    area.good(
        "two-of-two",
        "Two trusted keys signed and two are needed.",
        given(&two, &[seed::ANN, seed::BOB], 2),
        says(2),
    );
    area.good(
        "one-of-two-is-enough-for-one",
        "A signature by a key that is not asked about neither helps nor harms.",
        given(&two, &[seed::BOB], 1),
        says(1),
    );
    area.good(
        "unknown-field",
        "The format says that readers ignore fields they do not know; nothing of them is signed or used.",
        given(&swap(&one, "{", "{\"extra\":1,")?, &[seed::ANN], 1),
        says(1),
    );
    let hint = public(seed::ANN).key_id().to_string();
    area.good(
        "no-key-id",
        "A key id is a hint; without one every key is tried.",
        given(&swap(&one, &hint, "")?, &[seed::ANN], 1),
        says(1),
    );
    area.good(
        "wrong-key-id",
        "A key id is not signed, so a wrong one must not keep a good signature from counting.",
        given(
            &swap(&one, &hint, &public(seed::BOB).key_id().to_string())?,
            &[seed::ANN, seed::BOB],
            1,
        ),
        says(1),
    );
    area.good(
        "canonical",
        "These are the bytes that a writer writes.",
        canonical(&one),
        says(1),
    );
    Ok(())
}

fn signatures(area: &mut Area) -> Result<(), MakeError> {
    let one = text(&[seed::ANN])?;
    let untrusted = "envelope/untrusted";
    area.bad(
        "wrong-key",
        "The signature is good, but by a key that nobody trusts for this.",
        given(&one, &[seed::BOB], 1),
        untrusted,
    );
    area.bad(
        "threshold-not-reached",
        "One of two keys signed, and two are needed.",
        given(&one, &[seed::ANN, seed::BOB], 2),
        untrusted,
    );
    let mut twice: Value = serde_json::from_str(&one)?;
    if let Some(list) = twice.get_mut("signatures").and_then(Value::as_array_mut) {
        list.extend(list.first().cloned());
    }
    area.bad(
        "same-key-id-twice",
        "One key cannot stand for two by being listed twice.",
        given(&twice.to_string(), &[seed::ANN, seed::BOB], 2),
        "envelope/signature-count",
    );
    put(&mut twice, "/signatures/1/keyid", json!(""))?;
    area.bad(
        "same-key-twice-without-hint",
        "One key cannot stand for two by hiding its id: keys are counted, not signatures.",
        given(&twice.to_string(), &[seed::ANN, seed::BOB], 2),
        untrusted,
    );
    let mut many: Value = serde_json::from_str(&one)?;
    let signature = many.pointer("/signatures/0/sig").cloned();
    put(
        &mut many,
        "/signatures",
        (0..9).map(|_| json!({ "keyid": "", "sig": signature })).collect(),
    )?;
    area.bad(
        "nine-signatures",
        "At most eight signatures are read, so that a reader's work is bounded.",
        given(&many.to_string(), &[seed::ANN], 1),
        "envelope/signature-count",
    );
    put(&mut many, "/signatures", json!([]))?;
    area.bad(
        "no-signatures",
        "An envelope without a signature says nothing.",
        given(&many.to_string(), &[seed::ANN], 1),
        "envelope/signature-count",
    );
    area.bad(
        "nothing-needed",
        "A reader that needs no signature has a mistake in its settings; it must not end in trust.",
        given(&one, &[seed::ANN], 0),
        untrusted,
    );
    Ok(())
}

fn covered(area: &mut Area) -> Result<(), MakeError> {
    let one = text(&[seed::ANN])?;
    let untrusted = "envelope/untrusted";
    let mut other: Value = serde_json::from_str(&one)?;
    put(
        &mut other,
        "/payload",
        json!(data_encoding::BASE64.encode(br#"{"note":"another payload"}"#)),
    )?;
    area.bad(
        "payload-changed",
        "The signature covers the payload's bytes.",
        given(&other.to_string(), &[seed::ANN], 1),
        untrusted,
    );
    let typed = Envelope::sign("application/json", PAYLOAD.to_vec(), &[&key(seed::ANN)])?.to_json()?;
    let typed = String::from_utf8(typed)?;
    area.bad(
        "other-payload-type",
        "Bytes signed as one type are not read as another.",
        given(&typed, &[seed::ANN], 1),
        "envelope/payload-type",
    );
    area.bad(
        "payload-type-changed",
        "The signature covers the payload's type.",
        given(&swap(&typed, "application/json", PAYLOAD_TYPE)?, &[seed::ANN], 1),
        untrusted,
    );
    Ok(())
}

fn forms(area: &mut Area) -> Result<(), MakeError> {
    let one = text(&[seed::ANN])?;
    let bare = |text: &str| given(text, &[seed::ANN], 1);
    area.bad(
        "not-json",
        "Bytes that are no JSON are refused.",
        bare("not json"),
        "codec/malformed",
    );
    area.bad(
        "cut-short",
        "Half an envelope is none.",
        bare(one.get(..one.len() / 2).unwrap_or_default()),
        "codec/malformed",
    );
    area.bad(
        "trailing-bytes",
        "Nothing may follow the envelope.",
        bare(&format!("{one}x")),
        "codec/malformed",
    );
    area.bad(
        "field-twice",
        "A repeated field would be read differently by different readers.",
        bare(&swap(&one, "{", "{\"payload\":\"\",")?),
        "codec/malformed",
    );
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    area.bad(
        "too-deep",
        "Nesting is bounded before a recursive parser sees it.",
        bare(&swap(&one, "{", &format!("{{\"extra\":{deep},"))?),
        "codec/too-deep",
    );
    let mut broken: Value = serde_json::from_str(&one)?;
    put(&mut broken, "/payload", json!("***"))?;
    area.bad(
        "payload-not-base64",
        "The payload is base64 text.",
        bare(&broken.to_string()),
        "envelope/base64",
    );
    let mut short: Value = serde_json::from_str(&one)?;
    put(&mut short, "/signatures/0/sig", json!("AAAA"))?;
    area.bad(
        "short-signature",
        "A signature has 64 bytes.",
        bare(&short.to_string()),
        "envelope/base64",
    );
    let not_canonical = "envelope/not-canonical";
    area.bad(
        "canonical-with-space",
        "Where the canonical form is asked for, as in a pack, not even a space may differ.",
        canonical(&format!("{one}\n")),
        not_canonical,
    );
    area.bad(
        "canonical-with-unknown-field",
        "Where the canonical form is asked for, no field may be added.",
        canonical(&swap(&one, "{", "{\"extra\":1,")?),
        not_canonical,
    );
    Ok(())
}
