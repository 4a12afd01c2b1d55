//! Area `manifest`: what an agent takes as its orders and what it refuses.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::halt::{self, Halt, HaltAction, Lift, Scope};
use writ_protocol::id::HaltId;
use writ_protocol::limits::{LIFTS_MAX, MANIFEST_BYTES_MAX};
use writ_protocol::manifest::{self, Generation, Manifest};
use writ_protocol::plan::rests_on;
use writ_protocol::reason::Code;

use super::{Area, Given, flip, put, swap};
use crate::case::{Check, Context, Vector};
use crate::run::golden;
use crate::world::{
    self, MakeError, NOW, TENANT, context, ids, key, other_identity, payload, seed, sign_raw,
};

const INPUT: &str = "manifest.json";

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    of(&golden()?.manifest)
}

/// The vectors around any manifest, such as one for an agent that is examined. The context of a case is that of the golden one.
pub(crate) fn of(base: &Manifest) -> Result<Vec<Vector>, MakeError> {
    let mut area = Area::new("manifest");
    good(&mut area, base)?;
    halted(&mut area, base)?;
    known(&mut area, base)?;
    places(&mut area, base)?;
    crowded(&mut area, base)?;
    signers(&mut area, base)?;
    forms(&mut area, base)?;
    Ok(area.vectors)
}

fn sign(manifest: &Manifest, seed: u8) -> Result<Envelope, MakeError> {
    Ok(manifest::sign(manifest.clone(), &key(seed))?)
}

fn at(epoch: u32, generation: u64) -> Generation {
    Generation { epoch, generation }
}

fn given(bytes: impl Into<Vec<u8>>, have: Generation) -> Result<Given, MakeError> {
    let context = Context {
        identity: Some(world::identity()?),
        have: Some(have),
        ..context()?
    };
    Ok(Given::new(Check::ManifestAdmit, INPUT, bytes, context))
}

fn new(manifest: &Manifest, envelope: &Envelope) -> Value {
    json!({
        "admission": "new",
        "at": manifest.at,
        "quarantined": manifest.quarantined,
        "orders": manifest.orders.len(),
        "halts": manifest.halts.len(),
        "payload": envelope.payload_digest(),
    })
}

/// A manifest whose orders rest on what a plan saw.
fn resting(base: &Manifest) -> Manifest {
    let mut resting = base.clone();
    for order in &mut resting.orders {
        order.rests_on = Some(rests_on([("file:/etc/motd", Digest::of(b"seen"))]));
    }
    resting
}

fn good(area: &mut Area, base: &Manifest) -> Result<(), MakeError> {
    let mut taken = |name, why, manifest: &Manifest, have| -> Result<(), MakeError> {
        let envelope = sign(manifest, seed::DIRECTOR)?;
        area.good(
            name,
            why,
            given(envelope.to_json()?, have)?,
            new(manifest, &envelope),
        );
        Ok(())
    };
    taken(
        "new",
        "A newer generation of the same epoch, with one order.",
        base,
        at(2, 6),
    )?;
    taken(
        "new-rests-on",
        "An order that says what the plan's changes on the host rest on.",
        &resting(base),
        at(2, 6),
    )?;
    taken(
        "new-epoch",
        "A restored database has a later epoch and may count generations from the start.",
        base,
        at(1, 900),
    )?;
    let empty = Manifest {
        orders: vec![],
        ..base.clone()
    };
    taken(
        "empty",
        "No orders are an answer too: whatever was outstanding no longer is.",
        &empty,
        at(2, 6),
    )?;
    let quarantined = Manifest {
        quarantined: true,
        ..base.clone()
    };
    taken(
        "quarantined",
        "It is taken, so that the agent knows; the agent starts nothing under it.",
        &quarantined,
        at(2, 6),
    )?;
    let late = Manifest {
        expires_at: base.issued_at.minus(Duration::from_secs(20)),
        ..base.clone()
    };
    taken(
        "just-expired",
        "Clocks differ; thirty seconds of slack are given.",
        &late,
        at(2, 6),
    )?;
    let stopped = Manifest {
        halts: vec![data_encoding::BASE64.encode(&halt()?)],
        control_epoch: 1,
        ..base.clone()
    };
    taken(
        "with-halt",
        "Halts travel inside, each a signed envelope of its own.",
        &stopped,
        at(2, 6),
    )?;
    Ok(())
}

/// Manifests for a reader that holds a halt.
fn halted(area: &mut Area, base: &Manifest) -> Result<(), MakeError> {
    let held = BTreeSet::from([ids()?.halt]);
    let mut taken = |name, why, manifest: &Manifest, after: &[HaltId]| -> Result<(), MakeError> {
        let envelope = sign(manifest, seed::DIRECTOR)?;
        let mut given = given(envelope.to_json()?, at(2, 6))?;
        given.context.holds = Some(held.clone());
        let mut value = new(manifest, &envelope);
        put(&mut value, "/holds", json!(after))?;
        area.good(name, why, given, value);
        Ok(())
    };
    let later = Manifest {
        control_epoch: 2,
        ..base.clone()
    };
    let with = |lift: Vec<u8>| Manifest {
        lifts: vec![data_encoding::BASE64.encode(&lift)],
        ..later.clone()
    };
    let by = |seeds: &[u8]| lift(ids()?.halt, seeds);
    taken(
        "with-lift",
        "Lifts travel inside as well: the halt that the reader holds is over.",
        &with(by(&[seed::CAROL, seed::DAVE])?),
        &[],
    )?;
    taken(
        "drops-halt",
        "A manifest of a later control epoch leaves a halt out. It takes two to lift: the halt that the reader holds goes on.",
        &later,
        &[ids()?.halt],
    )?;
    taken(
        "with-lift-by-one",
        "A lift that lacks a signature ends nothing; the rest of the manifest counts.",
        &with(by(&[seed::CAROL])?),
        &[ids()?.halt],
    )?;
    taken(
        "with-lift-by-director",
        "Who signs the manifest does not lift.",
        &with(by(&[seed::DIRECTOR, seed::CAROL])?),
        &[ids()?.halt],
    )?;
    taken(
        "with-lift-of-another",
        "The lift of another halt.",
        &with(lift(world::id("halt", 99)?, &[seed::CAROL, seed::DAVE])?),
        &[ids()?.halt],
    )?;
    let mut crowded = with(by(&[seed::CAROL, seed::DAVE])?);
    crowded.lifts = crowded
        .lifts
        .iter()
        .cycle()
        .take(LIFTS_MAX + 1)
        .cloned()
        .collect();
    area.coded(
        "too-many-lifts",
        "At most 8 lifts are carried.",
        given(sign(&crowded, seed::DIRECTOR)?.to_json()?, at(2, 6))?,
        ("manifest/invalid", Code::Malformed),
    );
    Ok(())
}

fn lift(halt_id: HaltId, seeds: &[u8]) -> Result<Vec<u8>, MakeError> {
    let lift = Lift {
        tenant: TENANT.to_owned(),
        halt_id,
        control_epoch: 2,
        reason: "fixed".to_owned(),
        issued_at: NOW,
    };
    let keys: Vec<_> = seeds.iter().map(|n| key(*n)).collect();
    Ok(halt::sign_lift(lift, &keys.iter().collect::<Vec<_>>())?.to_json()?)
}

fn known(area: &mut Area, base: &Manifest) -> Result<(), MakeError> {
    let known = sign(base, seed::DIRECTOR)?.to_json()?;
    area.good(
        "known",
        "The place that the agent holds already: nothing to do, and no cause for alarm.",
        given(known, at(2, 7))?,
        json!({ "admission": "known" }),
    );
    Ok(())
}

fn halt() -> Result<Vec<u8>, MakeError> {
    let halt = Halt {
        tenant: TENANT.to_owned(),
        halt_id: ids()?.halt,
        scope: Scope::All,
        action: HaltAction::Soft,
        control_epoch: 1,
        reason: "wrong rollout".to_owned(),
        set_by: "erin".to_owned(),
        issued_at: NOW,
    };
    Ok(halt::sign(halt, &key(seed::CONTROL))?.to_json()?)
}

fn places(area: &mut Area, base: &Manifest) -> Result<(), MakeError> {
    let mut refused = |name, why, manifest: &Manifest, have, error| -> Result<(), MakeError> {
        let given = given(sign(manifest, seed::DIRECTOR)?.to_json()?, have)?;
        area.coded(name, why, given, error);
        Ok(())
    };
    let back = ("manifest/regressed", Code::Regressed);
    refused(
        "older",
        "A bus that rolled back, or an attacker, offers what was true before.",
        base,
        at(2, 8),
        back,
    )?;
    refused(
        "older-epoch",
        "A manifest of the database's earlier life, although its generation is higher.",
        base,
        at(3, 1),
        back,
    )?;
    let over = Manifest {
        expires_at: base.issued_at.minus(Duration::from_secs(31)),
        ..base.clone()
    };
    refused(
        "expired",
        "Whoever holds back manifests must not be able to have one carried out days later.",
        &over,
        at(2, 6),
        ("manifest/expired", Code::Expired),
    )?;
    let other = other_identity()?;
    let elsewhere = Manifest {
        agent_id: other.agent_id,
        user_key: other.user_key.clone(),
        ..base.clone()
    };
    let audience = ("manifest/wrong-agent", Code::WrongAudience);
    refused(
        "other-agent",
        "Well signed, but for another agent.",
        &elsewhere,
        at(2, 6),
        audience,
    )?;
    let renamed = Manifest {
        user_key: other.user_key,
        ..base.clone()
    };
    refused(
        "other-key-same-agent",
        "The agent's name and its bus identity must both fit: a name can be given anew, a key cannot.",
        &renamed,
        at(2, 6),
        audience,
    )?;
    let tenant = Manifest {
        tenant: "other".to_owned(),
        ..base.clone()
    };
    refused(
        "other-tenant",
        "Well signed, but for another tenant.",
        &tenant,
        at(2, 6),
        ("manifest/wrong-tenant", Code::WrongTenant),
    )?;
    Ok(())
}

fn crowded(area: &mut Area, base: &Manifest) -> Result<(), MakeError> {
    let mut many = base.clone();
    let first = base.orders.first().ok_or("the manifest has an order")?;
    many.orders = (1..=65)
        .map(|n| {
            Ok(manifest::Order {
                order_id: world::id("order", n)?,
                ..first.clone()
            })
        })
        .collect::<Result<_, MakeError>>()?;
    area.coded(
        "too-many-orders",
        "At most 64 orders are outstanding for one agent.",
        given(sign(&many, seed::DIRECTOR)?.to_json()?, at(2, 6))?,
        ("manifest/invalid", Code::Malformed),
    );
    Ok(())
}

fn signers(area: &mut Area, base: &Manifest) -> Result<(), MakeError> {
    let untrusted = ("envelope/untrusted", Code::SignatureInvalid);
    for (name, why, seed) in [
        ("forged", "Signed by a key that nobody trusts.", seed::STRANGER),
        (
            "wrong-role",
            "Signed by the plan key, which may sign bundles and not orders.",
            seed::PLAN,
        ),
        ("revoked-key", "The key was withdrawn an hour ago.", seed::REVOKED),
        (
            "key-not-yet-valid",
            "The key's first day is a year away.",
            seed::FUTURE,
        ),
    ] {
        area.coded(
            name,
            why,
            given(sign(base, seed)?.to_json()?, at(2, 6))?,
            untrusted,
        );
    }
    let envelope = sign(base, seed::DIRECTOR)?;
    let changed = swap(&payload(&envelope)?, "\"fencingToken\":1", "\"fencingToken\":2")?;
    let mut json: Value = serde_json::from_slice(&envelope.to_json()?)?;
    put(
        &mut json,
        "/payload",
        json!(data_encoding::BASE64.encode(changed.as_bytes())),
    )?;
    area.coded(
        "tampered",
        "One figure of an order was changed after signing.",
        given(json.to_string(), at(2, 6))?,
        untrusted,
    );
    put(
        &mut json,
        "/payload",
        json!(data_encoding::BASE64.encode(&flip(changed.as_bytes(), 40))),
    )?;
    area.coded(
        "one-bit",
        "One bit of the payload was changed.",
        given(json.to_string(), at(2, 6))?,
        untrusted,
    );
    Ok(())
}

fn forms(area: &mut Area, base: &Manifest) -> Result<(), MakeError> {
    let text = payload(&sign(base, seed::DIRECTOR)?)?;
    let malformed = ("codec/malformed", Code::SignatureInvalid);
    let generation = base.at.generation;
    let (positive, negative) = (
        format!("\"generation\":{generation}"),
        format!("\"generation\":-{generation}"),
    );
    for (name, why, from, to) in [
        (
            "unknown-field",
            "A field that this agent does not know might be a condition; it refuses rather than ignores.",
            "\"quarantined\":false",
            "\"quarantined\":false,\"dryRun\":true",
        ),
        (
            "unknown-field-in-order",
            "The same within an order.",
            "\"leaseMs\":",
            "\"maxHosts\":1,\"leaseMs\":",
        ),
        (
            "field-twice",
            "A repeated field would be read differently by different readers.",
            "\"quarantined\":false",
            "\"quarantined\":true,\"quarantined\":false",
        ),
        (
            "unknown-order-kind",
            "An order of a kind that this agent does not know.",
            "\"apply\"",
            "\"erase\"",
        ),
        (
            "negative-generation",
            "Counters are not negative.",
            positive.as_str(),
            negative.as_str(),
        ),
        (
            "missing-lease",
            "A lease that is not there is not taken for endless.",
            "\"leaseMs\":300000,",
            "",
        ),
    ] {
        let bytes = sign_raw(swap(&text, from, to)?, seed::DIRECTOR)?;
        area.coded(name, why, given(bytes, at(2, 6))?, malformed);
    }
    let long = format!("{text}{}", " ".repeat(MANIFEST_BYTES_MAX));
    area.coded(
        "oversize",
        "Longer than a manifest may be: refused before it is parsed, although well signed.",
        given(sign_raw(long, seed::DIRECTOR)?, at(2, 6))?,
        ("codec/too-long", Code::SignatureInvalid),
    );
    let bundle = golden()?.bundle;
    area.coded(
        "not-an-envelope",
        "The bytes of a bundle where a manifest is wanted.",
        given(bundle, at(2, 6))?,
        malformed,
    );
    area.coded(
        "other-statement",
        "A policy is well signed too, but it is no manifest and the root holds no orders.",
        given(world::sign_policy(world::policy())?, at(2, 6))?,
        ("envelope/untrusted", Code::SignatureInvalid),
    );
    Ok(())
}
