//! Inputs that need no keyring: graphs, frames, records, hellos, tokens, keys and bus claims.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};
use writ_protocol::enrol::JoinToken;
use writ_protocol::frame::Frame;
use writ_protocol::graph::Graph;
use writ_protocol::hello::Hello;
use writ_protocol::key::{PublicKey, Signature};
use writ_protocol::nats::{NkeyPublic, UserKey};
use writ_protocol::record::Record;
use writ_protocol::trust::Keyring;

use super::{Outcome, Refusal};

pub(super) fn graph(input: &[u8]) -> Outcome {
    Ok(json!(Graph::decode(input)?))
}

pub(super) fn frame(input: &[u8]) -> Outcome {
    let (frame, taken) = Frame::parse(input)?;
    Ok(json!({
        "kind": frame.kind,
        "seq": frame.seq,
        "bootNs": frame.boot_ns,
        "wall": frame.wall,
        "payloadHex": HEXLOWER.encode(frame.payload),
        "taken": taken,
        "linkFromZero": frame.link(&writ_protocol::digest::Digest::ZERO),
    }))
}

pub(super) fn record(input: &[u8]) -> Outcome {
    let (frame, _) = Frame::parse(input)?;
    Ok(match Record::decode(&frame)? {
        None => json!({ "kind": "unknown" }),
        Some(record) => json!({ "kind": record.kind().name(), "fields": fields(&record) }),
    })
}

/// A record as people read it: its fields, with bytes in hexadecimal digits.
pub(crate) fn fields(record: &Record) -> Value {
    match record {
        Record::SessionStart(r) => json!(r),
        Record::HighWater(r) => json!(r),
        Record::OrderAccepted(r) => json!(r),
        Record::OrderRefused(r) => json!(r),
        Record::StepIntent(r) => json!(r),
        Record::StepResult(r) => json!(r),
        Record::BlobChunk(r) => hexed(json!(r), "bytes", &r.bytes),
        Record::Signed(r) => hexed(json!(r), "envelope", &r.envelope),
        Record::OrderDone(r) => json!(r),
        Record::Alarm(r) => json!(r),
        Record::ManifestRefused(r) => json!(r),
        Record::HaltObserved(r) => json!(r),
        Record::DriftSeen(r) => json!(r),
    }
}

fn hexed(mut fields: Value, name: &str, bytes: &[u8]) -> Value {
    if let Some(slot) = fields.get_mut(name) {
        *slot = Value::String(HEXLOWER.encode(bytes));
    }
    fields
}

pub(super) fn hello(input: &[u8], key: &PublicKey) -> Outcome {
    Ok(json!(Keyring::open_agent::<Hello>(input, key)?.predicate))
}

pub(super) fn join_token(text: &str) -> Outcome {
    let token = JoinToken::parse(text)?;
    Ok(json!({
        "tokenId": token.token_id,
        "tenant": token.tenant,
        "login": token.seed().login().public().to_string(),
        "signer": token.seed().signer().public(),
        "root": token.root,
    }))
}

pub(super) fn nkey(text: &str) -> Outcome {
    let key: NkeyPublic = text.parse()?;
    let kind = format!("{:?}", key.kind()).to_lowercase();
    Ok(json!({ "kind": kind, "publicKey": key.key() }))
}

pub(super) fn user_key(text: &str) -> Outcome {
    let key: UserKey = text.parse()?;
    let shard = writ_protocol::subject::Shard::of(&key).number();
    Ok(json!({ "userKey": key.as_str(), "shard": shard, "events": writ_protocol::subject::events(&key) }))
}

pub(super) fn public_key(text: &str) -> Outcome {
    let bytes = HEXLOWER
        .decode(text.as_bytes())
        .map_err(|_| Refusal::new("key/bad-public-key"))?;
    let key = PublicKey::from_slice(&bytes)?;
    Ok(json!({ "keyId": key.key_id() }))
}

/// A reader of bus claims is the bus's server; this is what it checks of the form: three parts, and the issuer's signature over two of them.
pub(super) fn claims(text: &str) -> Outcome {
    let form = || Refusal::new("claims/form");
    let (signed, signature) = text.rsplit_once('.').ok_or_else(form)?;
    let (_, body) = signed.split_once('.').ok_or_else(form)?;
    let body = BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| form())?;
    let claims: Value = writ_protocol::codec::from_json("claims", &body, 64 << 10)?;
    let issuer: NkeyPublic = claims
        .get("iss")
        .and_then(Value::as_str)
        .ok_or_else(form)?
        .parse()?;
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| form())?;
    let signature: [u8; 64] = signature.try_into().map_err(|_| form())?;
    if !issuer
        .key()
        .verify_detached(signed.as_bytes(), &Signature::from_bytes(signature))
    {
        return Err(Refusal::new("claims/signature"));
    }
    Ok(claims)
}
