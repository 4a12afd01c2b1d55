//! Remediations: asked for, approved, declined; and what environments let happen without a person.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use writ_domain::remediation::{Mode, State as Standing};
use writ_protocol::digest::Digest;
use writ_protocol::id::DriftId;
use writ_protocol::reason::Code;

use super::Doors;
use super::drift::one_of;
use super::page::{Body, Cursor, Items, Path, Query, Reason, id};
use super::problem::{Document, Problem};
use crate::app::view::{RemediationPolicyView, RemediationView};
use crate::app::{Caller, NewRemediationPolicy, RemediationQuery};

/// Which remediations.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only in this state: `checking`, `proposed`, `remediating`, `verifying`, `resolved`, `failed` or `declined`.
    state: Option<String>,
    /// Only on the host of the agent of this name.
    agent: Option<String>,
    /// Only of this project.
    project: Option<String>,
}

/// What is to be put right.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRemediation {
    /// Findings of one project on one host, 1 to 64.
    findings: Vec<String>,
    /// Why.
    reason: String,
}

/// A yes to what was seen.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Yes {
    /// The plan that it is a yes to.
    plan_digest: String,
}

/// What an environment lets happen without a person.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewPolicy {
    /// `audit`, `propose` or `autocorrect`.
    mode: String,
    /// Most of its hosts that are worked on at once.
    hosts_at_once: u32,
    /// Most remediations within an hour that nobody asked for.
    per_hour: u32,
    /// So many that failed within a day stop it.
    failures_max: u32,
    /// Why.
    reason: String,
}

/// Remediations, the newest first; for operators.
#[utoipa::path(get, path = "/api/v1/remediations", tag = "drift", params(Cursor, Filter),
    responses((status = 200, body = Items<RemediationView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Query(cursor): Query<Cursor>,
    Query(filter): Query<Filter>,
) -> Result<Json<Items<RemediationView>>, Problem> {
    let states = Standing::ALL.map(Standing::name);
    let asked = RemediationQuery {
        state: one_of("state", filter.state.as_deref(), Standing::of, &states)?,
        agent: filter.agent,
        project: filter.project,
    };
    let found = doors
        .app
        .list_remediations(&caller, &asked, &cursor.into())
        .await?;
    Ok(Json(found.into()))
}

/// Has findings of one project on one host put right: what would change is checked, and then proposed.
#[utoipa::path(post, path = "/api/v1/remediations", tag = "drift", request_body = NewRemediation,
    responses((status = 201, body = RemediationView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn begin(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<NewRemediation>,
) -> Result<(StatusCode, Json<RemediationView>), Problem> {
    let findings = body.findings.iter().map(|text| id("finding", text));
    let findings = findings.collect::<Result<Vec<DriftId>, Problem>>()?;
    let begun = doors.app.remediate(&caller, &findings, &body.reason).await?;
    Ok((StatusCode::CREATED, Json(begun)))
}

/// A remediation; for operators.
#[utoipa::path(get, path = "/api/v1/remediations/{remediation}", tag = "drift", params(("remediation" = String, Path)),
    responses((status = 200, body = RemediationView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(remediation): Path<String>,
) -> Result<Json<RemediationView>, Problem> {
    let id = id("remediation", &remediation)?;
    Ok(Json(doors.app.get_remediation(&caller, id).await?))
}

/// Has a proposed remediation carried out: exactly the plan that is named.
#[utoipa::path(post, path = "/api/v1/remediations/{remediation}/approve", tag = "drift", params(("remediation" = String, Path)),
    request_body = Yes,
    responses((status = 200, body = RemediationView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn approve(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(remediation): Path<String>,
    Body(body): Body<Yes>,
) -> Result<Json<RemediationView>, Problem> {
    let id = id("remediation", &remediation)?;
    let plan: Digest = body
        .plan_digest
        .parse()
        .map_err(|_| Problem::new(Code::Malformed, "`planDigest` is no digest".to_owned()))?;
    Ok(Json(doors.app.approve_remediation(&caller, id, &plan).await?))
}

/// Says no to a remediation that is checked or proposed.
#[utoipa::path(post, path = "/api/v1/remediations/{remediation}/decline", tag = "drift", params(("remediation" = String, Path)),
    request_body = Reason,
    responses((status = 200, body = RemediationView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn decline(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(remediation): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<RemediationView>, Problem> {
    let id = id("remediation", &remediation)?;
    Ok(Json(
        doors.app.decline_remediation(&caller, id, &body.reason).await?,
    ))
}

/// What environments let happen without a person. One that is not named lets nothing happen.
#[utoipa::path(get, path = "/api/v1/remediation-policies", tag = "drift",
    responses((status = 200, body = Vec<RemediationPolicyView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn policies(
    State(doors): State<Doors>,
) -> Result<Json<Vec<RemediationPolicyView>>, Problem> {
    Ok(Json(doors.app.remediation_policies().await?))
}

/// Sets what an environment lets happen without a person; for admins. Production proposes at most.
#[utoipa::path(post, path = "/api/v1/remediation-policies/{environment}", tag = "drift", params(("environment" = String, Path)),
    request_body = NewPolicy,
    responses((status = 200, body = RemediationPolicyView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn set_policy(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(environment): Path<String>,
    Body(body): Body<NewPolicy>,
) -> Result<Json<RemediationPolicyView>, Problem> {
    let modes = Mode::ALL.map(Mode::name);
    let mode = one_of("mode", Some(&body.mode), Mode::of, &modes)?.unwrap_or_default();
    let new = NewRemediationPolicy {
        mode,
        hosts_at_once: body.hosts_at_once,
        per_hour: body.per_hour,
        failures_max: body.failures_max,
        reason: body.reason,
    };
    Ok(Json(
        doors
            .app
            .set_remediation_policy(&caller, &environment, new)
            .await?,
    ))
}
