//! Area `enrol`: join tokens, requests to enrol, and the registry's word on an agent's keys.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use writ_protocol::digest::Digest;
use writ_protocol::enrol::{self, AgentKeys, EnrolRequest, JoinToken};
use writ_protocol::statement::{self, Subject};

use super::{Area, Given, swap};
use crate::case::{Check, Context, Vector};
use crate::world::{BEGIN, END, MakeError, NOW, TENANT, context, identity, ids, key, pinned, public, seed};

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut area = Area::new("enrol");
    tokens(&mut area)?;
    requests(&mut area)?;
    registry(&mut area)?;
    Ok(area.vectors)
}

/// The token's JSON, written by hand: its seed is 32 times 50, which nothing in the protocol would choose.
fn token_json() -> Result<String, MakeError> {
    Ok(json!({
        "tokenId": ids()?.token,
        "tenant": TENANT,
        "seed": "32".repeat(32),
        "userJwt": "header.claims.signature",
        "servers": ["tls://bus.example:4222"],
        "caPem": "-----BEGIN CERTIFICATE-----\n",
        "root": pinned()?,
        "expiresAt": END,
    })
    .to_string())
}

fn text(json: &str) -> String {
    format!("writ1.{}", BASE64URL_NOPAD.encode(json.as_bytes()))
}

fn tokens(area: &mut Area) -> Result<(), MakeError> {
    let given = |text: String| Given::new(Check::JoinToken, "token.txt", text, Context::default());
    let json = token_json()?;
    let token = JoinToken::parse(&text(&json))?;
    let value = json!({
        "tokenId": ids()?.token,
        "tenant": TENANT,
        "login": token.seed().login().public().to_string(),
        "signer": token.seed().signer().public(),
        "root": pinned()?,
    });
    area.good(
        "token",
        "Two keys follow from its seed: one logs in, one signs the request.",
        given(text(&json)),
        value,
    );
    let malformed = "codec/malformed";
    area.bad(
        "token-other-prefix",
        "The prefix names the form.",
        given(text(&json).replacen("writ1", "writ2", 1)),
        malformed,
    );
    area.bad(
        "token-not-base64",
        "The rest is base64url without padding.",
        given("writ1.{}".to_owned()),
        malformed,
    );
    area.bad(
        "token-unknown-field",
        "A field that this reader does not know.",
        given(text(&swap(&json, "{", "{\"admin\":true,")?)),
        malformed,
    );
    area.bad(
        "token-too-long",
        "Longer than a token may be.",
        given(format!("writ1.{}", "A".repeat(enrol::TOKEN_BYTES_MAX))),
        "codec/too-long",
    );
    let mut half = text(&json);
    half.truncate(half.len() / 2);
    area.bad(
        "token-cut-short",
        "A token that was not copied whole.",
        given(half),
        malformed,
    );
    Ok(())
}

fn requests(area: &mut Area) -> Result<(), MakeError> {
    let seed = JoinToken::parse(&text(&token_json()?))?.seed();
    let request = EnrolRequest {
        token_id: ids()?.token,
        tenant: TENANT.to_owned(),
        user_key: identity()?.user_key,
        artefact_key: public(seed::ARTEFACT),
        journal_id: ids()?.journal,
        machine: Digest::of(b"machine"),
        hostname: "web-1".to_owned(),
        facts: BTreeMap::from([
            ("os".to_owned(), "debian".to_owned()),
            ("arch".to_owned(), "x86_64".to_owned()),
        ]),
        sent_at: NOW,
    };
    let given = |bytes: Vec<u8>| {
        let context = Context {
            keys: vec![seed.signer().public()],
            ..Context::default()
        };
        Given::new(Check::EnrolRequest, "statement.json", bytes, context)
    };
    let (token, artefact) = (seed.signer(), key(seed::ARTEFACT));
    let signed = enrol::sign_request(request.clone(), &seed, &artefact)?;
    area.good(
        "request",
        "Signed by the token's key and by the new artefact key: the host holds both.",
        given(signed.to_json()?),
        json!(request),
    );
    let subject = vec![Subject::new("user", &Digest::of(b"user"))];
    let stranger = key(seed::STRANGER);
    for (name, why, keys) in [
        (
            "request-by-the-token-alone",
            "The new key has not shown that it exists.",
            vec![&token],
        ),
        (
            "request-by-the-new-key-alone",
            "No token, no agent.",
            vec![&artefact],
        ),
        (
            "request-with-another-token",
            "Signed by a token's key that is not the one named.",
            vec![&artefact, &stranger],
        ),
    ] {
        let envelope = statement::sign(subject.clone(), request.clone(), &keys)?;
        area.bad(name, why, given(envelope.to_json()?), "envelope/untrusted");
    }
    let weak = EnrolRequest {
        artefact_key: seed.signer().public(),
        ..request
    };
    let envelope = statement::sign(subject, weak, &[&token])?;
    area.bad(
        "request-names-the-token-as-its-key",
        "One key cannot stand for both: a key counts once.",
        given(envelope.to_json()?),
        "envelope/untrusted",
    );
    Ok(())
}

fn registry(area: &mut Area) -> Result<(), MakeError> {
    let me = identity()?;
    let keys = AgentKeys {
        tenant: me.tenant,
        agent_id: me.agent_id,
        name: "web-1".to_owned(),
        user_key: me.user_key,
        artefact_key: public(seed::ARTEFACT),
        not_before: BEGIN,
    };
    let sign = |seed| -> Result<Given, MakeError> {
        let bytes = enrol::sign_keys(keys.clone(), &key(seed))?.to_json()?;
        Ok(Given::new(Check::AgentKeys, "statement.json", bytes, context()?))
    };
    area.good(
        "agent-keys",
        "The registry says which keys an agent has.",
        sign(seed::REGISTRY)?,
        json!(keys),
    );
    area.bad(
        "agent-keys-by-the-agent",
        "An agent cannot vouch for itself.",
        sign(seed::ARTEFACT)?,
        "envelope/untrusted",
    );
    area.bad(
        "agent-keys-by-the-director",
        "Who orders does not say who is who.",
        sign(seed::DIRECTOR)?,
        "envelope/untrusted",
    );
    Ok(())
}
