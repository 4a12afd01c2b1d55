//! Area `key`: public keys, nkeys and the claims that the bus's server reads.

use serde_json::json;
use writ_protocol::nats::claims::{Account, Allow, Link, Scope, UserGrant, UserLimits};
use writ_protocol::nats::{NkeyKind, NkeyPair, NkeyPublic, claims};
use writ_protocol::subject::{Shard, events};

use super::{Area, Given};
use crate::case::{Check, Context, Vector};
use crate::world::{END, MakeError, NOW, identity, public, seed};

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut area = Area::new("key");
    public_keys(&mut area);
    nkeys(&mut area)?;
    jwts(&mut area)?;
    Ok(area.vectors)
}

fn given(check: Check, text: impl Into<String>) -> Given {
    Given::new(check, "input.txt", text.into(), Context::default())
}

fn public_keys(area: &mut Area) {
    let key = public(seed::ANN);
    let hex = data_encoding::HEXLOWER.encode(key.as_bytes());
    area.good(
        "public-key",
        "The key's name is the SHA-256 of its DER SubjectPublicKeyInfo.",
        given(Check::PublicKey, &hex),
        json!({ "keyId": key.key_id() }),
    );
    let identity = format!("01{}", "00".repeat(31));
    for (name, why, text) in [
        (
            "small-order-identity",
            "Under the neutral point a made-up signature verifies.",
            identity,
        ),
        ("small-order-zero", "A point of small order.", "00".repeat(32)),
        (
            "not-a-point",
            "No point of the curve has this y.",
            format!("02{}", "00".repeat(31)),
        ),
        ("short-key", "A key has 32 bytes.", "ab".repeat(31)),
        ("key-in-capitals", "Keys have one spelling.", hex.to_uppercase()),
    ] {
        area.bad(name, why, given(Check::PublicKey, text), "key/bad-public-key");
    }
}

fn pair(kind: NkeyKind, n: u8) -> NkeyPair {
    NkeyPair::from_seed_bytes(kind, &[n; 32])
}

fn nkeys(area: &mut Area) -> Result<(), MakeError> {
    for (name, kind, text) in [
        ("nkey-operator", NkeyKind::Operator, "operator"),
        ("nkey-account", NkeyKind::Account, "account"),
        ("nkey-user", NkeyKind::User, "user"),
    ] {
        let public = pair(kind, 60).public();
        let value = json!({ "kind": text, "publicKey": public.key() });
        area.good(
            name,
            "Base32 of prefix, key and CRC-16.",
            given(Check::Nkey, public.to_string()),
            value,
        );
    }
    let user = identity()?.user_key;
    let value =
        json!({ "userKey": user.as_str(), "shard": Shard::of(&user).number(), "events": events(&user) });
    area.good(
        "user-key",
        "An agent's name on the bus, the shard that follows from it, and where its batches go.",
        given(Check::UserKey, user.as_str()),
        value,
    );
    let account = pair(NkeyKind::Account, 60).public().to_string();
    area.bad(
        "account-as-user",
        "An account is no user.",
        given(Check::UserKey, &account),
        "nkey/kind",
    );
    area.bad(
        "nkey-lower-case",
        "Nkeys have one spelling.",
        given(Check::Nkey, account.to_lowercase()),
        "nkey/form",
    );
    let last = if account.ends_with('A') { "B" } else { "A" };
    let changed = format!("{}{last}", account.get(..55).unwrap_or_default());
    area.bad(
        "nkey-checksum",
        "The last character was changed.",
        given(Check::Nkey, changed),
        "nkey/form",
    );
    let seed = pair(NkeyKind::User, 60).seed();
    area.bad(
        "seed-as-nkey",
        "A private seed where a public key is wanted.",
        given(Check::Nkey, seed.as_str()),
        "nkey/form",
    );
    area.bad(
        "nkey-too-long",
        "Longer than any nkey.",
        given(Check::Nkey, "A".repeat(10_000)),
        "nkey/form",
    );
    Ok(())
}

fn value(jwt: &str) -> Result<serde_json::Value, MakeError> {
    let body = jwt.split('.').nth(1).ok_or("claims have three parts")?;
    Ok(serde_json::from_slice(
        &data_encoding::BASE64URL_NOPAD.decode(body.as_bytes())?,
    )?)
}

fn jwts(area: &mut Area) -> Result<(), MakeError> {
    let operator = pair(NkeyKind::Operator, 60);
    let signer = pair(NkeyKind::Operator, 61);
    let account = pair(NkeyKind::Account, 62);
    let scoped = pair(NkeyKind::Account, 63);
    let user: NkeyPublic = identity()?.user_key.as_str().parse()?;
    let issued = claims::operator("writ", &operator, &[signer.public()], &account.public(), NOW)?;
    area.good(
        "claims-operator",
        "The operator signs itself and names its signing key.",
        given(Check::Claims, &issued),
        value(&issued)?,
    );
    let scope = Scope {
        key: scoped.public(),
        role: "agent".to_owned(),
        allow: Allow {
            publish: vec!["up.{{subject()}}".to_owned()],
            subscribe: vec!["_INBOX.{{subject()}}.>".to_owned()],
            responses: None,
        },
        limits: UserLimits {
            subscriptions: 16,
            payload: 1_024,
        },
    };
    let agents = Account {
        name: "AGENTS".to_owned(),
        key: account.public(),
        signing_keys: vec![],
        scopes: vec![scope],
        links: vec![
            Link::ExportStream("up.*".to_owned()),
            Link::ImportService("ask".to_owned(), pair(NkeyKind::Account, 64).public()),
        ],
        jetstream_bytes: None,
        revocations: [].into(),
    };
    let issued = claims::account(&agents, &signer, NOW)?;
    area.good(
        "claims-account",
        "A scoped signing key can only make users of one shape; limits that do not hold are written as -1.",
        given(Check::Claims, &issued),
        value(&issued)?,
    );
    let account_key = account.public();
    let grant = UserGrant {
        name: "web-1",
        user: &user,
        account: &account_key,
        expires_at: Some(END),
        allow: None,
    };
    let issued = claims::user(&grant, &scoped, NOW)?;
    area.good(
        "claims-user",
        "A user under a scoped key carries no permissions of its own, an expiry, and the account that it belongs to.",
        given(Check::Claims, &issued),
        value(&issued)?,
    );
    let (head, _) = issued.rsplit_once('.').ok_or("claims have three parts")?;
    let forged = format!("{head}.{}", "A".repeat(86));
    area.bad(
        "claims-forged",
        "The signature is not the issuer's.",
        given(Check::Claims, forged),
        "claims/signature",
    );
    Ok(())
}
