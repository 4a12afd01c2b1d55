//! Every bundle of the golden vectors that is to be refused, made around an order whose effect would be seen. The manifest that orders it is good.

use std::time::Duration;

use writ_protocol::reason::Code;

use super::ordered::{Ordered, Wish};
use super::stage::{Finding, Stage, ours};
use super::{Asked, Shared};
use crate::case::{Expect, Vector};
use crate::make::bundle;
use crate::provider::report::CaseReport;
use crate::run::{Golden, golden};

const RESTS_ON: &str = "docs/protocol.md#bundle";

/// How long an agent may look for a bundle that nobody has.
const FETCH_WAIT: Duration = Duration::from_secs(120);

pub(super) fn run(asked: Asked<'_>) -> Vec<CaseReport> {
    let mut shared = Shared::new(asked);
    match golden().and_then(|golden| bundle::of(&golden)) {
        Ok(all) => {
            let bad = |vector: &Vector| matches!(vector.case.expect, Expect::Reject { .. });
            for vector in all.into_iter().filter(bad) {
                let name = vector.case.name;
                shared.case(&name, RESTS_ON, |stage| refused(stage, &name));
            }
            shared.case("not-there", RESTS_ON, not_there);
            shared.case("taken-afterwards", RESTS_ON, Stage::lives_on);
        }
        Err(error) => shared.case("vectors", RESTS_ON, |_| Err(ours(error))),
    }
    shared.cases
}

fn around(stage: &Stage, ordered: &Ordered) -> Result<Vec<Vector>, Finding> {
    let manifest = stage.manifest(vec![ordered.order.clone()])?;
    let (graph, blobs) = (ordered.graph.clone(), ordered.blobs.clone());
    Golden::unrecorded(graph, blobs, ordered.bundle.clone(), manifest)
        .and_then(|golden| bundle::of(&golden))
        .map_err(ours)
}

fn refused(stage: &mut Stage, name: &str) -> Result<(), Finding> {
    let mut ordered = stage.order(Wish::default())?;
    let vector = around(stage, &ordered)?
        .into_iter()
        .find(|vector| vector.case.name == name)
        .ok_or_else(|| format!("there is no vector {name}"))?;
    let (Expect::Reject { code: Some(code), .. }, Some(ordered_as)) =
        (vector.case.expect, vector.case.context.bundle)
    else {
        return Err(format!("the vector {name} has no code, or no name of its bundle"));
    };
    ordered.order.bundle = ordered_as;
    let bytes = vector.files.get(&vector.case.input).cloned().unwrap_or_default();
    stage.serve(&ordered_as, &bytes);
    let manifest = stage.manifest(vec![ordered.order.clone()])?;
    stage.publish(manifest)?;
    let ended = stage.ended(ordered.id())?;
    // More bytes than were ordered are noticed while they come, or at their end.
    let codes = [code, Code::BundleUnavailable];
    let allowed = if name == "longer" { &codes[..] } else { &codes[..1] };
    stage.nothing_of(&ordered, &ended, allowed)
}

/// Nobody has it.
fn not_there(stage: &mut Stage) -> Result<(), Finding> {
    let ordered = stage.order(Wish::default())?;
    let manifest = stage.manifest(vec![ordered.order.clone()])?;
    stage.publish(manifest)?;
    let ended = stage.ended_within(FETCH_WAIT, ordered.id())?;
    stage.nothing_of(&ordered, &ended, &[Code::BundleUnavailable])
}
