//! Alerts: who is told of what, what was sent, and what was not taken.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::IntoParams;
use writ_domain::alert::delivery::State as Standing;
use writ_protocol::reason::Code;

use super::Doors;
use super::page::{Cursor, Items, Path, Query, id};
use super::problem::{Document, Problem};
use crate::app::view::{AlertRuleView, AlertView, ReceiverView};
use crate::app::{AlertQuery, Caller};

/// Which notifications.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only in this state: `waiting`, `sending`, `delivered`, `dead` or `dropped`.
    state: Option<String>,
    /// Only of this receiver.
    receiver: Option<String>,
}

/// Notifications, the newest first. For operators.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(Cursor, Filter),
    responses((status = 200, body = Items<AlertView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Query(cursor): Query<Cursor>,
    Query(filter): Query<Filter>,
) -> Result<Json<Items<AlertView>>, Problem> {
    let state = match filter.state.as_deref() {
        None => None,
        Some(text) => Some(Standing::of(text).ok_or_else(|| {
            let all = Standing::ALL.map(Standing::name).join(", ");
            Problem::new(Code::Malformed, format!("`state` is one of {all}"))
        })?),
    };
    let asked = AlertQuery {
        state,
        receiver: filter.receiver,
    };
    let found = doors.app.list_alerts(&caller, &asked, &cursor.into()).await?;
    Ok(Json(found.into()))
}

/// A notification. For operators.
#[utoipa::path(get, path = "/api/v1/alerts/{alert}", tag = "alerts", params(("alert" = String, Path)),
    responses((status = 200, body = AlertView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(alert): Path<String>,
) -> Result<Json<AlertView>, Problem> {
    Ok(Json(
        doors.app.get_alert(&caller, id("notification", &alert)?).await?,
    ))
}

/// Sends a dead notification again, under its own id.
#[utoipa::path(post, path = "/api/v1/alerts/{alert}/replay", tag = "alerts", params(("alert" = String, Path)),
    responses((status = 200, body = AlertView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn replay(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(alert): Path<String>,
) -> Result<Json<AlertView>, Problem> {
    let id = id("notification", &alert)?;
    Ok(Json(doors.app.replay_alert(&caller, id).await?))
}

/// Who can be told, as this controller is configured; neither addresses nor secrets.
#[utoipa::path(get, path = "/api/v1/alert-receivers", tag = "alerts",
    responses((status = 200, body = Items<ReceiverView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn receivers(State(doors): State<Doors>) -> Json<Items<ReceiverView>> {
    Json(Items::all(doors.app.alert_receivers()))
}

/// Of what they are told, in order: the first rule that is for an event and names a receiver counts.
#[utoipa::path(get, path = "/api/v1/alert-rules", tag = "alerts",
    responses((status = 200, body = Items<AlertRuleView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn rules(State(doors): State<Doors>) -> Json<Items<AlertRuleView>> {
    Json(Items::all(doors.app.alert_rules()))
}

/// Makes a notification to see whether a receiver is reached.
#[utoipa::path(post, path = "/api/v1/alert-receivers/{receiver}/test", tag = "alerts", params(("receiver" = String, Path)),
    responses((status = 201, body = AlertView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn test(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(receiver): Path<String>,
) -> Result<(StatusCode, Json<AlertView>), Problem> {
    let made = doors.app.test_receiver(&caller, &receiver).await?;
    Ok((StatusCode::CREATED, Json(made)))
}
