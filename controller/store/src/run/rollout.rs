//! The numbers that a run's rollout is held to, as they stand in its row: worked out when it was ordered, and never again.

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use writ_domain::rollout::Frozen;

use crate::error::Error;
use crate::row;

/// A rollout in its run's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutRow {
    /// The numbers.
    pub frozen: Frozen,
    /// What each order may cost once it is given to its agent, micro-units.
    pub grant_micros: u64,
    /// What the whole run may cost, micro-units; none where its config names no budget.
    pub run_cap: Option<u64>,
}

/// As it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Form {
    targets: u32,
    concurrency: u32,
    error_threshold: u32,
    waves: Vec<u32>,
    grant_micros: u64,
    run_cap: Option<u64>,
}

pub(super) fn bound(of: &RolloutRow) -> Json<Form> {
    Json(Form {
        targets: of.frozen.targets,
        concurrency: of.frozen.concurrency,
        error_threshold: of.frozen.error_threshold,
        waves: of.frozen.waves.clone(),
        grant_micros: of.grant_micros,
        run_cap: of.run_cap,
    })
}

pub(super) fn read(r: &PgRow) -> Result<Option<RolloutRow>, Error> {
    let found = row::get::<Option<Json<Form>>>(r, "rollout")?;
    Ok(found.map(|Json(form)| RolloutRow {
        frozen: Frozen {
            targets: form.targets,
            concurrency: form.concurrency,
            error_threshold: form.error_threshold,
            waves: form.waves,
        },
        grant_micros: form.grant_micros,
        run_cap: form.run_cap,
    }))
}
