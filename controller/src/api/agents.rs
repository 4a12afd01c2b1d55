//! Agents: look, label, set apart, let back, remove.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use writ_protocol::reason::Code;

use super::Doors;
use super::page::{Body, Cursor, Items, Path, Query, Reason};
use super::problem::{Document, Problem};
use crate::app::Caller;
use crate::app::view::AgentView;

/// Labels of an agent, all of them.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Labels {
    /// What selects it.
    labels: BTreeMap<String, String>,
}

/// Which agents.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Selected {
    /// Labels that they must have: `env=prod,role=web`.
    labels: Option<String>,
}

fn selector(selected: &Selected) -> Result<BTreeMap<String, String>, Problem> {
    let parts = selected
        .labels
        .iter()
        .flat_map(|text| text.split(','))
        .filter(|part| !part.is_empty());
    let pair = |part: &str| {
        part.split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    parts
        .map(|part| {
            pair(part).ok_or_else(|| {
                Problem::new(
                    Code::Malformed,
                    "labels are written as key=value, joined by commas",
                )
            })
        })
        .collect()
}

/// Agents, by name.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", params(Cursor, Selected),
    responses((status = 200, body = Items<AgentView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Query(cursor): Query<Cursor>,
    Query(selected): Query<Selected>,
) -> Result<Json<Items<AgentView>>, Problem> {
    Ok(Json(
        doors
            .app
            .list_agents(&cursor.into(), &selector(&selected)?)
            .await?
            .into(),
    ))
}

/// One agent, by name or id.
#[utoipa::path(get, path = "/api/v1/agents/{agent}", tag = "agents", params(("agent" = String, Path)),
    responses((status = 200, body = AgentView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get(
    State(doors): State<Doors>,
    Path(agent): Path<String>,
) -> Result<Json<AgentView>, Problem> {
    Ok(Json(doors.app.get_agent(&agent).await?))
}

/// Replaces an agent's labels.
#[utoipa::path(post, path = "/api/v1/agents/{agent}/labels", tag = "agents", params(("agent" = String, Path)), request_body = Labels,
    responses((status = 200, body = AgentView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn set_labels(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(agent): Path<String>,
    Body(body): Body<Labels>,
) -> Result<Json<AgentView>, Problem> {
    Ok(Json(doors.app.set_labels(&caller, &agent, body.labels).await?))
}

/// Sets an agent apart: it starts nothing until it is released.
#[utoipa::path(post, path = "/api/v1/agents/{agent}/quarantine", tag = "agents", params(("agent" = String, Path)), request_body = Reason,
    responses((status = 200, body = AgentView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn quarantine(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(agent): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<AgentView>, Problem> {
    Ok(Json(
        doors.app.quarantine_agent(&caller, &agent, &body.reason).await?,
    ))
}

/// Lets an agent out of quarantine.
#[utoipa::path(post, path = "/api/v1/agents/{agent}/release", tag = "agents", params(("agent" = String, Path)), request_body = Reason,
    responses((status = 200, body = AgentView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn release(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(agent): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<AgentView>, Problem> {
    Ok(Json(
        doors.app.release_agent(&caller, &agent, &body.reason).await?,
    ))
}

/// Removes an agent for good and revokes its login.
#[utoipa::path(post, path = "/api/v1/agents/{agent}/remove", tag = "agents", params(("agent" = String, Path)), request_body = Reason,
    responses((status = 200, body = AgentView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn remove(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(agent): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<AgentView>, Problem> {
    Ok(Json(doors.app.remove_agent(&caller, &agent, &body.reason).await?))
}

/// Removes an agent for good, as `remove` without a reason.
#[utoipa::path(delete, path = "/api/v1/agents/{agent}", tag = "agents", params(("agent" = String, Path)),
    responses((status = 204), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn delete(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(agent): Path<String>,
) -> Result<StatusCode, Problem> {
    doors.app.remove_agent(&caller, &agent, "").await?;
    Ok(StatusCode::NO_CONTENT)
}
