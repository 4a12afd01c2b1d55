//! What a keyring believes and what it refuses.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_890_000_000_000);

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn trusted(n: u8, principal: &str) -> TrustedKey {
    let not_before = Timestamp::from_millis(0);
    TrustedKey {
        public_key: key(n).public(),
        principal: principal.to_owned(),
        not_before,
        not_after: LATER,
    }
}

fn root(version: u64, threshold: u8, keys: &[(u8, &str)]) -> Root {
    let keys = keys.iter().map(|(n, p)| trusted(*n, p)).collect();
    Root {
        version,
        expires_at: LATER,
        keys: RoleKeys { threshold, keys },
    }
}

fn policy(epoch: u32, version: u64, director: u8) -> TrustPolicy {
    let director = RoleKeys {
        threshold: 1,
        keys: vec![trusted(director, "controller")],
    };
    TrustPolicy {
        tenant: "acme".into(),
        epoch,
        version,
        issued_at: NOW,
        expires_at: LATER,
        roles: BTreeMap::from([(Role::Director, director)]),
        revoked: vec![],
    }
}

fn json(envelope: &Envelope) -> Vec<u8> {
    envelope.to_json().expect("encodes")
}

fn keyring() -> Keyring {
    let root = sign_root(root(1, 2, &[(1, "ann"), (2, "bob")]), &[&key(1), &key(2)]).expect("signs");
    let policy = sign_policy(policy(1, 5, 9), &[&key(1), &key(2)]).expect("signs");
    Keyring::from_pinned(&json(&root), &fingerprint(&root), &json(&policy), NOW).expect("trusted")
}

fn manifest_like(signer: u8) -> Vec<u8> {
    let envelope = sign_policy(policy(1, 5, 9), &[&key(signer)]).expect("signs");
    json(&envelope)
}

#[test]
fn another_root_than_the_pinned_one_is_refused() {
    let ours = sign_root(root(1, 1, &[(1, "ann")]), &[&key(1)]).expect("signs");
    let theirs = sign_root(root(1, 1, &[(7, "eve")]), &[&key(7)]).expect("signs");
    let policy = sign_policy(policy(1, 1, 9), &[&key(7)]).expect("signs");
    let result = Keyring::from_pinned(&json(&theirs), &fingerprint(&ours), &json(&policy), NOW);
    assert!(matches!(result, Err(TrustError::WrongRoot { .. })));
}

#[test]
fn two_keys_of_one_person_are_one_principal() {
    let root = sign_root(root(1, 2, &[(1, "ann"), (2, "ann")]), &[&key(1), &key(2)]).expect("signs");
    let policy = sign_policy(policy(1, 1, 9), &[&key(1), &key(2)]).expect("signs");
    let result = Keyring::from_pinned(&json(&root), &fingerprint(&root), &json(&policy), NOW);
    assert!(matches!(
        result,
        Err(TrustError::TooFewPrincipals { found: 1, needed: 2 })
    ));
}

#[test]
fn a_policy_signed_by_too_few_roots_is_refused() {
    let offered = sign_policy(policy(1, 6, 9), &[&key(1)]).expect("signs");
    assert!(matches!(
        keyring().with_policy(&json(&offered), NOW),
        Err(TrustError::Statement(_))
    ));
}

#[test]
fn policies_never_go_back_and_stay_in_their_tenant() {
    let both = [&key(1), &key(2)];
    let older = sign_policy(policy(1, 4, 9), &both).expect("signs");
    assert!(matches!(
        keyring().with_policy(&json(&older), NOW),
        Err(TrustError::Regress { .. })
    ));
    let newer = sign_policy(policy(2, 1, 9), &both).expect("signs");
    assert_eq!(
        keyring()
            .with_policy(&json(&newer), NOW)
            .expect("newer epoch")
            .policy()
            .epoch,
        2
    );
    let mut foreign = policy(1, 6, 9);
    foreign.tenant = "other".into();
    let foreign = sign_policy(foreign, &both).expect("signs");
    assert!(matches!(
        keyring().with_policy(&json(&foreign), NOW),
        Err(TrustError::WrongTenant { .. })
    ));
}

#[test]
fn expired_and_revoked_keys_do_not_count() {
    let mut revoking = policy(1, 6, 9);
    revoking.revoked.push(RevokedKey {
        key_id: key(9).public().key_id(),
        at: NOW,
        reason: "stolen".into(),
    });
    let revoking = sign_policy(revoking, &[&key(1), &key(2)]).expect("signs");
    let keyring = keyring().with_policy(&json(&revoking), NOW).expect("accepted");
    let statement = manifest_like(9);
    let refused = keyring.open_as::<TrustPolicy>(Role::Director, &statement, NOW);
    assert!(matches!(refused, Err(TrustError::NoKeys { .. })));
    let before = keyring.open_as::<TrustPolicy>(Role::Director, &statement, Timestamp::from_millis(1));
    assert!(
        before.is_ok(),
        "signatures from before the revocation still count"
    );
}

#[test]
fn a_role_without_keys_trusts_nobody() {
    let refused = keyring().open_as::<TrustPolicy>(Role::Control, &manifest_like(9), NOW);
    assert!(matches!(
        refused,
        Err(TrustError::NoKeys {
            role: Role::Control,
            ..
        })
    ));
    assert!(
        keyring()
            .open_as::<TrustPolicy>(Role::Director, &manifest_like(3), NOW)
            .is_err()
    );
}

#[test]
fn the_next_root_needs_both_generations() {
    let next = root(2, 1, &[(5, "eve")]);
    let policy = sign_policy(policy(1, 6, 9), &[&key(5)]).expect("signs");
    let alone = sign_root(next.clone(), &[&key(5)]).expect("signs");
    assert!(keyring().with_root(&json(&alone), &json(&policy), NOW).is_err());
    let both = sign_root(next, &[&key(1), &key(2), &key(5)]).expect("signs");
    assert!(keyring().with_root(&json(&both), &json(&policy), NOW).is_ok());
    let skipped = sign_root(root(3, 1, &[(5, "eve")]), &[&key(1), &key(2), &key(5)]).expect("signs");
    assert!(matches!(
        keyring().with_root(&json(&skipped), &json(&policy), NOW),
        Err(TrustError::Regress { .. })
    ));
}
