//! How a run spreads over its hosts, as doors show it.

use serde::Serialize;
use utoipa::ToSchema;
use writ_store::order;
use writ_store::run::{RolloutRow, Run};

use crate::app::rollout::standing;

/// How a run spreads over its hosts. The numbers are hosts, worked out when it was ordered.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    /// Its targets at the start.
    pub targets: u32,
    /// Most of them at work at once.
    pub concurrency: u32,
    /// How many may fail; with one more no further one is begun.
    pub error_threshold: u32,
    /// How many in all are begun before the next are.
    pub waves: Vec<u32>,
    /// How many have failed, as the threshold counts: not those that a halt or a cancellation ended.
    pub failed: u64,
    /// How many wait for their turn.
    pub held: u64,
}

impl RolloutView {
    pub(super) fn new(run: &Run, row: &RolloutRow, counts: &[order::Count]) -> Self {
        let stands = standing(counts, run.run_id);
        Self {
            targets: row.frozen.targets,
            concurrency: row.frozen.concurrency,
            error_threshold: row.frozen.error_threshold,
            waves: row.frozen.waves.clone(),
            failed: stands.failed,
            held: stands.held,
        }
    }
}
