//! Drift: where hosts are not as their last applied plans want them, and when they were last looked at.

use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::IntoParams;
use writ_domain::drift::finding::State as Standing;
use writ_domain::drift::{Class, Severity};
use writ_protocol::reason::Code;

use super::Doors;
use super::page::{Body, Cursor, Items, Path, Query, Reason, id};
use super::problem::{Document, Problem};
use crate::app::view::{DriftDetailView, DriftView, WatchView};
use crate::app::{Caller, DriftQuery};

/// Of which host and project.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Of {
    /// Only of the agent of this name.
    agent: Option<String>,
    /// Only of this project.
    project: Option<String>,
}

/// Which findings.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only of this class: `unknown`, `capacity`, `configuration`, `availability`, `security` or `expected`.
    class: Option<String>,
    /// Only of this severity: `info`, `warn` or `critical`.
    severity: Option<String>,
    /// Only in this state: `open`, `acknowledged`, `expected`, `unknown` or `cleared`; where it is not given, in any but `expected` and `cleared`.
    state: Option<String>,
}

/// The value of a filter, when it is one.
fn one_of<T>(
    what: &str,
    given: Option<&str>,
    of: impl Fn(&str) -> Option<T>,
    all: &[&str],
) -> Result<Option<T>, Problem> {
    let Some(given) = given else { return Ok(None) };
    let refused = || Problem::new(Code::Malformed, format!("`{what}` is one of {}", all.join(", ")));
    of(given).map(Some).ok_or_else(refused)
}

/// Findings, the newest first. Those of the class `security` are for operators.
#[utoipa::path(get, path = "/api/v1/drift", tag = "drift", params(Cursor, Of, Filter),
    responses((status = 200, body = Items<DriftView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Query(cursor): Query<Cursor>,
    Query(of): Query<Of>,
    Query(filter): Query<Filter>,
) -> Result<Json<Items<DriftView>>, Problem> {
    let (classes, severities) = (Class::ALL.map(Class::name), Severity::ALL.map(Severity::name));
    let states = Standing::ALL.map(Standing::name);
    let asked = DriftQuery {
        agent: of.agent,
        project: of.project,
        class: one_of("class", filter.class.as_deref(), Class::of, &classes)?,
        severity: one_of("severity", filter.severity.as_deref(), Severity::of, &severities)?,
        state: one_of("state", filter.state.as_deref(), Standing::of, &states)?,
    };
    let found = doors.app.list_drift(&caller, &asked, &cursor.into()).await?;
    Ok(Json(found.into()))
}

/// What is watched on which hosts, by host and project, and when they were last looked at.
#[utoipa::path(get, path = "/api/v1/drift/hosts", tag = "drift", params(Cursor, Of),
    responses((status = 200, body = Items<WatchView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn hosts(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Query(cursor): Query<Cursor>,
    Query(of): Query<Of>,
) -> Result<Json<Items<WatchView>>, Problem> {
    let of = (of.agent.as_deref(), of.project.as_deref());
    let found = doors.app.drift_hosts(&caller, of, &cursor.into()).await?;
    Ok(Json(found.into()))
}

/// A finding with what became of it.
#[utoipa::path(get, path = "/api/v1/drift/{finding}", tag = "drift", params(("finding" = String, Path)),
    responses((status = 200, body = DriftDetailView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(finding): Path<String>,
) -> Result<Json<DriftDetailView>, Problem> {
    Ok(Json(
        doors.app.get_drift(&caller, id("finding", &finding)?).await?,
    ))
}

/// Says that somebody knows of a finding, until it differs otherwise or clears.
#[utoipa::path(post, path = "/api/v1/drift/{finding}/acknowledge", tag = "drift", params(("finding" = String, Path)), request_body = Reason,
    responses((status = 200, body = DriftView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn acknowledge(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(finding): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<DriftView>, Problem> {
    let id = id("finding", &finding)?;
    Ok(Json(
        doors.app.acknowledge_drift(&caller, id, &body.reason).await?,
    ))
}
