//! Everything that must not come in.

use std::time::Duration;

use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::id::AgentId;
use writ_protocol::manifest::OrderKind;

use super::*;
use crate::tests::scene::{base64, halt, keyring, lift, manifest, name, now, order, signed};

fn verdict(bytes: &[u8], have: u64) -> Option<Result<u64, Code>> {
    let trust = Trust::new(keyring());
    let have = Generation {
        epoch: 1,
        generation: have,
    };
    admit(bytes, &trust, &name(), have, now().wall).map(|input| match input {
        Input::Manifest(taken) => Ok(taken.manifest.at.generation),
        Input::Refused { code, .. } => Err(code),
        other => panic!("{other:?}"),
    })
}

fn one() -> Manifest {
    manifest(5, vec![order(1, OrderKind::Apply)])
}

#[test]
fn a_newer_manifest_of_the_director_comes_in_and_the_same_is_no_news() {
    assert_eq!(verdict(&signed(one(), 2), 4), Some(Ok(5)));
    assert_eq!(verdict(&signed(one(), 2), 5), None);
}

#[test]
fn what_is_forged_late_old_or_meant_for_others_is_refused_with_its_code() {
    let wall = now().wall;
    let mut other_agent = one();
    other_agent.agent_id = AgentId::from_uuid(uuid::Uuid::from_u128(2));
    let mut other_tenant = one();
    other_tenant.tenant = "evil".to_owned();
    let mut expired = one();
    expired.expires_at = wall.minus(Duration::from_secs(3_600));
    let mut crowded = one();
    crowded.orders = (0..65).map(|n| order(n, OrderKind::Apply)).collect();
    let mut false_halt = one();
    false_halt
        .halts
        .push(base64(&halt(HaltAction::Hard, Scope::All, 2)));
    let mut tampered = signed(one(), 2);
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    for (what, bytes, code) in [
        ("a stranger's key", signed(one(), 42), Code::SignatureInvalid),
        ("a key of another role", signed(one(), 3), Code::SignatureInvalid),
        ("a changed byte", tampered, Code::SignatureInvalid),
        ("no envelope", b"{}".to_vec(), Code::SignatureInvalid),
        ("too long", vec![b' '; 2 << 20], Code::SignatureInvalid),
        ("another agent's", signed(other_agent, 2), Code::WrongAudience),
        ("another tenant's", signed(other_tenant, 2), Code::WrongTenant),
        ("an expired one", signed(expired, 2), Code::Expired),
        ("too many orders", signed(crowded, 2), Code::Malformed),
        (
            "a halt by the wrong role",
            signed(false_halt, 2),
            Code::SignatureInvalid,
        ),
    ] {
        assert_eq!(verdict(&bytes, 4), Some(Err(code)), "{what}");
    }
    assert_eq!(
        verdict(&signed(one(), 2), 6),
        Some(Err(Code::Regressed)),
        "an older one"
    );
}

#[test]
fn halts_need_their_role() {
    let trust = Trust::new(keyring());
    let open = |by| control(&halt(HaltAction::Soft, Scope::All, by), true, &trust, now().wall);
    assert!(matches!(open(3), Ok(Input::Halt(word)) if word.addressed));
    for by in [2, 4, 5, 42] {
        assert!(open(by).is_err(), "key {by}");
    }
    assert!(control(b"", true, &trust, now().wall).is_err());
}

#[test]
fn a_kept_manifest_is_verified_again() {
    let trust = Trust::new(keyring());
    let bytes = signed(one(), 2);
    let (digest, manifest) = reopen(&bytes, &trust, &name()).expect("verifies");
    assert_eq!(manifest.orders.len(), 1);
    assert_eq!(digest, Envelope::parse(&bytes).expect("parses").payload_digest());
    assert!(reopen(&signed(one(), 42), &trust, &name()).is_none());
}

#[test]
fn a_lift_that_is_none_is_passed_over_and_the_manifest_counts() {
    let trust = Trust::new(keyring());
    let mut lifting = one();
    let false_lift = halt(HaltAction::Hard, Scope::All, 3);
    lifting.lifts = vec![
        "?".to_owned(),
        base64(&false_lift),
        base64(b"{}"),
        base64(&lift()),
    ];
    let have = Generation {
        epoch: 1,
        generation: 4,
    };
    match admit(&signed(lifting, 2), &trust, &name(), have, now().wall) {
        Some(Input::Manifest(taken)) => assert_eq!(taken.lifts.len(), 1),
        other => panic!("{other:?}"),
    }
    let mut crowded = one();
    crowded.lifts = vec![base64(&lift()); 9];
    assert_eq!(verdict(&signed(crowded, 2), 4), Some(Err(Code::Malformed)));
}

#[test]
fn a_kept_halt_that_does_not_verify_stands_for_one_of_everything() {
    let trust = Trust::new(keyring());
    let fine = halt(HaltAction::Soft, Scope::Project("web".into()), 3);
    let forged = halt(HaltAction::Soft, Scope::Project("web".into()), 42);
    let known = reopen_halt(&fine, &trust);
    assert!(!known.is_unreadable());
    let unknown = reopen_halt(&forged, &trust);
    assert!(unknown.is_unreadable());
    assert_eq!(
        (unknown.halt.halt_id, unknown.halt.scope, unknown.halt.action),
        (known.halt.halt_id, Scope::All, HaltAction::Hard)
    );
    assert!(reopen_halt(b"\0", &trust).halt.halt_id.as_uuid().is_nil());
}
