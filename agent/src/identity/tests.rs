//! Enrolment without a bus, and what is refused afterwards.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use uuid::Uuid;
use writ_protocol::enrol::{self, AgentKeys, EnrolReply, JoinSeed, JoinToken, JoinTokenParts};
use writ_protocol::id::{AgentId, JoinTokenId};
use writ_protocol::trust::{self, Role, RoleKeys, Root, TrustPolicy, TrustedKey};

use super::*;
use crate::tests::scene::{key, now};

fn role(n: u8) -> RoleKeys {
    let far = Timestamp::from_micros(4_000_000_000_000_000);
    let public_key = key(n).public();
    RoleKeys {
        threshold: 1,
        keys: vec![TrustedKey {
            public_key,
            principal: "p".into(),
            not_before: Timestamp::default(),
            not_after: far,
        }],
    }
}

/// A controller's root, policy and registry; `pinned` is what its tokens pin.
fn controller() -> (String, String, Digest) {
    let far = Timestamp::from_micros(4_000_000_000_000_000);
    let root = trust::sign_root(
        Root {
            version: 1,
            expires_at: far,
            keys: role(1),
        },
        &[&key(1)],
    )
    .expect("signs");
    let policy = TrustPolicy {
        tenant: "acme".into(),
        epoch: 1,
        version: 1,
        issued_at: Timestamp::default(),
        expires_at: far,
        roles: BTreeMap::from([(Role::Registry, role(7))]),
        revoked: vec![],
    };
    let policy = trust::sign_policy(policy, &[&key(1)]).expect("signs");
    let text = |envelope: &writ_protocol::envelope::Envelope| {
        String::from_utf8(envelope.to_json().expect("encodes")).expect("text")
    };
    (text(&root), text(&policy), trust::fingerprint(&root))
}

fn begin(pinned: Digest) -> Enrolment {
    let seed = JoinSeed::generate().expect("random");
    let parts = JoinTokenParts {
        token_id: JoinTokenId::from_uuid(Uuid::from_u128(1)),
        tenant: "acme".into(),
        user_jwt: String::new(),
        servers: vec!["nats://127.0.0.1:4222".into()],
        ca_pem: String::new(),
        root: pinned,
        expires_at: now().wall.plus(Duration::from_secs(60)),
    };
    let host = Host {
        machine: Digest::of(b"m"),
        hostname: "web-1".into(),
        facts: BTreeMap::new(),
    };
    let journal = JournalId::from_uuid(Uuid::from_u128(2));
    Enrolment::begin(JoinToken::new(&seed, parts), host, journal, now().wall).expect("begins")
}

/// What the controller answers to a request, with the registry's word signed by key `by`.
fn answer(request: &[u8], by: u8, change: impl FnOnce(&mut AgentKeys)) -> Vec<u8> {
    let envelope = writ_protocol::envelope::Envelope::parse(request).expect("parses");
    let asked = writ_protocol::statement::peek::<enrol::EnrolRequest>(&envelope)
        .expect("reads")
        .predicate;
    let mut keys = AgentKeys {
        tenant: asked.tenant,
        agent_id: AgentId::from_uuid(Uuid::from_u128(5)),
        name: asked.hostname,
        user_key: asked.user_key,
        artefact_key: asked.artefact_key,
        not_before: Timestamp::default(),
    };
    change(&mut keys);
    let signed = enrol::sign_keys(keys, &key(by)).expect("signs");
    let (root, trust_policy, _) = controller();
    let agent_keys = String::from_utf8(signed.to_json().expect("encodes")).expect("text");
    serde_json::to_vec(&EnrolReply {
        user_jwt: "jwt".into(),
        root,
        trust_policy,
        agent_keys,
    })
    .expect("encodes")
}

#[test]
fn an_enrolled_host_loads_its_identity_and_another_host_does_not() {
    let state = tempfile::tempdir().expect("directory");
    let dir = state.path().join("identity");
    let enrolment = begin(controller().2);
    let request = enrolment.request(now().wall).expect("signs");
    let card = enrolment
        .finish(&answer(&request, 7, |_| {}), &dir, now().wall)
        .expect("enrols");
    assert_eq!(card.name, "web-1");
    let loaded = Identity::load(&dir, &Digest::of(b"m")).expect("loads");
    assert_eq!(loaded.card, card);
    for entry in fs::read_dir(&dir).expect("lists") {
        let entry = entry.expect("entry");
        assert_eq!(
            entry.metadata().expect("metadata").permissions().mode() & 0o777,
            0o600,
            "{entry:?}"
        );
    }
    let error = Identity::load(&dir, &Digest::of(b"another machine")).expect_err("refused");
    assert!(error.to_string().contains("W0403"), "{error}");
    loaded.renew_login("newer").expect("keeps");
    assert_eq!(
        Identity::load(&dir, &Digest::of(b"m"))
            .expect("loads")
            .login
            .jwt(),
        "newer"
    );
}

/// What is wrong, the root that the token pins, who signs for the registry, and what it says otherwise.
type Case = (&'static str, Digest, u8, fn(&mut AgentKeys));

#[test]
fn an_answer_that_does_not_fit_leaves_nothing_behind() {
    let state = tempfile::tempdir().expect("directory");
    let dir = state.path().join("identity");
    let pinned = controller().2;
    let cases: [Case; 4] = [
        ("another root", Digest::ZERO, 7, |_| {}),
        ("not the registry", pinned, 8, |_| {}),
        ("another key", pinned, 7, |keys| {
            keys.artefact_key = key(99).public();
        }),
        ("another tenant", pinned, 7, |keys| keys.tenant = "evil".into()),
    ];
    for (what, pinned, by, change) in cases {
        let enrolment = begin(pinned);
        let request = enrolment.request(now().wall).expect("signs");
        assert!(
            enrolment
                .finish(&answer(&request, by, change), &dir, now().wall)
                .is_err(),
            "{what}"
        );
        assert!(!dir.exists(), "{what}");
    }
    assert!(matches!(
        Identity::load(&dir, &Digest::ZERO),
        Err(IdentityError::NotEnrolled { .. })
    ));
}
