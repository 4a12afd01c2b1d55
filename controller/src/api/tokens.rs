//! Secrets that are handed out: tokens for operators, and join tokens for hosts. Each is shown once.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::ToSchema;
use writ_protocol::reason::Code;

use super::Doors;
use super::page::{Body, Cursor, Items, Path, Query, id};
use super::problem::{Document, Problem};
use crate::app::view::{JoinTokenView, TokenView};
use crate::app::{Caller, NewJoinToken, NewToken, OperatorRole};

/// A join token to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct JoinTokenBody {
    /// The name of the agent that uses it; its hostname when absent.
    #[serde(default)]
    name: Option<String>,
    /// Labels of the agent.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// How long it counts, seconds.
    #[serde(default = "an_hour")]
    ttl_seconds: u64,
}

const fn an_hour() -> u64 {
    3_600
}

/// An API token to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TokenBody {
    /// Who it stands for.
    name: String,
    /// `viewer`, `operator` or `admin`.
    role: String,
    /// How long it counts, seconds; for good when absent.
    #[serde(default)]
    ttl_seconds: Option<u64>,
}

/// Makes a join token.
#[utoipa::path(post, path = "/api/v1/join-tokens", tag = "agents", request_body = JoinTokenBody,
    responses((status = 201, body = JoinTokenView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn create_join_token(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<JoinTokenBody>,
) -> Result<(StatusCode, Json<JoinTokenView>), Problem> {
    let new = NewJoinToken {
        name: body.name,
        labels: body.labels,
        ttl: Duration::from_secs(body.ttl_seconds),
    };
    let made = doors.app.create_join_token(&caller, new).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// API tokens by name, without their text.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", params(Cursor),
    responses((status = 200, body = Items<TokenView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Items<TokenView>>, Problem> {
    Ok(Json(doors.app.list_tokens(&caller, &cursor.into()).await?.into()))
}

/// Makes an API token.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = TokenBody,
    responses((status = 201, body = TokenView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn create(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<TokenBody>,
) -> Result<(StatusCode, Json<TokenView>), Problem> {
    let unknown = || {
        Problem::new(
            Code::Malformed,
            format!("{:?} is none of viewer, operator and admin", body.role),
        )
    };
    let role = OperatorRole::of(&body.role).ok_or_else(unknown)?;
    let new = NewToken {
        name: body.name,
        role,
        ttl: body.ttl_seconds.map(Duration::from_secs),
    };
    let made = doors.app.create_token(&caller, new).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revokes an API token.
#[utoipa::path(delete, path = "/api/v1/tokens/{token}", tag = "tokens", params(("token" = String, Path)),
    responses((status = 204), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn revoke(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(token): Path<String>,
) -> Result<StatusCode, Problem> {
    doors.app.revoke_token(&caller, id("token", &token)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
