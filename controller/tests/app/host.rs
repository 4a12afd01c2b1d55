//! A host as its agent would be: enrolled over the desk, with keys and sessions of its own, believing only what verifies.

use std::collections::BTreeMap;

use uuid::Uuid;
use writ_controller::app::{Error, NewJoinToken};
use writ_protocol::digest::Digest;
use writ_protocol::enrol::{self, AgentKeys, EnrolReply, EnrolRequest, JoinSeed, JoinToken};
use writ_protocol::envelope::Verified;
use writ_protocol::hello::{self, Hello, HelloReply, LeaseHeld};
use writ_protocol::id::{JournalId, SessionId};
use writ_protocol::key::SigningKey;
use writ_protocol::limits::PROTOCOL_VERSION;
use writ_protocol::manifest::{Generation, Identity, Manifest};
use writ_protocol::nats::{NkeyKind, NkeyPair, UserKey};
use writ_protocol::statement::Statement;

use super::desk::{Desk, TENANT, admin, nonce};
use super::journal::Journal;

pub(crate) fn labels(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// The keys of a host's process, before anybody knows it.
pub(crate) struct Keys {
    pub(crate) artefact: SigningKey,
    pub(crate) user: UserKey,
}

impl Keys {
    pub(crate) fn new(n: u8) -> Self {
        let pair = NkeyPair::from_seed_bytes(NkeyKind::User, &[n; 32]);
        Self {
            artefact: SigningKey::from_seed(&[n; 32]),
            user: pair.user_key().unwrap(),
        }
    }

    /// The request to enrol that these keys make of a token.
    pub(crate) fn request(&self, desk: &Desk, token: &JoinToken, hostname: &str) -> EnrolRequest {
        EnrolRequest {
            token_id: token.token_id,
            tenant: TENANT.to_owned(),
            user_key: self.user.clone(),
            artefact_key: self.artefact.public(),
            journal_id: JournalId::from_uuid(Uuid::from_u128(1)),
            machine: Digest::of(hostname.as_bytes()),
            hostname: hostname.to_owned(),
            facts: labels(&[("os", "debian")]),
            sent_at: desk.now(),
        }
    }

    pub(crate) fn sign(&self, request: EnrolRequest, seed: &JoinSeed) -> Vec<u8> {
        let signed = enrol::sign_request(request, seed, &self.artefact).unwrap();
        signed.to_json().unwrap()
    }
}

/// A join token of the desk, and the bus identity that it logs in with.
pub(crate) async fn join_token(desk: &Desk, name: Option<&str>, ttl: u64) -> (JoinToken, UserKey) {
    let new = NewJoinToken {
        name: name.map(ToOwned::to_owned),
        labels: labels(&[("role", "web")]),
        ttl: std::time::Duration::from_secs(ttl),
    };
    let view = desk.app.create_join_token(&admin(), new).await.unwrap();
    let token = JoinToken::parse(&view.token).unwrap();
    let login = token.seed().login().user_key().unwrap();
    (token, login)
}

pub(crate) fn agent_keys(desk: &Desk, reply: &EnrolReply) -> AgentKeys {
    let opened = desk
        .keyring
        .open::<AgentKeys>(reply.agent_keys.as_bytes(), desk.now());
    opened.unwrap().into_inner().predicate
}

/// An enrolled host.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) keys: Keys,
    pub(crate) identity: Identity,
    pub(crate) session: SessionId,
    pub(crate) incarnation: u64,
    pub(crate) journal: Journal,
}

impl Host {
    /// Enrols host `n` as `web-<n>`.
    pub(crate) async fn enrol(desk: &Desk, n: u8) -> Self {
        let (token, login) = join_token(desk, None, 3_600).await;
        let keys = Keys::new(n);
        let request = keys.request(desk, &token, &format!("web-{n}"));
        let reply = desk
            .app
            .enrol(&login, &keys.sign(request, &token.seed()))
            .await
            .unwrap();
        let word = agent_keys(desk, &reply);
        let identity = Identity {
            tenant: word.tenant,
            agent_id: word.agent_id,
            user_key: word.user_key,
        };
        Self {
            name: word.name,
            journal: Journal::new(&identity, &keys.artefact, n),
            keys,
            identity,
            session: SessionId::from_uuid(Uuid::from_u128(u128::from(n) << 8)),
            incarnation: 1,
        }
    }

    /// What its next hello says.
    pub(crate) fn hello(&self, desk: &Desk) -> Hello {
        Hello {
            identity: self.identity.clone(),
            session_id: self.session,
            journal_id: self.journal.id,
            incarnation: self.incarnation,
            nonce: nonce(7),
            protocol: PROTOCOL_VERSION,
            agent_version: "1.2.3".to_owned(),
            have: Generation::default(),
            control_epoch: 0,
            running: Vec::new(),
            last_seq: self.journal.last_seq(),
            last_hash: self.journal.last_hash(),
            acknowledged: 0,
            free_disk_bytes: 5,
            boot_ns: 1,
            sent_at: desk.now(),
            regressions: 0,
            draining: false,
            halts: Some(Vec::new()),
            looks: Vec::new(),
            looks_when_asked: true,
        }
    }

    /// Says hello and believes the answer if it verifies and is for this host and question.
    pub(crate) async fn says(&self, desk: &Desk, word: Hello) -> Result<HelloReply, Error> {
        let asked = word.nonce;
        let bytes = hello::sign(&self.identity, word, &self.keys.artefact).unwrap();
        let answer = desk.app.hello(&self.keys.user, &bytes.to_json().unwrap()).await?;
        let reply = hello::open_reply(&answer, &desk.keyring, &self.identity, &asked, desk.now());
        Ok(reply.unwrap().into_inner().predicate)
    }

    /// Says hello and reports the orders of a manifest as running.
    pub(crate) async fn works_on(&self, desk: &Desk, manifest: &Manifest) -> HelloReply {
        let mut word = self.hello(desk);
        let held = |o: &writ_protocol::manifest::Order| LeaseHeld {
            order_id: o.order_id,
            fencing_token: o.fencing_token,
        };
        word.running = manifest.orders.iter().map(held).collect();
        self.says(desk, word).await.unwrap()
    }

    /// The newest manifest, as verified.
    pub(crate) async fn manifest(&self, desk: &Desk) -> Verified<Statement<Manifest>> {
        let bytes = desk.app.manifest_for(&self.keys.user).await.unwrap();
        let opened = desk.keyring.open::<Manifest>(&bytes, desk.now()).unwrap();
        assert_eq!(opened.predicate.agent_id, self.identity.agent_id);
        assert_eq!(opened.predicate.user_key, self.keys.user);
        opened
    }
}
