//! Refusals as problem documents (RFC 9457), with our stable code.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use writ_protocol::reason::Code;

use crate::app;

/// Where codes are explained.
const TYPE_BASE: &str = "https://writ.dev/errors/";

/// A problem document.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(super) struct Document {
    /// Where the code is explained.
    #[serde(rename = "type")]
    kind: String,
    /// What happened, in a few words; the same for every problem of the code.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What, where, and what to do.
    detail: String,
    /// The stable code.
    code: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    /// The request's name in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// Each single thing that is wrong, such as every mistake of a config.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Item>,
}

/// What a problem document is written from.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    code: Code,
    status: StatusCode,
    detail: String,
    /// The request's name in the log.
    pub(super) request_id: Option<String>,
    errors: Vec<Item>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Item {
    /// Where.
    pointer: String,
    /// What.
    detail: String,
    /// The stable code.
    code: String,
}

impl Problem {
    /// A problem of a code.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            status: status_of(code),
            detail: detail.into(),
            request_id: None,
            errors: Vec::new(),
        }
    }

    /// With a more telling status than its code's own.
    pub(super) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The document as JSON.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(&self.document()).unwrap_or_default()
    }

    fn document(&self) -> Document {
        Document {
            kind: format!("{TYPE_BASE}{}", self.code),
            title: self.code.title(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            code: self.code.to_string(),
            hint: hint_of(self.code),
            request_id: self.request_id.clone(),
            errors: self.errors.clone(),
        }
    }
}

impl From<app::Error> for Problem {
    fn from(error: app::Error) -> Self {
        if matches!(error.code(), Code::Internal | Code::Unavailable) {
            tracing::warn!(error = %writ_chassis::telemetry::ErrorChain(&error), "request failed");
        }
        let errors = error
            .diagnostics()
            .iter()
            .map(|found| Item {
                pointer: format!("{}:{}:{}", found.file, found.line, found.column),
                detail: match &found.hint {
                    Some(hint) => format!("{}; {hint}", found.message),
                    None => found.message.clone(),
                },
                code: found.code.clone(),
            })
            .collect();
        // What is ours stays in our log.
        let detail = match error.code() {
            Code::Internal => "the controller's log has the rest, under this request's id".to_owned(),
            _ => error.detail().to_owned(),
        };
        Self {
            errors,
            ..Self::new(error.code(), detail)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, self.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"writ\""),
            );
        }
        if matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The HTTP status of a code.
const fn status_of(code: Code) -> StatusCode {
    match code {
        Code::Malformed
        | Code::IdempotencyMissing
        | Code::SignatureInvalid
        | Code::DigestMismatch
        | Code::GraphInvalid => StatusCode::BAD_REQUEST,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Unauthenticated | Code::JoinTokenInvalid => StatusCode::UNAUTHORIZED,
        Code::Forbidden | Code::BudgetExhausted => StatusCode::FORBIDDEN,
        Code::LockedDown => StatusCode::LOCKED,
        Code::IdempotencyMismatch | Code::NoTargets | Code::Expired => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Unavailable | Code::LeaseLost | Code::SchemaVersion | Code::EpochNotRaised => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::Internal | Code::BadConfiguration => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::CONFLICT,
    }
}

const fn hint_of(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthenticated => {
            Some("send Authorization: Bearer and a token of `writ-controller token create`")
        }
        Code::IdempotencyMissing => {
            Some("send an Idempotency-Key header of 1 to 128 visible characters, fresh for each new request")
        }
        Code::IdempotencyMismatch => Some("use a fresh Idempotency-Key for another request"),
        Code::Unavailable | Code::RateLimited => Some("try again in a moment, with the same Idempotency-Key"),
        Code::LockedDown => {
            Some("`writ halt --list` shows what is in force, `writ halt --release ID` lifts it")
        }
        Code::PlanOutdated => Some(
            "plan again and review the new plan; `writ apply --leave-out-new-hosts` keeps to the plan's hosts where there are only more",
        ),
        Code::NoTargets => Some("look at the labels of `writ agent list`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_of_an_error() {
        for code in Code::ALL {
            assert!(status_of(*code).as_u16() >= 400, "{code}");
        }
        assert_eq!(status_of(Code::Conflict), StatusCode::CONFLICT);
    }

    #[test]
    fn a_problem_says_its_code_and_where_to_read_on() {
        let json = serde_json::to_value(Problem::new(Code::NotFound, "there is no run x").document())
            .expect("encodes");
        assert_eq!(json["code"], "W0003");
        assert_eq!(json["type"], "https://writ.dev/errors/W0003");
        assert_eq!(json["status"], 404);
        assert!(json.get("errors").is_none());
    }
}
