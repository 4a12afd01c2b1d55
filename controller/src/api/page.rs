//! The form of lists and of bodies, the same at every door.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use writ_protocol::reason::Code;

use super::problem::Problem;
use crate::app::{Page, Paged};

/// Which part of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Cursor {
    /// What `next` of the page before said.
    pub(super) cursor: Option<String>,
    /// Items of a page, at most 500.
    pub(super) limit: Option<u32>,
}

impl From<Cursor> for Page {
    fn from(cursor: Cursor) -> Self {
        Self {
            cursor: cursor.cursor,
            limit: cursor.limit,
        }
    }
}

/// A part of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Items<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// Where the next part begins; null after the last.
    pub(super) next: Option<String>,
}

impl<T> Items<T> {
    /// A list that is whole.
    pub(super) const fn all(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

impl<T> From<Paged<T>> for Items<T> {
    fn from(paged: Paged<T>) -> Self {
        Self {
            items: paged.items,
            next: paged.next,
        }
    }
}

/// An id in a path; what is none names nothing.
pub(super) fn id<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Problem> {
    let shown: String = text.chars().take(80).collect();
    text.parse()
        .map_err(|_| Problem::new(Code::NotFound, format!("{shown:?} is no id of a {what}")))
}

/// Why something is done; it stands in the audit.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// Why.
    #[serde(default)]
    pub(super) reason: String,
}

/// A JSON body; a bad one is a problem document.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(body) = Json::from_request(request, state).await.map_err(Problem::from)?;
        Ok(Self(body))
    }
}

/// A query; a bad one is a problem document.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = axum::extract::Query::from_request_parts(parts, state).await;
        Ok(Self(found.map_err(Problem::from)?.0))
    }
}

/// Parts of a path; bad ones are a problem document.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = axum::extract::Path::from_request_parts(parts, state).await;
        Ok(Self(found.map_err(Problem::from)?.0))
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::MissingJsonContentType(_) => Self::new(
                Code::Malformed,
                "the body must be JSON: Content-Type: application/json",
            )
            .status(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            other => Self::new(Code::Malformed, other.body_text()),
        }
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(Code::Malformed, rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(Code::Malformed, rejection.body_text())
    }
}
