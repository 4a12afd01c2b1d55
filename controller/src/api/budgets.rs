//! Budgets: what may be promised to orders, and what is taken of it.

use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::ToSchema;
use writ_domain::budget::{Mode, Span};
use writ_protocol::reason::Code;

use super::Doors;
use super::page::{Body, Cursor, Items, Path, Query};
use super::problem::{Document, Problem};
use crate::app::view::BudgetView;
use crate::app::{Caller, NewBudget};

/// A budget to be set.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BudgetBody {
    /// `observe`, `warn` or `enforce`.
    mode: String,
    /// The cap, micro-units.
    cap_micros: u64,
    /// Over which window the cap holds: `none`, `day` or `month`, UTC.
    window: String,
    /// ISO 4217 code; the rate card's where none is given.
    #[serde(default)]
    currency: Option<String>,
}

/// Budgets, the tenant's first, then projects by name.
#[utoipa::path(get, path = "/api/v1/budgets", tag = "budgets", params(Cursor),
    responses((status = 200, body = Items<BudgetView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(
    State(doors): State<Doors>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Items<BudgetView>>, Problem> {
    Ok(Json(doors.app.list_budgets(&cursor.into()).await?.into()))
}

/// One budget: `tenant`, `project:NAME`, or `run:ID` for the one that a run's config names.
#[utoipa::path(get, path = "/api/v1/budgets/{budget}", tag = "budgets", params(("budget" = String, Path)),
    responses((status = 200, body = BudgetView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get(
    State(doors): State<Doors>,
    Path(budget): Path<String>,
) -> Result<Json<BudgetView>, Problem> {
    Ok(Json(doors.app.get_budget(&budget).await?))
}

/// Sets the budget of the tenant or of a project.
#[utoipa::path(post, path = "/api/v1/budgets/{budget}", tag = "budgets", params(("budget" = String, Path)), request_body = BudgetBody,
    responses((status = 200, body = BudgetView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn set(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    Path(budget): Path<String>,
    Body(body): Body<BudgetBody>,
) -> Result<Json<BudgetView>, Problem> {
    let wrong = |what: &str| Problem::new(Code::Malformed, what.to_owned());
    let new = NewBudget {
        mode: Mode::of(&body.mode).ok_or_else(|| wrong("a mode is observe, warn or enforce"))?,
        cap_micros: body.cap_micros,
        currency: body.currency,
        span: Span::of(&body.window).ok_or_else(|| wrong("a window is none, day or month"))?,
    };
    Ok(Json(doors.app.set_budget(&caller, &budget, new).await?))
}
