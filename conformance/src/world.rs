//! The fixed world of all vectors: one tenant, its root, its roles' keys, one agent, one instant. Every key follows from a one-byte seed, so
//! that anyone can make the same ones; nothing here guards anything.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::id::{AgentId, HaltId, JoinTokenId, JournalId, OrderId, RunId, SessionId};
use writ_protocol::key::{PublicKey, SigningKey};
use writ_protocol::manifest::Identity;
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::statement;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::{self, Role, RoleKeys, Root, TrustPolicy, TrustedKey};

use crate::case::Context;

/// Why a vector could not be made: always a mistake in this crate.
pub type MakeError = Box<dyn std::error::Error + Send + Sync>;

/// The tenant.
pub const TENANT: &str = "acme";
/// The instant at which readers read: 2026-11-21T12:00:00Z.
pub const NOW: Timestamp = Timestamp::from_millis(1_795_262_400_000);
/// The first day of every key: 2026-01-01T00:00:00Z.
pub const BEGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// The last day of every key: 2036-01-01T00:00:00Z.
pub const END: Timestamp = Timestamp::from_millis(2_082_758_400_000);

/// Seeds of the keys: every byte of the seed has this value.
pub mod seed {
    /// Root key of `ann`.
    pub const ANN: u8 = 1;
    /// Root key of `bob`.
    pub const BOB: u8 = 2;
    /// Second root key of `ann`.
    pub const ANN_TOO: u8 = 3;
    /// Role `plan`.
    pub const PLAN: u8 = 10;
    /// Role `director`.
    pub const DIRECTOR: u8 = 11;
    /// Role `registry`.
    pub const REGISTRY: u8 = 12;
    /// Role `control`.
    pub const CONTROL: u8 = 13;
    /// Role `control-lift`, held by `carol`.
    pub const CAROL: u8 = 14;
    /// Role `control-lift`, held by `dave`.
    pub const DAVE: u8 = 15;
    /// Role `control-lift`, held by `carol` too.
    pub const CAROL_TOO: u8 = 16;
    /// Role `evidence`.
    pub const EVIDENCE: u8 = 17;
    /// Role `director`, revoked an hour before [`super::NOW`].
    pub const REVOKED: u8 = 18;
    /// Role `director`, valid from a year after [`super::NOW`].
    pub const FUTURE: u8 = 19;
    /// The agent's artefact key.
    pub const ARTEFACT: u8 = 30;
    /// A key that nobody trusts.
    pub const STRANGER: u8 = 99;
}

/// The key whose seed is 32 times `n`.
pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

/// Its public half.
pub fn public(n: u8) -> PublicKey {
    key(n).public()
}

/// An id whose UUID is `n`.
///
/// # Errors
/// Never for the prefixes that exist.
pub fn id<T: FromStr>(prefix: &str, n: u32) -> Result<T, MakeError>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    Ok(format!("{prefix}_0193{n:028x}").parse::<T>()?)
}

/// The ids that vectors use.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    /// The agent.
    pub agent: AgentId,
    /// Another agent.
    pub other_agent: AgentId,
    /// The run.
    pub run: RunId,
    /// The order.
    pub order: OrderId,
    /// The journal.
    pub journal: JournalId,
    /// The session.
    pub session: SessionId,
    /// The halt.
    pub halt: HaltId,
    /// The join token.
    pub token: JoinTokenId,
}

/// The ids.
///
/// # Errors
/// Never.
pub fn ids() -> Result<Ids, MakeError> {
    Ok(Ids {
        agent: id("agent", 1)?,
        other_agent: id("agent", 2)?,
        run: id("run", 1)?,
        order: id("order", 1)?,
        journal: id("journal", 1)?,
        session: id("session", 1)?,
        halt: id("halt", 1)?,
        token: id("join", 1)?,
    })
}

/// The agent.
///
/// # Errors
/// Never.
pub fn identity() -> Result<Identity, MakeError> {
    Ok(Identity {
        tenant: TENANT.to_owned(),
        agent_id: ids()?.agent,
        user_key: NkeyPair::from_seed_bytes(NkeyKind::User, &[40; 32]).user_key()?,
    })
}

/// Another agent of the same tenant.
///
/// # Errors
/// Never.
pub fn other_identity() -> Result<Identity, MakeError> {
    Ok(Identity {
        tenant: TENANT.to_owned(),
        agent_id: ids()?.other_agent,
        user_key: NkeyPair::from_seed_bytes(NkeyKind::User, &[41; 32]).user_key()?,
    })
}

/// A key of a role.
pub fn trusted(n: u8, principal: &str) -> TrustedKey {
    TrustedKey {
        public_key: public(n),
        principal: principal.to_owned(),
        not_before: BEGIN,
        not_after: END,
    }
}

/// A role's keys.
pub fn role(threshold: u8, keys: &[(u8, &str)]) -> RoleKeys {
    RoleKeys {
        threshold,
        keys: keys.iter().map(|(n, principal)| trusted(*n, principal)).collect(),
    }
}

/// The root: two of `ann` and `bob`.
pub fn root() -> Root {
    Root {
        version: 1,
        expires_at: END,
        keys: role(
            2,
            &[(seed::ANN, "ann"), (seed::BOB, "bob"), (seed::ANN_TOO, "ann")],
        ),
    }
}

/// The trust policy.
pub fn policy() -> TrustPolicy {
    policy_at(NOW)
}

/// The trust policy as it would be at another instant: one key was withdrawn an hour before it, and the first day of another is a year away.
pub fn policy_at(now: Timestamp) -> TrustPolicy {
    let mut director = role(
        1,
        &[(seed::DIRECTOR, "controller"), (seed::REVOKED, "controller")],
    );
    director.keys.push(TrustedKey {
        not_before: now.plus(Duration::from_secs(365 * 86_400)),
        ..trusted(seed::FUTURE, "controller")
    });
    let lift = [
        (seed::CAROL, "carol"),
        (seed::DAVE, "dave"),
        (seed::CAROL_TOO, "carol"),
    ];
    TrustPolicy {
        tenant: TENANT.to_owned(),
        epoch: 1,
        version: 5,
        issued_at: BEGIN,
        expires_at: END,
        roles: BTreeMap::from([
            (Role::Plan, role(1, &[(seed::PLAN, "controller")])),
            (Role::Director, director),
            (Role::Registry, role(1, &[(seed::REGISTRY, "controller")])),
            (Role::Control, role(1, &[(seed::CONTROL, "controller")])),
            (Role::ControlLift, role(2, &lift)),
            (Role::Evidence, role(1, &[(seed::EVIDENCE, "controller")])),
        ]),
        revoked: vec![trust::RevokedKey {
            key_id: public(seed::REVOKED).key_id(),
            at: now.minus(Duration::from_secs(3_600)),
            reason: "laptop lost".to_owned(),
        }],
    }
}

/// The root's envelope.
///
/// # Errors
/// Never.
pub fn root_envelope() -> Result<Envelope, MakeError> {
    Ok(trust::sign_root(root(), &[&key(seed::ANN), &key(seed::BOB)])?)
}

/// The fingerprint by which readers pin it.
///
/// # Errors
/// Never.
pub fn pinned() -> Result<Digest, MakeError> {
    Ok(trust::fingerprint(&root_envelope()?))
}

/// Signs a policy as the root does.
///
/// # Errors
/// Never.
pub fn sign_policy(policy: TrustPolicy) -> Result<Vec<u8>, MakeError> {
    Ok(trust::sign_policy(policy, &[&key(seed::ANN), &key(seed::BOB)])?.to_json()?)
}

/// A context with root, policy and instant.
///
/// # Errors
/// Never.
pub fn context() -> Result<Context, MakeError> {
    Ok(Context {
        root: Some("world/root.json".to_owned()),
        pinned: Some(pinned()?),
        policy: Some("world/policy.json".to_owned()),
        at: Some(NOW),
        ..Context::default()
    })
}

/// Signs any text as a statement's payload: for payloads that the protocol's own writer would not write.
///
/// # Errors
/// Never.
pub fn sign_raw(payload: impl Into<Vec<u8>>, n: u8) -> Result<Vec<u8>, MakeError> {
    Ok(Envelope::sign(statement::PAYLOAD_TYPE, payload.into(), &[&key(n)])?.to_json()?)
}

/// The payload of an envelope as text, to be changed and signed again.
///
/// # Errors
/// Never for statements.
pub fn payload(envelope: &Envelope) -> Result<String, MakeError> {
    Ok(String::from_utf8(envelope.unverified_payload().to_vec())?)
}

/// Files of the world: everything that cases refer to, and the keys for whoever wants to sign more.
///
/// # Errors
/// Never.
pub fn files() -> Result<BTreeMap<String, Vec<u8>>, MakeError> {
    let named: [(&str, u8); 15] = [
        ("root/ann", seed::ANN),
        ("root/bob", seed::BOB),
        ("root/ann-too", seed::ANN_TOO),
        ("plan", seed::PLAN),
        ("director", seed::DIRECTOR),
        ("director/revoked", seed::REVOKED),
        ("director/future", seed::FUTURE),
        ("registry", seed::REGISTRY),
        ("control", seed::CONTROL),
        ("control-lift/carol", seed::CAROL),
        ("control-lift/dave", seed::DAVE),
        ("control-lift/carol-too", seed::CAROL_TOO),
        ("evidence", seed::EVIDENCE),
        ("agent/artefact", seed::ARTEFACT),
        ("stranger", seed::STRANGER),
    ];
    let mut keys = serde_json::Map::new();
    for (name, n) in named {
        let seed_hex = format!("{n:02x}").repeat(32);
        let key = public(n);
        let entry = serde_json::json!({ "seed": seed_hex, "publicKey": key, "keyId": key.key_id(), "pem": key.to_pem()? });
        keys.insert(name.to_owned(), entry);
    }
    let mut keys = serde_json::to_vec_pretty(&keys)?;
    keys.push(b'\n');
    let mut agent = serde_json::to_vec_pretty(&identity()?)?;
    agent.push(b'\n');
    Ok(BTreeMap::from([
        ("agent.json".to_owned(), agent),
        ("keys.json".to_owned(), keys),
        ("policy.json".to_owned(), sign_policy(policy())?),
        ("root.json".to_owned(), root_envelope()?.to_json()?),
    ]))
}
