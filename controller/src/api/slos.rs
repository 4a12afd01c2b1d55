//! Service levels: what is promised, how much of it is kept, how fast the rest burns.

use axum::Json;
use axum::extract::State;

use super::Doors;
use super::page::{Items, Path};
use super::problem::{Document, Problem};
use crate::app::view::SloView;

/// Every service level.
#[utoipa::path(get, path = "/api/v1/slos", tag = "slos",
    responses((status = 200, body = Items<SloView>), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn list(State(doors): State<Doors>) -> Result<Json<Items<SloView>>, Problem> {
    let items = doors.app.list_slos().await?;
    Ok(Json(Items { items, next: None }))
}

/// One service level.
#[utoipa::path(get, path = "/api/v1/slos/{slo}", tag = "slos", params(("slo" = String, Path)),
    responses((status = 200, body = SloView), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn get(
    State(doors): State<Doors>,
    Path(slo): Path<String>,
) -> Result<Json<SloView>, Problem> {
    Ok(Json(doors.app.get_slo(&slo).await?))
}
