//! What orders cost: reports, the dearest, and what nobody knows.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;

use super::Doors;
use super::page::{Cursor, Items, Query};
use super::problem::{Document, Problem};
use crate::app::view::{CostReportView, UnknownCostView};
use crate::app::{CostBy as By, CostQuery};

/// Which orders: those that were made in a window, the longest of which has 366 days.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Window {
    /// Made at or after, RFC 3339; where it is not given, since the month of `to` began, UTC.
    from: Option<String>,
    /// Made before, RFC 3339; now where it is not given.
    to: Option<String>,
    /// Only of this project.
    project: Option<String>,
}

impl Window {
    fn query(self) -> Result<CostQuery, Problem> {
        let instant = |name: &str, text: Option<String>| {
            let parse = |text: String| {
                let detail = format!("{name} is no RFC 3339 instant, such as 2026-11-01T00:00:00Z");
                Timestamp::parse(&text).map_err(|_| Problem::new(Code::Malformed, detail))
            };
            text.map(parse).transpose()
        };
        Ok(CostQuery {
            from: instant("from", self.from)?,
            to: instant("to", self.to)?,
            project: self.project,
        })
    }
}

/// What the lines are about.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct About {
    /// `tenant`, `project`, `run`, `agent`, `step` or `provider`; `project` where it is not given.
    by: Option<String>,
}

impl About {
    fn by(&self) -> Result<By, Problem> {
        let Some(name) = &self.by else {
            return Ok(By::Project);
        };
        let wrong = || {
            let names = By::ALL.map(By::name).join(", ");
            Problem::new(Code::Malformed, format!("`by` is one of {names}"))
        };
        By::of(name).ok_or_else(wrong)
    }
}

/// How many.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Limit {
    /// Lines, at most 500.
    limit: Option<u32>,
}

/// Sums of what orders cost, by key. Every page holds the total of all lines, taken at the moment of the page.
#[utoipa::path(get, path = "/api/v1/costs", tag = "costs", params(About, Window, Cursor),
    responses((status = 200, body = CostReportView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn report(
    State(doors): State<Doors>,
    Query(about): Query<About>,
    Query(window): Query<Window>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<CostReportView>, Problem> {
    let (by, asked) = (about.by()?, window.query()?);
    Ok(Json(doors.app.cost_report(by, &asked, &cursor.into()).await?))
}

/// The dearest of a window, what may have been spent among it.
#[utoipa::path(get, path = "/api/v1/costs/top", tag = "costs", params(About, Window, Limit),
    responses((status = 200, body = CostReportView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn top(
    State(doors): State<Doors>,
    Query(about): Query<About>,
    Query(window): Query<Window>,
    Query(limit): Query<Limit>,
) -> Result<Json<CostReportView>, Problem> {
    let (by, asked) = (about.by()?, window.query()?);
    Ok(Json(doors.app.cost_top(by, &asked, limit.limit).await?))
}

/// Orders of which nobody knows all that they cost, by when they were made, with what each is counted as.
#[utoipa::path(get, path = "/api/v1/costs/unknown", tag = "costs", params(Window, Cursor),
    responses((status = 200, body = Items<UnknownCostView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn unknown(
    State(doors): State<Doors>,
    Query(window): Query<Window>,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Items<UnknownCostView>>, Problem> {
    let asked = window.query()?;
    Ok(Json(
        doors.app.unknown_costs(&asked, &cursor.into()).await?.into(),
    ))
}
