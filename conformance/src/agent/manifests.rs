//! Every manifest of the golden vectors that is to be refused, made around the agent that is examined, with an order whose effect would be seen.

use writ_protocol::digest::Digest;
use writ_protocol::manifest::Generation;
use writ_protocol::record::Record;

use super::ordered::{Ordered, Wish};
use super::stage::{Finding, Stage, ours};
use super::{Asked, Shared};
use crate::case::{Expect, Vector};
use crate::make::manifest;
use crate::provider::report::CaseReport;

const RESTS_ON: &str = "docs/protocol.md#manifest";

pub(super) fn run(asked: Asked<'_>) -> Vec<CaseReport> {
    let mut shared = Shared::new(asked);
    let names = match names() {
        Ok(names) => names,
        Err(finding) => {
            shared.case("vectors", RESTS_ON, |_| Err(finding));
            return shared.cases;
        }
    };
    for name in names {
        shared.case(&name, RESTS_ON, |stage| refused(stage, &name));
    }
    shared.case("known", RESTS_ON, known);
    shared.case("new-epoch", RESTS_ON, new_epoch);
    shared.case("taken-afterwards", RESTS_ON, Stage::lives_on);
    shared.cases
}

/// The vectors that are to be refused.
fn names() -> Result<Vec<String>, Finding> {
    let golden = crate::run::golden().map_err(ours)?;
    let all = manifest::of(&golden.manifest).map_err(ours)?;
    let bad = |vector: &Vector| matches!(vector.case.expect, Expect::Reject { .. });
    Ok(all
        .into_iter()
        .filter(bad)
        .map(|vector| vector.case.name)
        .collect())
}

/// The vector of this name around an order of the stage. What goes back is placed before what the agent has.
fn vector(stage: &Stage, ordered: &Ordered, name: &str) -> Result<Vector, Finding> {
    let mut base = stage.manifest(vec![ordered.order.clone()])?;
    let have = stage.desk.at;
    base.at = match name {
        "older" => Generation {
            generation: have.generation.saturating_sub(1),
            ..have
        },
        "older-epoch" => Generation {
            epoch: have.epoch.saturating_sub(1),
            generation: have.generation + 100,
        },
        _ => base.at,
    };
    let all = manifest::of(&base).map_err(ours)?;
    all.into_iter()
        .find(|vector| vector.case.name == name)
        .ok_or_else(|| format!("there is no vector {name}"))
}

fn refused(stage: &mut Stage, name: &str) -> Result<(), Finding> {
    if stage.desk.manifest.is_none() {
        // It must have something that it could go back from.
        stage.lives_on()?;
        stage.lives_on()?;
    }
    let ordered = stage.order(Wish::default())?;
    stage.serve(&ordered.order.bundle, &ordered.bundle);
    let vector = vector(stage, &ordered, name)?;
    let bytes = vector.files.get(&vector.case.input).cloned().unwrap_or_default();
    let Expect::Reject { code: Some(code), .. } = vector.case.expect else {
        return Err(format!("the vector {name} has no code"));
    };
    let offered = Digest::of(&bytes);
    let good = stage.desk.manifest.clone();
    stage.offer(bytes)?;
    let answer = stage.until("manifest_refused, or the order's acceptance", |stage| {
        let records = stage.desk.records.iter().map(|(_, record)| record);
        records.rev().find_map(|record| match record {
            Record::ManifestRefused(refused) if refused.bytes == offered => Some(Some(refused.code)),
            Record::OrderAccepted(taken) if taken.order_id == ordered.id() => Some(None),
            _ => None,
        })
    });
    stage.desk.manifest = good;
    match answer? {
        None => Err(format!("{code} was wanted; the order was accepted")),
        Some(found) if found != code => Err(format!("{code} was wanted; {found} came")),
        Some(_) => ordered.effect().map_or(Ok(()), |effect| {
            Err(format!("{code} came as it should, and yet {effect}"))
        }),
    }
}

/// What it has already is nothing to do, and no cause for alarm.
fn known(stage: &mut Stage) -> Result<(), Finding> {
    stage.lives_on()?;
    let refusals = |stage: &Stage| {
        let all = stage.desk.records.iter();
        all.filter(|(_, record)| matches!(record, Record::ManifestRefused(_)))
            .count()
    };
    let before = refusals(stage);
    stage.say(&writ_protocol::pipe::ToAgent::Wake)?;
    stage.settle()?;
    if refusals(stage) != before {
        return Err("the manifest that it has was to be passed over; it was refused".to_owned());
    }
    Ok(())
}

/// A later life of the database counts from the start.
fn new_epoch(stage: &mut Stage) -> Result<(), Finding> {
    stage.desk.at = Generation {
        epoch: stage.desk.at.epoch + 1,
        generation: 0,
    };
    stage.lives_on()?;
    let at = stage.desk.at;
    let marked = |record: &Record| matches!(record, Record::HighWater(mark) if mark.at == at);
    if stage.desk.records.iter().any(|(_, record)| marked(record)) {
        return Ok(());
    }
    Err(format!("high_water at {at:?} was wanted; there is none"))
}
