//! Signed reports of what weeks cost.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Doors;
use super::page::{Body, Cursor, Items, Path, Query};
use super::problem::{Document, Problem};
use crate::app::Caller;
use crate::app::view::{SignedCostReportView, StoredCostReportView};

/// A week to be reported.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WeekBody {
    /// The week of the calendar, UTC, such as `2026-W47`; it is over.
    week: String,
}

/// Which of several reports of a week.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// SHA-256 of the document; the newest where it is not given.
    digest: Option<String>,
}

/// Signed reports, the newest first.
#[utoipa::path(get, path = "/api/v1/cost-reports", tag = "costs", params(Cursor),
    responses((status = 200, body = Items<StoredCostReportView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Items<StoredCostReportView>>, Problem> {
    Ok(Json(doors.app.list_cost_reports(&cursor.into()).await?.into()))
}

/// Reports a week that is over, now. Where nothing became known since its last report, it is that one.
#[utoipa::path(post, path = "/api/v1/cost-reports", tag = "costs", request_body = WeekBody,
    responses((status = 201, body = StoredCostReportView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn make(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<WeekBody>,
) -> Result<(StatusCode, Json<StoredCostReportView>), Problem> {
    let made = doors.app.make_cost_report(&caller, &body.week).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// A week's report with its parts, and what its signature follows from.
#[utoipa::path(get, path = "/api/v1/cost-reports/{week}", tag = "costs", params(("week" = String, Path), Which),
    responses((status = 200, body = SignedCostReportView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get(
    State(doors): State<Doors>,
    Path(week): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<SignedCostReportView>, Problem> {
    let digest = which.digest.as_deref().map(super::runs::digest).transpose()?;
    Ok(Json(doors.app.get_cost_report(&week, digest.as_ref()).await?))
}
