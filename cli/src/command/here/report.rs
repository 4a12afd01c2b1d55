//! What a run on this machine brought: as it is kept, as JSON shows it, and as people read it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use writ_protocol::digest::Digest;
use writ_protocol::exec::RunMode;
use writ_protocol::id::RunId;
use writ_protocol::record::{Change, StepOutcome, StepResult};

use crate::output::{money, plain, table};

/// What a run brought, as it is shown and kept.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) run: RunId,
    pub(super) mode: RunMode,
    /// `unchanged` where there was nothing to do, else how the order ended.
    pub(super) state: String,
    pub(super) plan: Digest,
    pub(super) cost_micros: u64,
    pub(super) currency: String,
    pub(super) steps: Vec<Step>,
    pub(super) artefacts: Vec<Artefact>,
    /// What the host looked like at the end: a plan of nothing, where all is as it should be.
    pub(super) snapshot: Option<Digest>,
    /// Result digest of the last look at the host (docs/plans.md).
    pub(super) result: Option<Digest>,
    pub(super) pack: PathBuf,
    /// By which root the pack is verified.
    pub(super) root: Digest,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    #[serde(rename = "step")]
    pub(super) id: String,
    pub(super) outcome: StepOutcome,
    pub(super) code: Option<String>,
    pub(super) detail: String,
    pub(super) changes: Vec<Change>,
    pub(super) cost_micros: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Artefact {
    pub(super) step: String,
    pub(super) path: String,
    pub(super) sha256: Digest,
    pub(super) length: u64,
    pub(super) file: PathBuf,
}

/// How a step ended.
pub(super) fn step(result: &StepResult) -> Step {
    Step {
        id: result.step.clone(),
        outcome: result.outcome,
        code: result.code.map(|code| code.to_string()),
        detail: result.detail.clone(),
        changes: result.changes.clone(),
        cost_micros: result.cost_micros,
    }
}

/// The whole of it in a few lines.
pub(super) fn told(report: &Report) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &report.steps {
        *counts.entry(step.outcome.name()).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    let (cost, mode) = (money(report.cost_micros, &report.currency), report.mode.name());
    let mut parts = vec![format!(
        "{mode} {} {}: {}, cost {cost}",
        report.run,
        report.state,
        counts.join(", ")
    )];
    let files = report.artefacts.iter().map(|file| {
        [
            plain(&file.path),
            file.length.to_string(),
            file.sha256.to_hex(),
            file.file.display().to_string(),
        ]
    });
    parts.push(table(["artefact", "bytes", "sha256", "kept as"], files));
    let pack = report.pack.display();
    parts.push(format!(
        "evidence: {pack}\nnext: writ evidence verify {pack} --root {}",
        report.root
    ));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}
