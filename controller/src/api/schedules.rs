//! Schedules: what is started when, and what became of each time.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use writ_protocol::reason::Code;

use super::Doors;
use super::page::{Body, Cursor, Items, Path, Query, Reason};
use super::problem::{Document, Problem};
use crate::app::view::{FireView, ScheduleRule, ScheduleView, TickView};
use crate::app::{Caller, NewSchedule, ScheduleKind};

/// Coming times where nobody asks for a number.
const AHEAD: u32 = 5;

/// A schedule to be set.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ScheduleBody {
    /// Its name: a-z, 0-9, `.`, `_` and `-`.
    name: String,
    /// What it starts: `apply` carries a plan out, `check` looks at the hosts of one, `cost_report` reports what the week
    /// before cost.
    starts: String,
    /// The plan's digest; none for reports.
    #[serde(default)]
    plan_digest: Option<String>,
    /// When.
    rule: ScheduleRule,
}

/// How many coming times.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Count {
    /// Times, at most 100; 5 where it is not given.
    count: Option<u32>,
}

/// Schedules by name.
#[utoipa::path(get, path = "/api/v1/schedules", tag = "schedules", params(Cursor),
    responses((status = 200, body = Items<ScheduleView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Items<ScheduleView>>, Problem> {
    Ok(Json(doors.app.list_schedules(&cursor.into()).await?.into()))
}

/// Sets a schedule. Its first time is the first after now.
#[utoipa::path(post, path = "/api/v1/schedules", tag = "schedules", request_body = ScheduleBody,
    responses((status = 201, body = ScheduleView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn create(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<ScheduleBody>,
) -> Result<(StatusCode, Json<ScheduleView>), Problem> {
    let unknown = || {
        let names = ScheduleKind::ALL.map(ScheduleKind::name).join(", ");
        Problem::new(Code::Malformed, format!("`starts` is one of {names}"))
    };
    let new = NewSchedule {
        name: body.name,
        kind: ScheduleKind::of(&body.starts).ok_or_else(unknown)?,
        plan: body.plan_digest.as_deref().map(super::runs::digest).transpose()?,
        rule: body.rule,
    };
    let view = doors.app.create_schedule(&caller, new).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// One schedule by name, or by id also when it was removed.
#[utoipa::path(get, path = "/api/v1/schedules/{schedule}", tag = "schedules", params(("schedule" = String, Path)),
    responses((status = 200, body = ScheduleView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get(
    State(doors): State<Doors>,
    Path(schedule): Path<String>,
) -> Result<Json<ScheduleView>, Problem> {
    Ok(Json(doors.app.get_schedule(&schedule).await?))
}

/// Removes a schedule. What runs goes on, what waits is skipped, and what became of its times stays.
#[utoipa::path(post, path = "/api/v1/schedules/{schedule}/remove", tag = "schedules", params(("schedule" = String, Path)), request_body = Reason,
    responses((status = 200, body = ScheduleView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn remove(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(schedule): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<ScheduleView>, Problem> {
    let removed = doors
        .app
        .remove_schedule(&caller, &schedule, &body.reason)
        .await?;
    Ok(Json(removed))
}

/// Pauses a schedule: its times are skipped until it is resumed.
#[utoipa::path(post, path = "/api/v1/schedules/{schedule}/pause", tag = "schedules", params(("schedule" = String, Path)), request_body = Reason,
    responses((status = 200, body = ScheduleView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn pause(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(schedule): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<ScheduleView>, Problem> {
    let change = (true, body.reason.as_str());
    Ok(Json(doors.app.pause_schedule(&caller, &schedule, change).await?))
}

/// Has a schedule go on that was paused.
#[utoipa::path(post, path = "/api/v1/schedules/{schedule}/resume", tag = "schedules", params(("schedule" = String, Path)), request_body = Reason,
    responses((status = 200, body = ScheduleView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn resume(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(schedule): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<ScheduleView>, Problem> {
    let change = (false, body.reason.as_str());
    Ok(Json(doors.app.pause_schedule(&caller, &schedule, change).await?))
}

/// What became of a schedule's times, the latest first.
#[utoipa::path(get, path = "/api/v1/schedules/{schedule}/history", tag = "schedules", params(("schedule" = String, Path), Cursor),
    responses((status = 200, body = Items<FireView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn history(
    State(doors): State<Doors>,
    Path(schedule): Path<String>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Items<FireView>>, Problem> {
    let page = cursor.into();
    Ok(Json(doors.app.schedule_history(&schedule, &page).await?.into()))
}

/// The times that come next.
#[utoipa::path(get, path = "/api/v1/schedules/{schedule}/next", tag = "schedules", params(("schedule" = String, Path), Count),
    responses((status = 200, body = Vec<TickView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn next(
    State(doors): State<Doors>,
    Path(schedule): Path<String>,
    Query(count): Query<Count>,
) -> Result<Json<Vec<TickView>>, Problem> {
    let count = count.count.unwrap_or(AHEAD);
    Ok(Json(doors.app.schedule_ahead(&schedule, count).await?))
}
