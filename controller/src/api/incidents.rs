//! Incidents: what went wrong, who has seen it, how it ended, and the log that proves it.

use axum::extract::State;
use axum::{Extension, Json};

use super::Doors;
use super::page::{Body, Cursor, Items, Path, Query, Reason, id};
use super::problem::{Document, Problem};
use crate::app::Caller;
use crate::app::view::{IncidentDetailView, IncidentEntryView, IncidentView};

/// Incidents, the newest first.
#[utoipa::path(get, path = "/api/v1/incidents", tag = "incidents", params(Cursor),
    responses((status = 200, body = Items<IncidentView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Items<IncidentView>>, Problem> {
    Ok(Json(doors.app.list_incidents(&cursor.into()).await?.into()))
}

/// An incident with its entries.
#[utoipa::path(get, path = "/api/v1/incidents/{incident}", tag = "incidents", params(("incident" = String, Path)),
    responses((status = 200, body = IncidentDetailView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get(
    State(doors): State<Doors>,
    Path(incident): Path<String>,
) -> Result<Json<IncidentDetailView>, Problem> {
    Ok(Json(doors.app.get_incident(id("incident", &incident)?).await?))
}

/// Says that somebody has seen an incident.
#[utoipa::path(post, path = "/api/v1/incidents/{incident}/ack", tag = "incidents", params(("incident" = String, Path)), request_body = Reason,
    responses((status = 200, body = IncidentView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn ack(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(incident): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<IncidentView>, Problem> {
    let id = id("incident", &incident)?;
    Ok(Json(doors.app.ack_incident(&caller, id, &body.reason).await?))
}

/// Closes an incident; the reason says what was found and done.
#[utoipa::path(post, path = "/api/v1/incidents/{incident}/close", tag = "incidents", params(("incident" = String, Path)), request_body = Reason,
    responses((status = 200, body = IncidentView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn close(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(incident): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<IncidentView>, Problem> {
    let id = id("incident", &incident)?;
    Ok(Json(doors.app.close_incident(&caller, id, &body.reason).await?))
}

/// The log of all incidents, the oldest entry first: each digest covers its entry and the digest before it.
#[utoipa::path(get, path = "/api/v1/incident-log", tag = "incidents", params(Cursor),
    responses((status = 200, body = Items<IncidentEntryView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn log(
    State(doors): State<Doors>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Items<IncidentEntryView>>, Problem> {
    Ok(Json(doors.app.incident_log(&cursor.into()).await?.into()))
}
