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
pub(in crate::command) struct Report {
    pub(in crate::command) run: RunId,
    pub(in crate::command) mode: RunMode,
    /// `unchanged` where there was nothing to do, else how the order ended.
    pub(in crate::command) state: String,
    pub(in crate::command) plan: Digest,
    pub(in crate::command) cost_micros: u64,
    pub(in crate::command) currency: String,
    pub(in crate::command) steps: Vec<Step>,
    pub(in crate::command) artefacts: Vec<Artefact>,
    /// What the host looked like at the end: a plan of nothing, where all is as it should be.
    pub(in crate::command) snapshot: Option<Digest>,
    /// Result digest of the last look at the host (docs/plans.md).
    pub(in crate::command) result: Option<Digest>,
    pub(in crate::command) pack: PathBuf,
    /// By which root the pack is verified.
    pub(in crate::command) root: Digest,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Step {
    #[serde(rename = "step")]
    pub(in crate::command) id: String,
    pub(in crate::command) outcome: StepOutcome,
    pub(in crate::command) code: Option<String>,
    pub(in crate::command) detail: String,
    pub(in crate::command) changes: Vec<Change>,
    pub(in crate::command) cost_micros: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Artefact {
    pub(in crate::command) step: String,
    pub(in crate::command) path: String,
    pub(in crate::command) sha256: Digest,
    pub(in crate::command) length: u64,
    pub(in crate::command) file: PathBuf,
}

impl Report {
    /// How many steps ended how.
    pub(in crate::command) fn counts(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for step in &self.steps {
            *counts.entry(step.outcome.name()).or_default() += 1;
        }
        let counts: Vec<String> = counts
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        counts.join(", ")
    }
}

/// How a step ended.
pub(in crate::command) fn step(result: &StepResult) -> Step {
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
pub(in crate::command) fn told(report: &Report) -> String {
    let (cost, mode) = (money(report.cost_micros, &report.currency), report.mode.name());
    let mut parts = vec![format!(
        "{mode} {} {}: {}, cost {cost}",
        report.run,
        report.state,
        report.counts()
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
