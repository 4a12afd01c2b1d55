//! Halts: stop agents now, see how far the stop has come, and let them go on with a second principal's signed word.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::ToSchema;
use writ_protocol::halt::{HaltAction, Scope};

use super::Doors;
use super::page::{Body, Cursor, Items, Path, Query, id};
use super::problem::{Document, Problem};
use crate::app::view::{HaltStatusView, HaltView, LiftTermsView};
use crate::app::{Caller, NewHalt};

/// A halt to be set.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HaltBody {
    /// What it covers: `all`, or an object with one of `project`, `environment`, `run` and `agent`.
    #[schema(value_type = serde_json::Value)]
    scope: Scope,
    /// `soft`, `hard` or `lockdown`.
    #[schema(value_type = String)]
    action: HaltAction,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// A lift.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LiftBody {
    /// The JSON of the lift's envelope, signed by the operator.
    envelope: String,
}

/// Halts, the newest first.
#[utoipa::path(get, path = "/api/v1/halts", tag = "halts", params(Cursor),
    responses((status = 200, body = Items<HaltView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Items<HaltView>>, Problem> {
    Ok(Json(doors.app.list_halts(&cursor.into()).await?.into()))
}

/// Sets a halt. It is in the ledger before it is on its way.
#[utoipa::path(post, path = "/api/v1/halts", tag = "halts", request_body = HaltBody,
    responses((status = 201, body = HaltView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn set(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<HaltBody>,
) -> Result<(StatusCode, Json<HaltView>), Problem> {
    let new = NewHalt {
        scope: body.scope,
        action: body.action,
        reason: body.reason,
    };
    let signed = doors.app.set_halt(&caller, new).await?;
    doors.control.publish(signed.envelope).await;
    Ok((StatusCode::CREATED, Json(signed.view)))
}

/// A halt.
#[utoipa::path(get, path = "/api/v1/halts/{halt}", tag = "halts", params(("halt" = String, Path)),
    responses((status = 200, body = HaltView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get(
    State(doors): State<Doors>,
    Path(halt): Path<String>,
) -> Result<Json<HaltView>, Problem> {
    Ok(Json(doors.app.get_halt(id("halt", &halt)?).await?))
}

/// How far a stop has come.
#[utoipa::path(get, path = "/api/v1/halts/{halt}/status", tag = "halts", params(("halt" = String, Path)),
    responses((status = 200, body = HaltStatusView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn status(
    State(doors): State<Doors>,
    Path(halt): Path<String>,
) -> Result<Json<HaltStatusView>, Problem> {
    Ok(Json(doors.app.halt_status(id("halt", &halt)?).await?))
}

/// What a lift of a halt has to say.
#[utoipa::path(get, path = "/api/v1/halts/{halt}/lift-terms", tag = "halts", params(("halt" = String, Path)),
    responses((status = 200, body = LiftTermsView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn lift_terms(
    State(doors): State<Doors>,
    Path(halt): Path<String>,
) -> Result<Json<LiftTermsView>, Problem> {
    Ok(Json(doors.app.lift_terms(id("halt", &halt)?).await?))
}

/// Lifts a halt with an operator's signed word.
#[utoipa::path(post, path = "/api/v1/halts/{halt}/release", tag = "halts", params(("halt" = String, Path)), request_body = LiftBody,
    responses((status = 200, body = HaltView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn release(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(halt): Path<String>,
    Body(body): Body<LiftBody>,
) -> Result<Json<HaltView>, Problem> {
    let signed = doors
        .app
        .release_halt(&caller, id("halt", &halt)?, body.envelope.as_bytes())
        .await?;
    doors.control.publish(signed.envelope).await;
    Ok(Json(signed.view))
}
