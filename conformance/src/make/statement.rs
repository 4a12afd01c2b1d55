//! Area `statement`: in-toto statements, with a request for new credentials as the example.

use serde_json::json;
use writ_protocol::envelope::Envelope;
use writ_protocol::hello::{self, RenewRequest};

use super::{Area, Given, put, swap};
use crate::case::{Check, Context, Vector};
use crate::world::{MakeError, NOW, identity, key, payload, public, seed, sign_raw};

const INPUT: &str = "statement.json";

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut area = Area::new("statement");
    let request = RenewRequest {
        identity: identity()?,
        sent_at: NOW,
    };
    let signed: Envelope = hello::sign(&identity()?, request.clone(), &key(seed::ARTEFACT))?;
    area.good(
        "renew",
        "A statement of the wanted kind, with a subject, signed by the wanted key.",
        given(signed.to_json()?),
        json!(request),
    );
    let text = payload(&signed)?;
    for (name, why, from, to, error) in CHANGES {
        area.bad(
            name,
            why,
            given(sign_raw(swap(&text, from, to)?, seed::ARTEFACT)?),
            error,
        );
    }
    let mut nothing: serde_json::Value = serde_json::from_str(&text)?;
    put(&mut nothing, "/subject", json!([]))?;
    area.bad(
        "no-subject",
        "A claim about nothing says nothing.",
        given(sign_raw(nothing.to_string(), seed::ARTEFACT)?),
        "statement/subjects",
    );
    area.bad(
        "payload-not-json",
        "A payload that is no JSON is refused although its signature is good.",
        given(sign_raw("not json", seed::ARTEFACT)?),
        "codec/malformed",
    );
    area.bad(
        "wrong-signer",
        "The same statement signed by another key.",
        given(sign_raw(text, seed::STRANGER)?),
        "envelope/untrusted",
    );
    Ok(area.vectors)
}

fn given(bytes: Vec<u8>) -> Given {
    let context = Context {
        keys: vec![public(seed::ARTEFACT)],
        needed: Some(1),
        ..Context::default()
    };
    Given::new(Check::StatementOpen, INPUT, bytes, context)
}

/// Name, why, what to change in the payload, into what, and the refusal. All are signed by the right key.
const CHANGES: [(&str, &str, &str, &str, &str); 12] = [
    (
        "unknown-field",
        "A field that this reader does not know may change what the statement means.",
        "\"predicate\":",
        "\"validUntil\":\"never\",\"predicate\":",
        "codec/malformed",
    ),
    (
        "unknown-predicate-field",
        "The same within the claim.",
        "\"sentAt\":",
        "\"onlyIf\":true,\"sentAt\":",
        "codec/malformed",
    ),
    (
        "missing-field",
        "A field that is not there is not guessed.",
        "\"tenant\":\"acme\",",
        "",
        "codec/malformed",
    ),
    (
        "field-twice",
        "A repeated field would be read differently by different readers.",
        "\"tenant\":\"acme\",",
        "\"tenant\":\"acme\",\"tenant\":\"other\",",
        "codec/malformed",
    ),
    (
        "digest-twice",
        "A repeated digest of one algorithm would be read differently by different readers.",
        "\"digest\":{",
        "\"digest\":{\"sha256\":\"00\",",
        "codec/malformed",
    ),
    (
        "wrong-statement-type",
        "An older or newer form of statement is not guessed at.",
        "https://in-toto.io/Statement/v1",
        "https://in-toto.io/Statement/v0.1",
        "statement/type",
    ),
    (
        "other-predicate",
        "A claim of one kind is never read as another.",
        "https://writ.dev/renew/v1",
        "https://writ.dev/hello/v1",
        "statement/type",
    ),
    (
        "later-predicate-version",
        "The version stands in the type's name, so that an old reader refuses what it cannot know.",
        "https://writ.dev/renew/v1",
        "https://writ.dev/renew/v2",
        "statement/type",
    ),
    (
        "subject-without-sha256",
        "A subject is bytes, and Writ knows bytes by SHA-256.",
        "\"sha256\"",
        "\"md5\"",
        "statement/subjects",
    ),
    (
        "subject-digest-in-capitals",
        "Digests have one spelling.",
        "\"sha256\":\"",
        "\"sha256\":\"ABCDEF",
        "statement/subjects",
    ),
    (
        "bad-instant",
        "Instants are RFC 3339 text.",
        "2026-11-21T12:00:00Z",
        "21 November 2026",
        "codec/malformed",
    ),
    (
        "trailing-text",
        "Nothing may follow the statement.",
        "\"sentAt\":\"2026-11-21T12:00:00Z\"}}",
        "\"sentAt\":\"2026-11-21T12:00:00Z\"}}{}",
        "codec/malformed",
    ),
];
