//! What stands before every handler: who asks, how large and slow a request may be, and that a change asked for twice is made once.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument as _;
use writ_chassis::health::CheckState;
use writ_protocol::digest::Digest;
use writ_protocol::reason::Code;

use super::Doors;
use super::problem::Problem;
use super::trace::{self, Asked, Trace};
use crate::app::{Answered, Caller, RequestKey};
use crate::metrics::Answer;

/// Largest body of a submission, bytes: a config and its files, in base64.
const SUBMISSION_BYTES_MAX: usize = 32 << 20;
/// Largest body of any other request, bytes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Longest bearer token, bytes.
const TOKEN_BYTES_MAX: usize = 512;
/// Longest work on one request, reading its body included.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for a body.
const BODY_PATIENCE: Duration = Duration::from_secs(20);
/// Where the largest bodies go.
const SUBMISSIONS: &str = "/api/v1/runs";
/// The health check of the database.
const LEDGER: &str = "ledger";
/// The header of keys.
pub(super) const KEY: &str = "idempotency-key";

/// Counts a request, times it, and names it and its trace in the log and in the answer.
pub(super) async fn count(State(doors): State<Doors>, mut request: Request, next: Next) -> Response {
    let id = doors.ids.uuid().to_string();
    // What only looks, for nobody's trace, is asked all the time and is not recorded.
    let begins_sampled = doors.app.traces().is_on() && !is_look(request.method());
    let trace = Trace::of(request.headers(), doors.ids.as_ref(), begins_sampled);
    request.extensions_mut().insert(trace.here);
    let asked = Asked::of(&request, &id, doors.app.instant());
    let mut response = counted(&doors, request, next, &id)
        .instrument(trace.span(&id))
        .await;
    let answered = (response.status(), doors.app.instant());
    doors.app.traces().note(Some(asked.answered(&trace, answered)));
    if let Ok(value) = HeaderValue::from_str(&trace.here.to_string()) {
        response.headers_mut().insert(trace::HEADER, value);
    }
    response
}

async fn counted(doors: &Doors, request: Request, next: Next, id: &str) -> Response {
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let status = response.status();
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        problem.request_id = Some(id.to_owned());
        response = problem.into_response();
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-request-id", value);
    }
    doors.metrics.http(Answer::of_status(status.as_u16()));
    doors.metrics.http_seconds.observe(begun.elapsed().as_secs_f64());
    // Not ready is told by the health checks themselves.
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        tracing::warn!(http.method = %method, http.path = %path, http.status = status.as_u16(), "request failed");
    } else {
        tracing::debug!(http.method = %method, http.path = %path, http.status = status.as_u16(), "request answered");
    }
    response
}

/// Lets a request through to its handler. What changes something goes on when the caller hangs up or its time is over: its key then has the
/// answer, and the effect is never made a second time.
pub(super) async fn pass(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    let Ok(permit) = doors.requests.clone().try_acquire_owned() else {
        let detail = "the controller has as many requests as it works on at once";
        return Problem::new(Code::RateLimited, detail).into_response();
    };
    let (send, receive) = oneshot::channel();
    let life = doors.life.clone();
    let looks = is_look(request.method());
    let work = async move {
        // Nobody waiting any more is no error.
        drop(send.send(admit(&doors, request, next).await));
        drop(permit);
    };
    let answer = async {
        if looks {
            work.await;
        } else {
            // It may outlive this request, and is of its trace all the same.
            life.spawn_contained("api.change", work.in_current_span());
        }
        receive.await
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(problem))) => problem.into_response(),
        Ok(Err(_)) => Problem::new(Code::Internal, "the request was given up").into_response(),
        Err(_) => {
            let detail =
                "the request took longer than 30 s; it may have had its effect: ask again with the same key";
            Problem::new(Code::Unavailable, detail).into_response()
        }
    }
}

fn is_look(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Why nothing can be asked at this moment: without its ledger a controller refuses at once, instead of letting requests wait for it in vain.
pub(super) fn away(doors: &Doors) -> Option<String> {
    let checks = doors.health.report().into_iter();
    checks
        .filter(|check| check.name == LEDGER)
        .find_map(|check| match check.state {
            CheckState::Failing { reason } => Some(format!("the ledger is away: {reason}")),
            CheckState::Ok => None,
        })
}

async fn admit(doors: &Doors, mut request: Request, next: Next) -> Result<Response, Problem> {
    if let Some(reason) = away(doors) {
        return Err(Problem::new(Code::Unavailable, reason));
    }
    let caller = Caller {
        trace: request.extensions().get().copied(),
        ..doors.app.authenticate(bearer(request.headers())?).await?
    };
    if is_look(request.method()) {
        request.extensions_mut().insert(caller);
        return Ok(next.run(request).await);
    }
    let key = key_of(request.headers())?.to_owned();
    let (mut parts, body) = request.into_parts();
    let body = read(body, body_max(&parts.method, parts.uri.path())).await?;
    let digest = Digest::of_parts(&[
        parts.method.as_str().as_bytes(),
        parts.uri.to_string().as_bytes(),
        &body,
    ]);
    let caller = Caller {
        request: Some(RequestKey::new(&key, digest)?),
        ..caller
    };
    let empty = parts.method == Method::DELETE;
    if let Some(answer) = doors.app.answered(&caller).await? {
        return Ok(stored(answer, empty));
    }
    parts.extensions.insert(caller.clone());
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if response.status() != StatusCode::SERVICE_UNAVAILABLE {
        return Ok(response);
    }
    // Perhaps the same request came twice at once, and the other was first.
    match doors.app.answered(&caller).await {
        Ok(Some(answer)) => Ok(stored(answer, empty)),
        Ok(None) | Err(_) => Ok(response),
    }
}

/// The first answer again; one to a removal is empty.
fn stored((status, body): Answered, empty: bool) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = if empty {
        StatusCode::NO_CONTENT.into_response()
    } else {
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    let headers = response.headers_mut();
    headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}

/// The bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = given.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    token
        .filter(|token| !token.is_empty() && token.len() <= TOKEN_BYTES_MAX)
        .ok_or_else(|| Problem::new(Code::Unauthenticated, "the request has no bearer token"))
}

fn key_of(headers: &HeaderMap) -> Result<&str, Problem> {
    headers
        .get(KEY)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| {
            let detail = "a request that changes something needs an Idempotency-Key header";
            Problem::new(Code::IdempotencyMissing, detail)
        })
}

fn body_max(method: &Method, path: &str) -> usize {
    if method == Method::POST && path == SUBMISSIONS {
        SUBMISSION_BYTES_MAX
    } else {
        BODY_BYTES_MAX
    }
}

pub(super) async fn read(body: Body, max: usize) -> Result<Bytes, Problem> {
    let late = |_| {
        Problem::new(Code::Malformed, "the body did not come within 20 s").status(StatusCode::REQUEST_TIMEOUT)
    };
    let whole = tokio::time::timeout(BODY_PATIENCE, to_bytes(body, max))
        .await
        .map_err(late)?;
    whole.map_err(|_| {
        Problem::new(
            Code::TooLarge,
            format!("the body did not come whole within {max} bytes"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::KEY_CHARS_MAX;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header"));
        headers
    }

    #[test]
    fn only_a_bearer_token_is_taken() {
        assert_eq!(
            bearer(&headers("authorization", "Bearer abc")).expect("taken"),
            "abc"
        );
        assert_eq!(
            bearer(&headers("authorization", "bearer abc")).expect("taken"),
            "abc"
        );
        for bad in [
            "Basic abc",
            "Bearer ",
            "abc",
            &format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1)),
        ] {
            assert!(bearer(&headers("authorization", bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_has_visible_characters_and_a_bound() {
        let fine = |key: &str| RequestKey::new(key, Digest::ZERO).is_ok();
        assert_eq!(key_of(&headers(KEY, "k-1")).expect("taken"), "k-1");
        assert!(key_of(&HeaderMap::new()).is_err());
        assert!(fine("k-1") && fine(&"k".repeat(KEY_CHARS_MAX)));
        assert!(!fine("") && !fine("a b") && !fine(&"k".repeat(KEY_CHARS_MAX + 1)));
    }

    #[tokio::test]
    async fn a_body_beyond_its_bound_is_refused() {
        assert_eq!(body_max(&Method::POST, "/api/v1/runs"), SUBMISSION_BYTES_MAX);
        assert_eq!(body_max(&Method::POST, "/api/v1/halts"), BODY_BYTES_MAX);
        assert!(read(Body::from(vec![0; 9]), 8).await.is_err());
        assert_eq!(read(Body::from(vec![0; 8]), 8).await.expect("read").len(), 8);
    }
}
