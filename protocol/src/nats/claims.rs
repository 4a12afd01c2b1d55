//! NATS JWTs: operator, account and user claims, signed. The encoder is deliberately small: the fields Writ uses and no others.
//!
//! Facts of the format: no padding in base64url; a limit that is absent counts as 0, so "unlimited" is written as -1; a user signed by a
//! scoped key carries no permissions of its own.

use std::collections::BTreeMap;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use serde::Serialize;
use serde_json::{Value, json};

use super::nkey::{NkeyError, NkeyKind, NkeyPair, NkeyPublic};
use crate::codec::{self, CodecError};
use crate::digest::Digest;
use crate::time::Timestamp;

/// Why a claim could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// Encoding.
    #[error("claims cannot be encoded")]
    Codec(#[from] CodecError),
    /// The signer or subject is of the wrong kind.
    #[error("claims name a key of the wrong kind")]
    Key(#[from] NkeyError),
}

/// Subjects that may be published or subscribed to; everything else is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Allow {
    /// May publish.
    pub publish: Vec<String>,
    /// May subscribe.
    pub subscribe: Vec<String>,
    /// May answer a request on its reply subject: how many messages and for how long, seconds.
    pub responses: Option<(u32, u32)>,
}

impl Allow {
    fn to_json(&self) -> Value {
        let mut permissions = json!({ "pub": { "allow": self.publish }, "sub": { "allow": self.subscribe } });
        if let (Some((max, ttl)), Some(map)) = (self.responses, permissions.as_object_mut()) {
            map.insert(
                "resp".to_owned(),
                json!({ "max": max, "ttl": u64::from(ttl) * 1_000_000_000 }),
            );
        }
        permissions
    }
}

/// Limits of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimits {
    /// Most subscriptions; -1 for no limit.
    pub subscriptions: i64,
    /// Longest payload, bytes; -1 for the server's.
    pub payload: i64,
}

impl UserLimits {
    /// No limits: for controllers.
    pub const NONE: Self = Self {
        subscriptions: -1,
        payload: -1,
    };
}

/// A signing key that can only make users of one shape.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The signing key's public half.
    pub key: NkeyPublic,
    /// Name of the shape.
    pub role: String,
    /// What its users may do; may hold `{{subject()}}`, the user's own nkey.
    pub allow: Allow,
    /// Limits of its users.
    pub limits: UserLimits,
}

/// One subject that an account offers to others, or takes from another.
#[derive(Clone, Debug)]
pub enum Link {
    /// Offers a service: others send requests, we answer.
    ExportService(String),
    /// Offers a stream: others listen.
    ExportStream(String),
    /// Uses another account's service.
    ImportService(String, NkeyPublic),
    /// Listens to another account's stream.
    ImportStream(String, NkeyPublic),
}

/// An account to be signed.
#[derive(Clone, Debug)]
pub struct Account {
    /// For people.
    pub name: String,
    /// Its key.
    pub key: NkeyPublic,
    /// Keys that may sign any user of it.
    pub signing_keys: Vec<NkeyPublic>,
    /// Keys that may sign users of one shape.
    pub scopes: Vec<Scope>,
    /// What it offers and takes.
    pub links: Vec<Link>,
    /// Whether it may use JetStream, and with how many bytes of disk.
    pub jetstream_bytes: Option<i64>,
    /// Users issued before the given second no longer count, by user nkey (`*` for all).
    pub revocations: BTreeMap<String, i64>,
}

/// Signs an operator's claims.
///
/// # Errors
/// [`ClaimsError`].
pub fn operator(
    name: &str,
    operator: &NkeyPair,
    signing_keys: &[NkeyPublic],
    system_account: &NkeyPublic,
    now: Timestamp,
) -> Result<String, ClaimsError> {
    let nats = json!({
        "signing_keys": texts(signing_keys),
        "system_account": system_account.to_string(),
        "strict_signing_key_usage": true,
        "type": "operator",
        "version": 2,
    });
    encode(name, &operator.public(), operator, Life::endless(now), &nats)
}

/// Signs an account's claims with an operator signing key.
///
/// # Errors
/// [`ClaimsError`].
pub fn account(account: &Account, operator_signer: &NkeyPair, now: Timestamp) -> Result<String, ClaimsError> {
    let mut signing_keys: Vec<Value> = texts(&account.signing_keys)
        .into_iter()
        .map(Value::String)
        .collect();
    signing_keys.extend(account.scopes.iter().map(|scope| {
        json!({
            "kind": "user_scope",
            "key": scope.key.to_string(),
            "role": scope.role,
            "template": user_template(&scope.allow, scope.limits),
        })
    }));
    let disk = account.jetstream_bytes.unwrap_or(0);
    let (streams, consumers, memory) = if disk == 0 { (0, 0, 0) } else { (-1, -1, 0) };
    let nats = json!({
        "imports": account.links.iter().filter_map(import).collect::<Vec<_>>(),
        "exports": account.links.iter().filter_map(export).collect::<Vec<_>>(),
        "limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": 0,
            "mem_storage": memory, "disk_storage": disk, "streams": streams, "consumer": consumers,
            "max_ack_pending": -1, "mem_max_stream_bytes": 0, "disk_max_stream_bytes": 0, "max_bytes_required": true,
        },
        "signing_keys": signing_keys,
        "revocations": account.revocations,
        "default_permissions": { "pub": { "deny": [">"] }, "sub": { "deny": [">"] } },
        "authorization": {},
        "type": "account",
        "version": 2,
    });
    encode(
        &account.name,
        &account.key,
        operator_signer,
        Life::endless(now),
        &nats,
    )
}

/// Signs a user's claims with an account signing key; without `allow` the signer must be a scoped key, which brings the permissions.
///
/// # Errors
/// [`ClaimsError`].
pub fn user(grant: &UserGrant<'_>, signer: &NkeyPair, now: Timestamp) -> Result<String, ClaimsError> {
    if grant.user.kind() != NkeyKind::User {
        return Err(NkeyError::Kind {
            wanted: NkeyKind::User,
        }
        .into());
    }
    let mut nats = match &grant.allow {
        Some((allow, limits)) => user_template(allow, *limits),
        None => json!({ "pub": {}, "sub": {} }),
    };
    if let Some(map) = nats.as_object_mut() {
        map.insert(
            "issuer_account".to_owned(),
            Value::String(grant.account.to_string()),
        );
        map.insert("type".to_owned(), json!("user"));
        map.insert("version".to_owned(), json!(2));
    }
    encode(
        grant.name,
        grant.user,
        signer,
        Life {
            issued_at: now,
            expires_at: grant.expires_at,
        },
        &nats,
    )
}

/// A user to be signed.
#[derive(Clone, Debug)]
pub struct UserGrant<'a> {
    /// For people.
    pub name: &'a str,
    /// Its key.
    pub user: &'a NkeyPublic,
    /// The account it belongs to.
    pub account: &'a NkeyPublic,
    /// After this the server cuts it off.
    pub expires_at: Option<Timestamp>,
    /// Its own permissions; none under a scoped key.
    pub allow: Option<(Allow, UserLimits)>,
}

fn user_template(allow: &Allow, limits: UserLimits) -> Value {
    let mut template = allow.to_json();
    if let Some(map) = template.as_object_mut() {
        map.insert("subs".to_owned(), json!(limits.subscriptions));
        map.insert("data".to_owned(), json!(-1));
        map.insert("payload".to_owned(), json!(limits.payload));
        map.insert("allowed_connection_types".to_owned(), json!(["STANDARD"]));
    }
    template
}

fn export(link: &Link) -> Option<Value> {
    match link {
        Link::ExportService(subject) => Some(
            json!({ "name": subject, "subject": subject, "type": "service", "response_type": "Singleton" }),
        ),
        Link::ExportStream(subject) => Some(json!({ "name": subject, "subject": subject, "type": "stream" })),
        Link::ImportService(..) | Link::ImportStream(..) => None,
    }
}

fn import(link: &Link) -> Option<Value> {
    let (subject, account, kind) = match link {
        Link::ImportService(subject, account) => (subject, account, "service"),
        Link::ImportStream(subject, account) => (subject, account, "stream"),
        Link::ExportService(_) | Link::ExportStream(_) => return None,
    };
    let account = account.to_string();
    Some(
        json!({ "name": subject, "subject": subject, "account": account, "local_subject": subject, "type": kind }),
    )
}

fn texts(keys: &[NkeyPublic]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

/// When claims begin and, where they do, end.
#[derive(Clone, Copy)]
struct Life {
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl Life {
    const fn endless(issued_at: Timestamp) -> Self {
        Self {
            issued_at,
            expires_at: None,
        }
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    iat: i64,
    iss: String,
    jti: &'a str,
    name: &'a str,
    nats: &'a Value,
    sub: String,
}

fn encode(
    name: &str,
    subject: &NkeyPublic,
    signer: &NkeyPair,
    life: Life,
    nats: &Value,
) -> Result<String, ClaimsError> {
    let (iss, sub) = (signer.public().to_string(), subject.to_string());
    let exp = life.expires_at.map(Timestamp::as_secs);
    let mut claims = Claims {
        exp,
        iat: life.issued_at.as_secs(),
        iss,
        jti: "",
        name,
        nats,
        sub,
    };
    let jti = BASE32_NOPAD.encode(Digest::of(&codec::to_json("claims", &claims)?).as_bytes());
    claims.jti = &jti;
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let body = BASE64URL_NOPAD.encode(&codec::to_json("claims", &claims)?);
    let signed = format!("{header}.{body}");
    let signature = BASE64URL_NOPAD.encode(&signer.sign(signed.as_bytes()));
    Ok(format!("{signed}.{signature}"))
}

/// The instant after which a user's claims no longer hold, read from the claims without checking them: for renewing in time.
pub fn expiry(jwt: &str) -> Option<Timestamp> {
    let body = BASE64URL_NOPAD.decode(jwt.split('.').nth(1)?.as_bytes()).ok()?;
    let claims: Value = codec::from_json("claims", &body, 64 << 10).ok()?;
    claims
        .get("exp")?
        .as_i64()
        .map(|secs| Timestamp::from_millis(secs.saturating_mul(1_000)))
}
