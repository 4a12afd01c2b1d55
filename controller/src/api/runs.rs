//! Runs: order a check or an apply, watch it, cancel it, fetch what it left.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use data_encoding::BASE64;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use writ_plan::compile::Sources;
use writ_protocol::digest::Digest;
use writ_protocol::reason::Code;

use super::Doors;
use super::page::{Body, Cursor, Items, Path, Query, Reason, id};
use super::problem::{Document, Problem};
use crate::app::view::{ArtefactView, PlanView, RunView, StepView};
use crate::app::{Asked, Caller, Newcomers};

/// What is to be run.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub(super) enum Submission {
    /// Look how hosts differ from a config, and change nothing.
    Check {
        /// The config.
        config: ConfigBody,
    },
    /// Carry out a plan that was reviewed.
    Apply {
        /// The plan's digest.
        plan_digest: String,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
        /// Most hosts at work at once: a number such as `10`, or a part of the targets such as `20%`. At most what the config allows.
        #[serde(default)]
        concurrency: Option<String>,
        /// How many hosts may fail before no further one is begun, written alike. At most what the config allows.
        #[serde(default)]
        error_threshold: Option<String>,
        /// Carry it out on the plan's hosts also where the config selects more of them by now; they are left out. Without it such a plan is refused.
        #[serde(default)]
        leave_out_new_hosts: bool,
    },
}

/// A config with its files.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigBody {
    /// The config's file name, for messages.
    name: String,
    /// The config.
    text: String,
    /// Templates and sources, base64, by path relative to the config.
    #[serde(default)]
    files: BTreeMap<String, String>,
}

impl ConfigBody {
    fn sources(self) -> Result<Sources, Problem> {
        let mut files = BTreeMap::new();
        for (path, text) in self.files {
            let bytes = BASE64.decode(text.as_bytes());
            let bytes =
                bytes.map_err(|_| Problem::new(Code::Malformed, format!("file {path:?} is not base64")))?;
            files.insert(path, bytes);
        }
        Ok(Sources {
            config_name: self.name,
            config_text: self.text,
            files,
        })
    }
}

/// Which runs.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Standing {
    /// Only runs in this state.
    state: Option<String>,
}

/// Runs, the newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(Cursor, Standing),
    responses((status = 200, body = Items<RunView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Query(cursor): Query<Cursor>,
    Query(standing): Query<Standing>,
) -> Result<Json<Items<RunView>>, Problem> {
    Ok(Json(
        doors
            .app
            .list_runs(&cursor.into(), standing.state.as_deref())
            .await?
            .into(),
    ))
}

/// Orders a check or an apply.
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", request_body = Submission,
    responses((status = 201, body = RunView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn submit(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<Submission>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let run = match body {
        Submission::Check { config } => doors.app.submit_check(&caller, &config.sources()?).await?,
        Submission::Apply {
            plan_digest,
            reason,
            concurrency,
            error_threshold,
            leave_out_new_hosts,
        } => {
            let narrowed = crate::app::rollout_asked(concurrency.as_deref(), error_threshold.as_deref())?;
            let newcomers = if leave_out_new_hosts {
                Newcomers::LeaveOut
            } else {
                Newcomers::Refuse
            };
            let asked = Asked {
                reason,
                narrowed,
                newcomers,
            };
            doors
                .app
                .submit_rollout(&caller, &digest(&plan_digest)?, asked)
                .await?
        }
    };
    Ok((StatusCode::CREATED, Json(run)))
}

/// A plan by its digest.
#[utoipa::path(get, path = "/api/v1/plans/{digest}", tag = "runs", params(("digest" = String, Path)),
    responses((status = 200, body = PlanView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get_plan(
    State(doors): State<Doors>,
    Path(plan): Path<String>,
) -> Result<Json<PlanView>, Problem> {
    Ok(Json(doors.app.get_plan(&digest(&plan)?).await?))
}

/// Orders that a plan be carried out.
#[utoipa::path(post, path = "/api/v1/plans/{digest}/apply", tag = "runs", params(("digest" = String, Path)),
    responses((status = 201, body = RunView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn apply_plan(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(plan): Path<String>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let run = doors.app.submit_apply(&caller, &digest(&plan)?, None).await?;
    Ok((StatusCode::CREATED, Json(run)))
}

/// A run with its orders, a page of them.
#[utoipa::path(get, path = "/api/v1/runs/{run}", tag = "runs", params(("run" = String, Path), Cursor),
    responses((status = 200, body = RunView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get(
    State(doors): State<Doors>,
    Path(run): Path<String>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<RunView>, Problem> {
    Ok(Json(doors.app.get_run(id("run", &run)?, &cursor.into()).await?))
}

/// What a check run found.
#[utoipa::path(get, path = "/api/v1/runs/{run}/plan", tag = "runs", params(("run" = String, Path)),
    responses((status = 200, body = PlanView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn plan(
    State(doors): State<Doors>,
    Path(run): Path<String>,
) -> Result<Json<PlanView>, Problem> {
    Ok(Json(doors.app.plan_of(id("run", &run)?).await?))
}

/// Steps of a run.
#[utoipa::path(get, path = "/api/v1/runs/{run}/steps", tag = "runs", params(("run" = String, Path), Cursor),
    responses((status = 200, body = Items<StepView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn steps(
    State(doors): State<Doors>,
    Path(run): Path<String>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Items<StepView>>, Problem> {
    Ok(Json(
        doors
            .app
            .list_steps(id("run", &run)?, &cursor.into())
            .await?
            .into(),
    ))
}

/// Files that a run produced, by host.
#[utoipa::path(get, path = "/api/v1/runs/{run}/artefacts", tag = "runs", params(("run" = String, Path), Cursor),
    responses((status = 200, body = Items<ArtefactView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn artefacts(
    State(doors): State<Doors>,
    Path(run): Path<String>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Items<ArtefactView>>, Problem> {
    let (run, page) = (id("run", &run)?, cursor.into());
    Ok(Json(doors.app.list_artefacts(run, &page).await?.into()))
}

/// Bytes of an artefact or of a step's output.
#[utoipa::path(get, path = "/api/v1/runs/{run}/blobs/{digest}", tag = "runs",
    params(("run" = String, Path), ("digest" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn blob(
    State(doors): State<Doors>,
    Path((run, wanted)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let bytes = doors.app.read_blob(id("run", &run)?, &digest(&wanted)?).await?;
    // A browser must not run what a host produced.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, bytes))
}

/// A run's evidence pack.
#[utoipa::path(get, path = "/api/v1/runs/{run}/evidence", tag = "runs", params(("run" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn evidence(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let pack = doors.app.export_evidence(&caller, id("run", &run)?).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], pack))
}

/// Cancels a run.
#[utoipa::path(post, path = "/api/v1/runs/{run}/cancel", tag = "runs", params(("run" = String, Path)), request_body = Reason,
    responses((status = 200, body = RunView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn cancel(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<RunView>, Problem> {
    Ok(Json(
        doors
            .app
            .cancel_run(&caller, id("run", &run)?, &body.reason)
            .await?,
    ))
}

/// Under what a run goes on.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Resumption {
    /// What it may cost from now on, micro-units of the rate card's currency; as much again as its config allows where absent.
    #[serde(default)]
    budget_micros: Option<u64>,
}

/// Goes on with a run that stopped at its budget.
#[utoipa::path(post, path = "/api/v1/runs/{run}/resume", tag = "runs", params(("run" = String, Path)), request_body = Resumption,
    responses((status = 201, body = RunView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn resume(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    Body(body): Body<Resumption>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let run = doors
        .app
        .resume_run(&caller, id("run", &run)?, body.budget_micros)
        .await?;
    Ok((StatusCode::CREATED, Json(run)))
}

pub(super) fn digest(text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|_| {
        Problem::new(
            Code::Malformed,
            format!(
                "{:?} is no SHA-256 digest: 64 hexadecimal digits are wanted",
                text.chars().take(80).collect::<String>()
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_are_read_as_operators_write_them() {
        let check = r#"{"kind":"check","config":{"name":"a.yaml","text":"x","files":{"t":"aGk="}}}"#;
        let Ok(Submission::Check { config }) = serde_json::from_str(check) else {
            panic!("a check")
        };
        assert_eq!(config.sources().expect("decodes").files["t"], b"hi");
        let apply = r#"{"kind":"apply","planDigest":"00"}"#;
        let Ok(Submission::Apply { plan_digest, .. }) = serde_json::from_str(apply) else {
            panic!("an apply")
        };
        assert!(digest(&plan_digest).is_err());
        assert!(serde_json::from_str::<Submission>(r#"{"kind":"destroy"}"#).is_err());
        let bad = ConfigBody {
            name: String::new(),
            text: String::new(),
            files: [("f".into(), "!".into())].into(),
        };
        assert!(bad.sources().is_err());
    }
}
