//! Area `trust`: the pinned root, the policy it signs, and how both move on.

use std::time::Duration;

use serde_json::json;
use writ_protocol::key::SigningKey;
use writ_protocol::trust::{self, Root, TrustPolicy};

use super::{Area, Given};
use crate::case::{Check, Context, Vector};
use crate::world::{BEGIN, MakeError, NOW, context, key, pinned, policy, role, root, seed, sign_policy};

const POLICY: &str = "policy.json";
const ROOT: &str = "root.json";
const OTHER_ROOT: &str = "other-root.json";

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut area = Area::new("trust");
    pin(&mut area)?;
    pin_root(&mut area)?;
    next_policy(&mut area)?;
    next_root(&mut area)?;
    Ok(area.vectors)
}

fn given(check: Check, input: &'static str, bytes: Vec<u8>) -> Result<Given, MakeError> {
    Ok(Given::new(check, input, bytes, context()?))
}

fn signed_by(policy: TrustPolicy, seeds: &[u8]) -> Result<Vec<u8>, MakeError> {
    let keys: Vec<SigningKey> = seeds.iter().map(|n| key(*n)).collect();
    let keys: Vec<&SigningKey> = keys.iter().collect();
    Ok(trust::sign_policy(policy, &keys)?.to_json()?)
}

fn pin(area: &mut Area) -> Result<(), MakeError> {
    let first = |bytes| given(Check::TrustPin, POLICY, bytes);
    area.good(
        "pinned",
        "The root has the pinned fingerprint, is signed by its own threshold, and two of its principals signed the policy.",
        first(sign_policy(policy())?)?,
        json!(policy()),
    );
    area.bad(
        "policy-signed-by-one",
        "The root asks for two principals.",
        first(signed_by(policy(), &[seed::ANN])?)?,
        "envelope/untrusted",
    );
    area.bad(
        "policy-signed-by-one-person-twice",
        "Thresholds count principals: one person with two keys is one.",
        first(signed_by(policy(), &[seed::ANN, seed::ANN_TOO])?)?,
        "trust/too-few-principals",
    );
    area.bad(
        "policy-signed-by-the-director",
        "An online key cannot give itself a role.",
        first(signed_by(policy(), &[seed::DIRECTOR, seed::PLAN])?)?,
        "envelope/untrusted",
    );
    let over = TrustPolicy {
        expires_at: NOW.minus(Duration::from_secs(1)),
        ..policy()
    };
    area.bad(
        "policy-expired",
        "A policy that nobody renews must not be believed for ever.",
        first(sign_policy(over)?)?,
        "trust/not-valid-now",
    );
    Ok(())
}

fn pin_root(area: &mut Area) -> Result<(), MakeError> {
    let mut with = |name, why, root: Root, seeds: &[u8], error| -> Result<(), MakeError> {
        let keys: Vec<SigningKey> = seeds.iter().map(|n| key(*n)).collect();
        let envelope = trust::sign_root(root, &keys.iter().collect::<Vec<_>>())?;
        let context = Context {
            root: Some(OTHER_ROOT.to_owned()),
            pinned: Some(if error == "trust/wrong-root" {
                pinned()?
            } else {
                trust::fingerprint(&envelope)
            }),
            ..context()?
        };
        let given = Given::new(Check::TrustPin, POLICY, sign_policy(policy())?, context);
        area.bad(name, why, given.with(OTHER_ROOT, envelope.to_json()?), error);
        Ok(())
    };
    let other = Root { version: 2, ..root() };
    with(
        "other-root",
        "The root's fingerprint is not the pinned one, however well it is signed.",
        other,
        &[seed::ANN, seed::BOB],
        "trust/wrong-root",
    )?;
    with(
        "root-signed-by-one",
        "A root must be signed by a threshold of its own keys.",
        root(),
        &[seed::ANN],
        "envelope/untrusted",
    )?;
    let over = Root {
        expires_at: BEGIN,
        ..root()
    };
    with(
        "root-expired",
        "The root's days are over.",
        over,
        &[seed::ANN, seed::BOB],
        "trust/not-valid-now",
    )
}

fn next_policy(area: &mut Area) -> Result<(), MakeError> {
    let next = |policy| given(Check::TrustPolicy, POLICY, sign_policy(policy)?);
    let newer = TrustPolicy {
        version: 6,
        ..policy()
    };
    area.good(
        "next-policy",
        "The version grows.",
        next(newer.clone())?,
        json!(newer),
    );
    let epoch = TrustPolicy {
        epoch: 2,
        version: 1,
        ..policy()
    };
    area.good(
        "next-policy-epoch",
        "A later epoch starts its versions again: the way out after a stolen key pushed the version high.",
        next(epoch.clone())?,
        json!(epoch),
    );
    area.bad(
        "policy-goes-back",
        "An older policy may name keys that were withdrawn since.",
        next(TrustPolicy {
            version: 4,
            ..policy()
        })?,
        "trust/regress",
    );
    let tenant = "other".to_owned();
    area.bad(
        "policy-of-another-tenant",
        "One root may serve several tenants; their keys do not mix.",
        next(TrustPolicy {
            tenant,
            version: 6,
            ..policy()
        })?,
        "trust/wrong-tenant",
    );
    Ok(())
}

fn next_root(area: &mut Area) -> Result<(), MakeError> {
    let successors = role(2, &[(seed::BOB, "bob"), (seed::CAROL, "carol")]);
    let next = Root {
        version: 2,
        keys: successors,
        ..root()
    };
    let mut with = |name, why, root: Root, seeds: &[u8], error: Option<&str>| -> Result<(), MakeError> {
        let keys: Vec<SigningKey> = seeds.iter().map(|n| key(*n)).collect();
        let envelope = trust::sign_root(root, &keys.iter().collect::<Vec<_>>())?;
        let context = Context {
            next_policy: Some(POLICY.to_owned()),
            ..context()?
        };
        let policy = signed_by(policy(), &[seed::BOB, seed::CAROL])?;
        let given = Given::new(Check::TrustRoot, ROOT, envelope.to_json()?, context).with(POLICY, policy);
        match error {
            None => area.good(
                name,
                why,
                given,
                json!({ "fingerprint": trust::fingerprint(&envelope) }),
            ),
            Some(error) => area.bad(name, why, given, error),
        }
        Ok(())
    };
    let all = [seed::ANN, seed::BOB, seed::CAROL];
    with(
        "next-root",
        "One version on, signed by two principals of the old root and two of its own.",
        next.clone(),
        &all,
        None,
    )?;
    with(
        "next-root-without-the-old",
        "A new root that the old one did not sign is a stranger's.",
        next.clone(),
        &[seed::BOB, seed::CAROL],
        Some("envelope/untrusted"),
    )?;
    with(
        "next-root-without-its-own",
        "A new root must show that its own keys exist.",
        next.clone(),
        &[seed::ANN, seed::BOB],
        Some("envelope/untrusted"),
    )?;
    with(
        "next-root-skips-a-version",
        "Roots follow one another without a gap, so that none can be left out.",
        Root { version: 3, ..next },
        &all,
        Some("trust/regress"),
    )
}
