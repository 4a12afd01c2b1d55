//! Drift: where hosts are not as their last applied plans want them, and when they were last looked at.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use writ_domain::drift::finding::State as Standing;
use writ_domain::drift::{Class, Severity};
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;

use super::Doors;
use super::page::{Body, Cursor, Items, Path, Query, Reason, id};
use super::problem::{Document, Problem};
use crate::app::view::{DriftDetailView, DriftView, ScanView, WatchView};
use crate::app::{Caller, DriftQuery, ScanOf};

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
    /// Only on hosts of this environment.
    environment: Option<String>,
    /// Only in this state: `open`, `acknowledged`, `expected`, `unknown` or `cleared`; where it is not given, in any but `expected` and `cleared`.
    state: Option<String>,
}

/// What is to be looked at: everything that is watched, as far as nothing here says otherwise.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScanBody {
    /// On the host of the agent of this name.
    agent: Option<String>,
    /// Of this project.
    project: Option<String>,
    /// On hosts of this environment.
    environment: Option<String>,
}

/// Of which look that was asked for.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Scanned {
    /// When it was asked for, RFC 3339, as the answer to the request said.
    since: String,
    /// Only on hosts of this environment.
    environment: Option<String>,
}

/// The value of a filter, when it is one.
pub(super) fn one_of<T>(
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
        environment: filter.environment,
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

/// How far a look that was asked for has come.
#[utoipa::path(get, path = "/api/v1/drift/scans", tag = "drift", params(Scanned, Of),
    responses((status = 200, body = ScanView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn scanned(
    State(doors): State<Doors>,
    Query(scanned): Query<Scanned>,
    Query(of): Query<Of>,
) -> Result<Json<ScanView>, Problem> {
    let since = Timestamp::parse(&scanned.since)
        .map_err(|error| Problem::new(Code::Malformed, format!("since: {error}")))?;
    let of = ScanOf {
        agent: of.agent,
        project: of.project,
        environment: scanned.environment,
    };
    Ok(Json(doors.app.drift_scan(&of, since).await?))
}

/// Asks for a look at everything that is wanted on some hosts, now. Looking changes nothing there.
#[utoipa::path(post, path = "/api/v1/drift/scans", tag = "drift", request_body = ScanBody,
    responses((status = 201, body = ScanView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn scan(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<ScanBody>,
) -> Result<(StatusCode, Json<ScanView>), Problem> {
    let of = ScanOf {
        agent: body.agent,
        project: body.project,
        environment: body.environment,
    };
    let scan = doors.app.scan_drift(&caller, &of).await?;
    doors.control.hint(&scan.agents).await;
    Ok((StatusCode::CREATED, Json(scan.view)))
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
