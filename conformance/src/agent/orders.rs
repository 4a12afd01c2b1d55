//! Orders that are as they should be: carried out once, told in full, and not begun where the order itself says that it may not be.

use std::collections::BTreeMap;
use std::time::Duration;

use writ_protocol::digest::Digest;
use writ_protocol::evidence::{PackOrder, PackSeal, pack, verify};
use writ_protocol::exec::RunMode;
use writ_protocol::manifest::{Manifest, Order, OrderKind};
use writ_protocol::reason::Code;
use writ_protocol::record::Record;

use super::Case;
use super::ordered::{ARTEFACT, CONTENT, Ended, Ordered, Wish};
use super::stage::{Finding, Stage, ours};
use crate::provider::Program;
use crate::world::{self, key, seed};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "carried-out-once",
        rests_on: "docs/protocol.md#manifest",
        run: carried_out,
    },
    Case {
        name: "recorded-in-order",
        rests_on: "docs/protocol.md#records",
        run: recorded,
    },
    Case {
        name: "evidence-verifies",
        rests_on: "docs/protocol.md#evidence-pack",
        run: evidence,
    },
    Case {
        name: "check-changes-nothing",
        rests_on: "docs/protocol.md#manifest",
        run: check,
    },
    Case {
        name: "ordered-again",
        rests_on: "docs/protocol.md#manifest",
        run: again,
    },
    Case {
        name: "not-yet",
        rests_on: "docs/protocol.md#manifest",
        run: not_yet,
    },
    Case {
        name: "expired",
        rests_on: "docs/protocol.md#manifest",
        run: |program| refused(program, Code::Expired, expired),
    },
    Case {
        name: "cancelled",
        rests_on: "docs/protocol.md#manifest",
        run: |program| refused(program, Code::Cancelled, cancelled),
    },
    Case {
        name: "quarantined",
        rests_on: "docs/protocol.md#manifest",
        run: |program| refused(program, Code::Quarantined, |manifest| manifest.quarantined = true),
    },
    Case {
        name: "other-mode",
        rests_on: "docs/protocol.md#manifest",
        run: |program| {
            refused(program, Code::InputNotStrict, |m| {
                each(m, |o| o.mode = RunMode::DevFast);
            })
        },
    },
    Case {
        name: "rests-on-another-state",
        rests_on: "docs/protocol.md#manifest",
        run: |program| {
            let other = |order: &mut Order| order.rests_on = Some(Digest::of(b"another state"));
            refused(program, Code::Stale, |manifest| each(manifest, other))
        },
    },
];

fn each(manifest: &mut Manifest, change: impl Fn(&mut Order)) {
    manifest.orders.iter_mut().for_each(change);
}

fn expired(manifest: &mut Manifest) {
    let over = manifest.issued_at.minus(Duration::from_secs(31));
    each(manifest, |order| order.expires_at = over);
}

fn cancelled(manifest: &mut Manifest) {
    manifest.cancelled = manifest.orders.iter().map(|order| order.order_id).collect();
}

/// An order that was carried out as it should be.
fn done(program: &Program) -> Result<(Stage, Ordered), Finding> {
    let mut stage = Stage::up(program)?;
    let ordered = stage.order(Wish::default())?;
    stage.give(&ordered)?;
    let ended = stage.ended(ordered.id())?;
    if !ended.has_succeeded() {
        let why = match &ended {
            Ended::Done(done) => &done.detail,
            Ended::Refused(refused) => &refused.detail,
        };
        return Err(format!("it was to succeed; {} ({why})", ended.told()));
    }
    // What it does unasked after the end would be seen as well.
    stage.settle()?;
    Ok((stage, ordered))
}

fn carried_out(program: &Program) -> Result<(), Finding> {
    let (stage, ordered) = done(program)?;
    if ordered.runs() != 1 {
        return Err(format!(
            "the command was to run once; it ran {} times",
            ordered.runs()
        ));
    }
    if ordered.made().as_deref() != Some(CONTENT) {
        return Err("the file was to be made with the content of the bundle; it is not so".to_owned());
    }
    let orders = |record: &Record| record.order_id().is_some_and(|id| id != ordered.id());
    if stage.desk.records.iter().any(|(_, record)| orders(record)) {
        return Err("it tells of an order that was never given".to_owned());
    }
    Ok(())
}

fn recorded(program: &Program) -> Result<(), Finding> {
    let (stage, ordered) = done(program)?;
    let seqs: Vec<u64> = stage.desk.records.iter().map(|(seq, _)| *seq).collect();
    if seqs.first() != Some(&1) || seqs.windows(2).any(|two| two.first() >= two.last()) {
        return Err(format!(
            "records were to be numbered from 1 without gaps; they are {seqs:?}"
        ));
    }
    if !matches!(stage.desk.records.first(), Some((_, Record::SessionStart(_)))) {
        return Err("the first record of a journal is session_start".to_owned());
    }
    let taken = |record: &&Record| matches!(record, Record::OrderAccepted(_));
    let names: Vec<&str> = stage.records(ordered.id()).map(name).collect();
    let count = |wanted: &str| names.iter().filter(|name| **name == wanted).count();
    if stage.records(ordered.id()).filter(taken).count() != 1
        || count("order_done") != 1
        || names.first() != Some(&"order_accepted")
        || names.last() != Some(&"order_done")
    {
        return Err(format!(
            "an order begins with its one order_accepted and ends with its one order_done; it has {names:?}"
        ));
    }
    let (intents, results) = (stage.intents(ordered.id()), stage.results(ordered.id()));
    for resource in &ordered.graph.resources {
        let begun = names.iter().position(|name| *name == "step_intent");
        let ended = names.iter().position(|name| *name == "step_result");
        let mine = intents.iter().filter(|intent| intent.step == resource.id);
        let [intent] = mine.collect::<Vec<_>>()[..] else {
            return Err(format!("{} was to have one step_intent", resource.id));
        };
        let ends = results.iter().filter(|result| result.step == resource.id).count();
        if ends != 1 || begun > ended {
            return Err(format!(
                "{} was to have one step_result, after its intent",
                resource.id
            ));
        }
        let mut bytes = ordered.id().as_uuid().as_bytes().to_vec();
        bytes.extend_from_slice(resource.id.as_bytes());
        if intent.idempotency_key != Digest::of(&bytes) {
            return Err(format!("the idempotency key of {} is another", resource.id));
        }
    }
    Ok(())
}

fn name(record: &Record) -> &'static str {
    match record {
        Record::OrderAccepted(_) => "order_accepted",
        Record::OrderRefused(_) => "order_refused",
        Record::StepIntent(_) => "step_intent",
        Record::StepResult(_) => "step_result",
        Record::BlobChunk(_) => "blob_chunk",
        Record::Signed(_) => "signed",
        Record::OrderDone(_) => "order_done",
        _ => "another record",
    }
}

/// The whole evidence, as an auditor verifies it, and the artefact's bytes.
fn evidence(program: &Program) -> Result<(), Finding> {
    let (stage, ordered) = done(program)?;
    let bytes = packed(&stage, &ordered)?;
    let root = world::pinned().map_err(ours)?;
    let fault = |fault: verify::Fault| format!("its evidence was to verify; {fault}");
    let report = verify::verify(&bytes, &root).map_err(fault)?;
    if report.orders.iter().any(|order| order.execution.is_none()) {
        return Err("its evidence has no execution statement".to_owned());
    }
    let artefacts = verify::artefacts(&bytes, &root).map_err(fault)?;
    match artefacts.as_slice() {
        [(_, artefact, content)] if content == ARTEFACT && artefact.digest == Digest::of(ARTEFACT) => Ok(()),
        [(_, artefact, _)] => Err(format!("the artefact was to be another than {}", artefact.digest)),
        more => Err(format!("one artefact was to come; {} came", more.len())),
    }
}

fn packed(stage: &Stage, ordered: &Ordered) -> Result<Vec<u8>, Finding> {
    let (desk, agent) = (
        &stage.desk,
        stage.desk.agent.as_ref().ok_or("it is not enrolled")?,
    );
    let me = agent.identity.clone();
    let mut about = desk
        .records
        .iter()
        .filter(|(_, record)| record.order_id() == Some(ordered.id()));
    let first = about.next().map_or(0, |(seq, _)| *seq);
    let last = about.next_back().map_or(first, |(seq, _)| *seq);
    let mut files = BTreeMap::from([
        (pack::POLICY.to_owned(), desk.policy().map_err(ours)?),
        (
            pack::bundle_name(&ordered.order.bundle.digest),
            ordered.bundle.clone(),
        ),
        (pack::keys_name(me.agent_id), agent.envelope.clone()),
    ]);
    let root = world::root_envelope().and_then(|root| Ok(root.to_json()?));
    files.insert(pack::ROOT.to_owned(), root.map_err(ours)?);
    let manifest = desk.manifest.clone().ok_or("nothing was ordered")?;
    files.insert(pack::manifest_name(me.agent_id, desk.at), manifest);
    for (from, to, message) in &desk.batches {
        if *to >= first && *from <= last {
            files.insert(pack::batch_name(me.agent_id, *from), message.clone());
        }
    }
    let state = "succeeded".to_owned();
    let seal = PackSeal {
        tenant: world::TENANT.to_owned(),
        run_id: ordered.order.run_id,
        state: state.clone(),
        ordered_by: ordered.order.ordered_by.clone(),
        exported_by: ordered.order.ordered_by.clone(),
        exported_at: desk.now,
        orders: vec![PackOrder {
            order_id: ordered.id(),
            identity: me,
            name: agent.name.clone(),
            state,
            journal_id: desk.journal.map(|journal| journal.journal_id),
            seqs: Some((first, last)),
        }],
    };
    pack::build(&files, seal, &key(seed::EVIDENCE)).map_err(|error| ours(error.into()))
}

fn check(program: &Program) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    let mut ordered = stage.order(Wish::default())?;
    ordered.order.kind = OrderKind::Check;
    ordered.order.plan_digest = None;
    stage.give(&ordered)?;
    let ended = stage.ended(ordered.id())?;
    stage.settle()?;
    if let Some(effect) = ordered.effect() {
        return Err(format!("a check changes nothing; {effect}"));
    }
    if !ended.has_succeeded() {
        return Err(format!("the check was to succeed; {}", ended.told()));
    }
    Ok(())
}

fn again(program: &Program) -> Result<(), Finding> {
    let (mut stage, ordered) = done(program)?;
    stage.give(&ordered)?;
    stage.lives_on()?;
    let taken = |record: &&Record| matches!(record, Record::OrderAccepted(_));
    let times = stage.records(ordered.id()).filter(taken).count();
    if ordered.runs() != 1 || times != 1 {
        return Err(format!(
            "an order is started once; it was accepted {times} times, and its command ran {} times",
            ordered.runs()
        ));
    }
    Ok(())
}

fn not_yet(program: &Program) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    let mut ordered = stage.order(Wish::default())?;
    ordered.order.not_before = stage.desk.now.plus(Duration::from_secs(1_800));
    stage.give(&ordered)?;
    stage.settle()?;
    ordered.effect().map_or(Ok(()), |effect| {
        Err(format!("nothing was to begin before its time; {effect}"))
    })
}

/// An order that is changed and must not be carried out, for this reason; then a good one.
fn refused(program: &Program, code: Code, change: impl FnOnce(&mut Manifest)) -> Result<(), Finding> {
    let mut stage = Stage::up(program)?;
    let ordered = stage.order(Wish::default())?;
    stage.serve(&ordered.order.bundle, &ordered.bundle);
    let mut manifest = stage.manifest(vec![ordered.order.clone()])?;
    change(&mut manifest);
    stage.publish(manifest)?;
    let ended = stage.ended(ordered.id())?;
    stage.nothing_of(&ordered, &ended, &[code])?;
    stage.lives_on()
}
