//! Area `pack`: evidence that is whole, changed, or not all there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use writ_protocol::digest::Digest;
use writ_protocol::enrol::{self, AgentKeys};
use writ_protocol::evidence::archive::{self, Files};
use writ_protocol::evidence::{PackOrder, PackSeal, pack};
use writ_protocol::key::SigningKey;
use writ_protocol::reason::Code;

use super::{Area, Given, flip};
use crate::case::{Check, Context, Vector};
use crate::run::{Golden, golden};
use crate::world::{
    BEGIN, MakeError, NOW, TENANT, identity, ids, key, pinned, policy, public, root_envelope, seed,
    sign_policy,
};

const INPUT: &str = "pack.tar";
const INVALID: (&str, Code) = ("pack/invalid", Code::SignatureInvalid);
const INCOMPLETE: (&str, Code) = ("pack/incomplete", Code::EvidenceIncomplete);

type Contents = BTreeMap<String, Vec<u8>>;

pub(super) fn make() -> Result<Vec<Vector>, MakeError> {
    let mut area = Area::new("pack");
    let golden = golden()?;
    changed(&mut area, &golden)?;
    missing(&mut area, &golden)?;
    left_out(&mut area, &golden)?;
    wrong(&mut area, &golden)?;
    Ok(area.vectors)
}

fn given(bytes: Vec<u8>) -> Result<Given, MakeError> {
    let context = Context {
        pinned: Some(pinned()?),
        ..Context::default()
    };
    Ok(Given::new(Check::PackVerify, INPUT, bytes, context))
}

/// Everything but the seal.
pub(super) fn contents(golden: &Golden) -> Result<Contents, MakeError> {
    let me = identity()?;
    let keys = AgentKeys {
        tenant: me.tenant,
        agent_id: me.agent_id,
        name: "web-1".to_owned(),
        user_key: me.user_key,
        artefact_key: public(seed::ARTEFACT),
        not_before: BEGIN,
    };
    let agent = me.agent_id;
    Ok(Contents::from([
        (pack::ROOT.to_owned(), root_envelope()?.to_json()?),
        (pack::POLICY.to_owned(), sign_policy(policy())?),
        (
            pack::bundle_name(&golden.bundle_ref.digest),
            golden.bundle.clone(),
        ),
        (
            pack::keys_name(agent),
            enrol::sign_keys(keys, &key(seed::REGISTRY))?.to_json()?,
        ),
        (
            pack::manifest_name(agent, golden.manifest.at),
            golden.manifest_bytes.clone(),
        ),
        (pack::batch_name(agent, 1), golden.batch(1, 5)?),
        (pack::batch_name(agent, 6), golden.batch(6, 9)?),
        (pack::batch_name(agent, 10), golden.batch(10, 12)?),
    ]))
}

fn seal() -> Result<PackSeal, MakeError> {
    let ids = ids()?;
    Ok(PackSeal {
        tenant: TENANT.to_owned(),
        run_id: ids.run,
        state: "succeeded".to_owned(),
        ordered_by: "erin".to_owned(),
        exported_by: "frank".to_owned(),
        exported_at: NOW.plus(Duration::from_secs(3_600)),
        orders: vec![PackOrder {
            order_id: ids.order,
            identity: identity()?,
            name: "web-1".to_owned(),
            state: "succeeded".to_owned(),
            journal_id: Some(ids.journal),
            seqs: Some((3, 12)),
        }],
    })
}

fn sealed(files: &Contents, seal: PackSeal, key: &SigningKey) -> Result<Vec<u8>, MakeError> {
    Ok(pack::build(files, seal, key)?)
}

/// Changes the archive's files after the seal was made.
fn reopened(bytes: &[u8], change: impl FnOnce(&mut Contents)) -> Result<Vec<u8>, MakeError> {
    let mut files: Contents = archive::read(bytes)?
        .into_iter()
        .map(|(name, bytes)| (name, bytes.to_vec()))
        .collect();
    change(&mut files);
    let files: Files<'_> = files
        .iter()
        .map(|(name, bytes)| (name.clone(), bytes.as_slice()))
        .collect();
    Ok(archive::write(&files)?)
}

fn changed(area: &mut Area, golden: &Golden) -> Result<(), MakeError> {
    let files = contents(golden)?;
    let good = sealed(&files, seal()?, &key(seed::EVIDENCE))?;
    area.good(
        "whole",
        "Who ordered what, what ran under which limits, what it cost and what came out: all of it follows from the pinned root.",
        given(good.clone())?,
        json!({ "state": "succeeded", "orders": 1, "records": 10, "batches": 3, "artefacts": 1, "costMicros": 15 }),
    );
    let batch = pack::batch_name(ids()?.agent, 6);
    for (name, why, file, at) in [
        (
            "batch-changed",
            "One bit of a record was changed.",
            batch.as_str(),
            1_500,
        ),
        (
            "bundle-changed",
            "One bit of the bundle was changed.",
            &pack::bundle_name(&golden.bundle_ref.digest),
            40,
        ),
        (
            "policy-changed",
            "One bit of the trust policy was changed.",
            pack::POLICY,
            100,
        ),
        (
            "seal-changed",
            "One bit of the seal was changed.",
            pack::SEAL,
            100,
        ),
    ] {
        let bytes = reopened(&good, |files| {
            if let Some(bytes) = files.get_mut(file) {
                *bytes = flip(bytes, at);
            }
        })?;
        area.coded(name, why, given(bytes)?, INVALID);
    }
    area.coded(
        "header-changed",
        "One bit of the archive's own header (a file's owner) was changed: no byte of a pack is free.",
        given(flip(&good, 110))?,
        INVALID,
    );
    let added = reopened(&good, |files| {
        files.insert("notes.txt".to_owned(), b"trust me".to_vec());
    })?;
    area.coded(
        "file-added",
        "A file that the seal does not name.",
        given(added)?,
        INVALID,
    );
    area.coded(
        "byte-appended",
        "Something follows the archive's end.",
        given([good, vec![0]].concat())?,
        INVALID,
    );
    Ok(())
}

fn missing(area: &mut Area, golden: &Golden) -> Result<(), MakeError> {
    let files = contents(golden)?;
    let good = sealed(&files, seal()?, &key(seed::EVIDENCE))?;
    let agent = ids()?.agent;
    let unsealed = reopened(&good, |files| {
        files.remove(&pack::batch_name(agent, 6));
    })?;
    area.coded(
        "batch-removed",
        "The seal names a batch that is not there.",
        given(unsealed)?,
        INCOMPLETE,
    );
    let cut = good.get(..good.len() / 2).unwrap_or_default().to_vec();
    area.coded("cut-short", "The pack ends early.", given(cut)?, INCOMPLETE);
    Ok(())
}

/// Packs whose seal holds and from which whoever sealed them left something out.
fn left_out(area: &mut Area, golden: &Golden) -> Result<(), MakeError> {
    let mut left_out =
        |name, why, change: fn(&mut Contents) -> Result<(), MakeError>| -> Result<(), MakeError> {
            let mut files = contents(golden)?;
            change(&mut files)?;
            area.coded(
                name,
                why,
                given(sealed(&files, seal()?, &key(seed::EVIDENCE))?)?,
                INCOMPLETE,
            );
            Ok(())
        };
    left_out(
        "batch-left-out",
        "Even whoever seals the pack cannot leave out a batch: the numbers of the records show it.",
        |files| {
            files.remove(&pack::batch_name(ids()?.agent, 6));
            Ok(())
        },
    )?;
    left_out("last-batch-left-out", "The order's end is missing.", |files| {
        files.remove(&pack::batch_name(ids()?.agent, 10));
        Ok(())
    })?;
    left_out(
        "first-batch-left-out",
        "The order's beginning is missing.",
        |files| {
            files.remove(&pack::batch_name(ids()?.agent, 1));
            Ok(())
        },
    )?;
    left_out(
        "frame-left-out",
        "A batch that ends one record early leaves a gap before the next.",
        |files| {
            files.insert(pack::batch_name(ids()?.agent, 6), self::golden()?.batch(6, 8)?);
            Ok(())
        },
    )?;
    left_out(
        "manifest-left-out",
        "Without the manifest nobody can say who ordered it.",
        |files| {
            files.remove(&pack::manifest_name(ids()?.agent, self::golden()?.manifest.at));
            Ok(())
        },
    )?;
    left_out(
        "bundle-left-out",
        "Without the bundle nobody can say what was ordered.",
        |files| {
            files.remove(&pack::bundle_name(&self::golden()?.bundle_ref.digest));
            Ok(())
        },
    )?;
    left_out(
        "keys-left-out",
        "Without the registry's word nobody can say whose records these are.",
        |files| {
            files.remove(&pack::keys_name(ids()?.agent));
            Ok(())
        },
    )
}

fn wrong(area: &mut Area, golden: &Golden) -> Result<(), MakeError> {
    let files = contents(golden)?;
    for (name, why, seed) in [
        (
            "sealed-by-the-director",
            "The director may order and may not seal.",
            seed::DIRECTOR,
        ),
        (
            "sealed-by-a-stranger",
            "A key that nobody trusts.",
            seed::STRANGER,
        ),
    ] {
        area.coded(name, why, given(sealed(&files, seal()?, &key(seed))?)?, INVALID);
    }
    let claims = PackSeal {
        orders: vec![PackOrder {
            state: "failed".to_owned(),
            ..seal()?.orders.into_iter().next().ok_or("the seal has no order")?
        }],
        ..seal()?
    };
    area.coded(
        "seal-contradicts-the-agent",
        "The seal says that the order failed, the agent's statement that it succeeded.",
        given(sealed(&files, claims, &key(seed::EVIDENCE))?)?,
        INVALID,
    );
    let other = PackSeal {
        tenant: "other".to_owned(),
        ..seal()?
    };
    area.coded(
        "sealed-for-another-tenant",
        "The seal belongs to another tenant.",
        given(sealed(&files, other, &key(seed::EVIDENCE))?)?,
        INVALID,
    );
    let mut given = given(sealed(&files, seal()?, &key(seed::EVIDENCE))?)?;
    given.context.pinned = Some(Digest::of(b"another root"));
    area.coded(
        "another-root",
        "The pack follows from a root that this reader does not pin.",
        given,
        INVALID,
    );
    Ok(())
}
