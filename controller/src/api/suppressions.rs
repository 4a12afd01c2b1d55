//! Known noise: what people signed beforehand about drift. The signature is made where the person is; it comes here as a finished statement.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Doors;
use super::page::{Body, Cursor, Items, Path, Query, Reason, id};
use super::problem::{Document, Problem};
use crate::app::Caller;
use crate::app::view::{SuppressionTermsView, SuppressionView};

/// Which suppressions and baselines.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only of this project.
    project: Option<String>,
    /// Whether those are listed too that do not count any more.
    #[serde(default)]
    ended: bool,
}

/// What somebody signed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    /// The JSON of the statement's envelope, signed by an approver.
    envelope: String,
}

/// Suppressions and baselines, the newest first. They may name what only operators are to see.
#[utoipa::path(get, path = "/api/v1/suppressions", tag = "drift", params(Cursor, Filter),
    responses((status = 200, body = Items<SuppressionView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Query(cursor): Query<Cursor>,
    Query(filter): Query<Filter>,
) -> Result<Json<Items<SuppressionView>>, Problem> {
    let of = (filter.ended, filter.project.as_deref());
    let found = doors.app.list_suppressions(&caller, of, &cursor.into()).await?;
    Ok(Json(found.into()))
}

/// What a suppression or baseline has to say.
#[utoipa::path(get, path = "/api/v1/suppressions/terms", tag = "drift",
    responses((status = 200, body = SuppressionTermsView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn terms(State(doors): State<Doors>) -> Json<SuppressionTermsView> {
    Json(doors.app.suppression_terms())
}

/// Takes a suppression or baseline: what differs so is expected from now on, until it ends.
#[utoipa::path(post, path = "/api/v1/suppressions", tag = "drift", request_body = Signed,
    responses((status = 201, body = SuppressionView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn create(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<Signed>,
) -> Result<(StatusCode, Json<SuppressionView>), Problem> {
    let taken = doors
        .app
        .suppress_drift(&caller, body.envelope.as_bytes())
        .await?;
    Ok((StatusCode::CREATED, Json(taken)))
}

/// Takes a suppression or baseline back: what differs so is open again.
#[utoipa::path(post, path = "/api/v1/suppressions/{suppression}/end", tag = "drift", params(("suppression" = String, Path)),
    request_body = Reason,
    responses((status = 200, body = SuppressionView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn end(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(suppression): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<SuppressionView>, Problem> {
    let id = id("suppression", &suppression)?;
    Ok(Json(doors.app.end_suppression(&caller, id, &body.reason).await?))
}
