//! Queries: a parameter that an operation does not know is refused, because one that is passed over (a filter that was misspelt) answers
//! another question than the one that was asked. What each operation knows is what the OpenAPI document says of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, ParameterIn};
use writ_plan::diagnostic::closest;
use writ_protocol::reason::Code;

use super::problem::Problem;

/// Longest part of a parameter's name that a refusal repeats, characters.
const SHOWN_CHARS_MAX: usize = 40;

/// Names of query parameters, by method and path as the router knows them.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<(&'static str, String), Vec<String>>);

impl Known {
    /// What a document says.
    pub(super) fn of(document: &OpenApi) -> Arc<Self> {
        let mut known = BTreeMap::new();
        for (path, item) in &document.paths.paths {
            let of_method = [("GET", &item.get), ("POST", &item.post), ("DELETE", &item.delete)];
            for (method, operation) in of_method {
                if let Some(operation) = operation {
                    known.insert((method, path.clone()), names(operation));
                }
            }
        }
        Arc::new(Self(known))
    }

    fn check(&self, method: &str, path: &str, asked: &[(String, String)]) -> Result<(), Problem> {
        let method = if method == "HEAD" { "GET" } else { method };
        let entry = self.0.iter().find(|((m, p), _)| *m == method && p == path);
        let known = entry.map_or(&[][..], |(_, names)| names);
        for (name, value) in asked {
            if !known.contains(name) {
                return Err(Problem::new(Code::Malformed, unknown(name, known)));
            }
            if value.contains('\0') {
                let detail = format!("the query parameter {name:?} holds the character zero");
                return Err(Problem::new(Code::Malformed, detail));
            }
        }
        Ok(())
    }
}

fn names(operation: &Operation) -> Vec<String> {
    let all = operation.parameters.iter().flatten();
    let parameters = all.filter_map(|one| match one {
        utoipa::openapi::RefOr::T(parameter) => Some(parameter),
        utoipa::openapi::RefOr::Ref(_) => None,
    });
    parameters
        .filter(|parameter| parameter.parameter_in == ParameterIn::Query)
        .map(|parameter| parameter.name.clone())
        .collect()
}

fn unknown(name: &str, known: &[String]) -> String {
    let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
    if known.is_empty() {
        return format!("there is no query parameter {shown:?}: this operation takes none");
    }
    let meant = closest(name, known.iter().map(String::as_str));
    let meant = meant.map_or(String::from("."), |word| format!("; did you mean {word:?}?"));
    format!(
        "there is no query parameter {shown:?}{meant} This operation takes: {}",
        known.join(", ")
    )
}

/// Refuses what the operation does not know.
pub(super) async fn known(State(known): State<Arc<Known>>, request: Request, next: Next) -> Response {
    if request.uri().path().contains("%00") {
        return Problem::new(Code::Malformed, "the path holds the character zero").into_response();
    }
    let Ok(Query(asked)) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()) else {
        return Problem::new(Code::Malformed, "the query cannot be read").into_response();
    };
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or(request.uri().path(), MatchedPath::as_str);
    match known.check(request.method().as_str(), path, &asked) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, name: &str, value: &str) -> Result<(), String> {
        let known = Known::of(&super::super::operations().split_for_parts().1);
        let asked = [(name.to_owned(), value.to_owned())];
        known
            .check(method, path, &asked)
            .map_err(|problem| problem.to_json())
    }

    #[test]
    fn an_operation_takes_what_its_document_says() {
        for (path, name) in [
            ("/api/v1/runs", "state"),
            ("/api/v1/runs", "limit"),
            ("/api/v1/agents", "labels"),
            ("/api/v1/halts", "cursor"),
            ("/api/v1/tokens", "cursor"),
            ("/api/v1/runs/{run}/artefacts", "cursor"),
            ("/api/v1/stream", "topics"),
        ] {
            check("GET", path, name, "x").expect(path);
            check("HEAD", path, name, "x").expect(path);
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_was_meant_and_what_there_is() {
        let slip = check("GET", "/api/v1/runs", "sate", "failed").expect_err("refused");
        for part in ["W0001", "sate", "did you mean", "state", "cursor, limit, state"] {
            assert!(slip.contains(part), "{part}: {slip}");
        }
        let far = check("GET", "/api/v1/runs", "colour", "red").expect_err("refused");
        assert!(
            !far.contains("did you mean") && far.contains("takes: cursor"),
            "{far}"
        );
        for (method, path) in [
            ("POST", "/api/v1/runs"),
            ("GET", "/api/v1/runs/{run}/plan"),
            ("DELETE", "/api/v1/agents/{agent}"),
        ] {
            let none = check(method, path, "limit", "1").expect_err("refused");
            assert!(none.contains("takes none"), "{method} {path}: {none}");
        }
        assert!(check("GET", "/api/v1/agents", "cursor", "a\0b").is_err());
    }
}
