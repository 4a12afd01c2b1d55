//! The keys and first documents of the simulated tenant: made once, the same in every run.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use uuid::Uuid;
use writ_agent::identity::{Card, Identity, Login};
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, JournalId};
use writ_protocol::key::{PublicKey, SigningKey};
use writ_protocol::manifest::Identity as Name;
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::time::Timestamp;
use writ_protocol::trust::{self, Role, RoleKeys, Root, TrustPolicy, TrustedKey};

/// The tenant.
pub const TENANT: &str = "sim";
const FAR: i64 = 4_000_000_000_000_000;

/// Seeds of the keys: nothing outside this room knows them.
mod seed {
    pub(super) const ROOT: u8 = 1;
    pub(super) const DIRECTOR: u8 = 2;
    pub(super) const CONTROL: u8 = 3;
    pub(super) const LIFT: u8 = 4;
    pub(super) const AGENT: u8 = 100;
    pub(super) const USER: u8 = 200;
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

/// What the controllers sign with.
#[expect(missing_debug_implementations, reason = "keys do not print")]
pub struct Notary {
    /// Manifests, answers, watermarks.
    pub director: SigningKey,
    /// Halts.
    pub control: SigningKey,
    /// Lifts.
    pub lift: SigningKey,
}

/// The controllers' keys.
pub static NOTARY: LazyLock<Notary> = LazyLock::new(|| Notary {
    director: key(seed::DIRECTOR),
    control: key(seed::CONTROL),
    lift: key(seed::LIFT),
});

/// Root, its fingerprint, and the trust policy.
static TRUST: LazyLock<(Vec<u8>, Digest, Vec<u8>)> = LazyLock::new(|| {
    let root = Root {
        version: 1,
        expires_at: Timestamp::from_micros(FAR),
        keys: role(seed::ROOT),
    };
    let policy = TrustPolicy {
        tenant: TENANT.to_owned(),
        epoch: 1,
        version: 1,
        issued_at: Timestamp::from_micros(0),
        expires_at: Timestamp::from_micros(FAR),
        roles: BTreeMap::from([
            (Role::Director, role(seed::DIRECTOR)),
            (Role::Control, role(seed::CONTROL)),
            (Role::ControlLift, role(seed::LIFT)),
        ]),
        revoked: Vec::new(),
    };
    let sign = |envelope: Result<writ_protocol::envelope::Envelope, _>| {
        // Fixed documents within every bound: they sign and encode, or no run could begin.
        let envelope: Option<writ_protocol::envelope::Envelope> = envelope.ok();
        let pinned = envelope.as_ref().map_or(Digest::ZERO, trust::fingerprint);
        let json = envelope
            .and_then(|envelope| envelope.to_json().ok())
            .unwrap_or_default();
        (json, pinned)
    };
    let (root, pinned) = sign(trust::sign_root(root, &[&key(seed::ROOT)]));
    let (policy, _) = sign(trust::sign_policy(policy, &[&key(seed::ROOT)]));
    (root, pinned, policy)
});

fn role(n: u8) -> RoleKeys {
    RoleKeys {
        threshold: 1,
        keys: vec![TrustedKey {
            public_key: key(n).public(),
            principal: format!("p{n}"),
            not_before: Timestamp::from_micros(0),
            not_after: Timestamp::from_micros(FAR),
        }],
    }
}

/// One enrolled agent, as its host and the ledger know it.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// Its number in this world.
    pub number: u8,
    /// Who it is.
    pub name: Name,
    /// Its key for records.
    pub public: PublicKey,
    /// Its first journal.
    pub journal_id: JournalId,
}

/// The agents that a world can have.
pub static AGENTS: LazyLock<Vec<Enrolled>> = LazyLock::new(|| (0..4).filter_map(enrolled).collect());

fn enrolled(number: u8) -> Option<Enrolled> {
    let user = NkeyPair::from_seed_bytes(NkeyKind::User, &[seed::USER + number; 32]);
    Some(Enrolled {
        number,
        name: Name {
            tenant: TENANT.to_owned(),
            agent_id: AgentId::from_uuid(Uuid::from_u128(0xa0 + u128::from(number))),
            user_key: user.user_key().ok()?,
        },
        public: key(seed::AGENT + number).public(),
        journal_id: JournalId::from_uuid(Uuid::from_u128(0xb0 + u128::from(number))),
    })
}

impl Enrolled {
    /// What lies on its host after enrolment.
    pub fn identity(&self) -> Identity {
        let (root, pinned, policy) = &*TRUST;
        let card = Card {
            identity: self.name.clone(),
            name: format!("sim-{}", self.number),
            journal_id: self.journal_id,
            machine: Digest::ZERO,
            servers: Vec::new(),
            ca_pem: String::new(),
            root: *pinned,
            enrolled_at: Timestamp::from_micros(super::clock::BEGINNING),
        };
        let user = NkeyPair::from_seed_bytes(NkeyKind::User, &[seed::USER + self.number; 32]);
        Identity::in_memory(
            card,
            key(seed::AGENT + self.number),
            Login::new(user, String::new()),
            root.clone(),
            policy.clone(),
        )
    }
}
