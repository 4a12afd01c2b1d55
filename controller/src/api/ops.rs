//! The doors for machines that watch the controller. They tell no secret and need no token.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use writ_chassis::metrics::Metrics;
use writ_protocol::reason::Code;

use super::Doors;
use super::problem::Problem;

pub(super) fn router() -> Router<Doors> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/openapi.json", get(openapi))
}

/// The process runs. It says nothing of what it depends on, so that nobody restarts it because the database is away.
async fn alive() -> &'static str {
    "ok\n"
}

/// Whether requests are welcome.
async fn ready(State(doors): State<Doors>) -> Response {
    let status = if doors.life.is_stopping() || !doors.health.is_ready() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    // Beside the checks: a controller that cannot revoke is asked all the same, and its operator must know.
    let report = serde_json::json!({
        "stopping": doors.life.is_stopping(),
        "checks": doors.health.report(),
        "revocation": doors.revocation.get().to_string(),
    });
    (status, Json(report)).into_response()
}

async fn metrics(State(doors): State<Doors>) -> Result<impl IntoResponse, Problem> {
    let text = doors.metrics.encode().map_err(|error| {
        tracing::warn!(error = %error, "metrics cannot be written");
        Problem::new(Code::Internal, "the metrics cannot be written")
    })?;
    Ok(([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], text))
}

async fn openapi() -> Result<impl IntoResponse, Problem> {
    let text =
        super::openapi().map_err(|_| Problem::new(Code::Internal, "the document cannot be written"))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text))
}

pub(super) async fn nothing_here() -> Problem {
    Problem::new(
        Code::NotFound,
        "there is nothing at this path; /api/v1/openapi.json says what there is",
    )
}

pub(super) async fn not_this_way() -> Problem {
    Problem::new(
        Code::Malformed,
        "this path does not take this method; the header Allow and /api/v1/openapi.json say which it takes",
    )
    .status(StatusCode::METHOD_NOT_ALLOWED)
}
