//! Which trace a request belongs to: the caller's where it names one, else a new one. Every line that the controller logs while it works on a request
//! carries it, so that what a caller saw and what happened here are found by one id.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, Method, StatusCode};
use writ_chassis::ids::{IdSource, begin_trace};
use writ_protocol::time::Timestamp;
pub(super) use writ_protocol::trace::HEADER;
use writ_protocol::trace::TraceContext;

use crate::traces::{Span, SpanKind, Value};

/// The place of a request in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// Its own place.
    pub(super) here: TraceContext,
    /// The caller's place; none where the trace begins here.
    pub(super) parent: Option<u64>,
}

impl Trace {
    /// The trace of a request. A header that is none begins a new one, as the specification has it: nobody is refused for it. `begins_sampled` is
    /// whether a trace that begins here is recorded.
    pub(super) fn of(headers: &HeaderMap, ids: &dyn IdSource, begins_sampled: bool) -> Self {
        let mut given = headers.get_all(HEADER).iter();
        // Two headers are none: nobody could say which of them counts.
        let caller = match (given.next(), given.next()) {
            (Some(one), None) => one.to_str().ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        let fresh = begin_trace(ids, begins_sampled);
        match caller {
            Some(caller) => Self {
                here: TraceContext::at(caller, fresh.span()),
                parent: Some(caller.span()),
            },
            None => Self {
                here: fresh,
                parent: None,
            },
        }
    }

    /// What log lines of the request carry, whatever their level: the least important events may be left out, and the others keep their trace.
    pub(super) fn span(&self, request: &str) -> tracing::Span {
        let parent = self.parent.map(|parent| format!("{parent:016x}"));
        tracing::error_span!(
            "api.request",
            trace_id = %self.here.trace_text(),
            span_id = %format_args!("{:016x}", self.here.span()),
            parent_id = parent,
            request.id = request,
        )
    }
}

/// What was asked, for the span of its answer. Names: OpenTelemetry Semantic Conventions, "HTTP server".
#[derive(Debug)]
pub(super) struct Asked {
    method: Method,
    path: String,
    route: Option<String>,
    id: String,
    at: Timestamp,
}

impl Asked {
    /// A request that begins to be worked on.
    pub(super) fn of(request: &Request, id: &str, at: Timestamp) -> Self {
        let route = request.extensions().get::<MatchedPath>();
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            route: route.map(|route| route.as_str().to_owned()),
            id: id.to_owned(),
            at,
        }
    }

    /// The span of the request, once its answer began.
    pub(super) fn answered(self, trace: &Trace, (status, until): (StatusCode, Timestamp)) -> Span {
        let code = status.as_u16();
        let name = match &self.route {
            Some(route) => format!("{} {route}", self.method),
            None => self.method.to_string(),
        };
        let mut attributes: Vec<(&'static str, Value)> = vec![
            ("http.request.method", self.method.as_str().into()),
            ("url.path", self.path.into()),
            ("url.scheme", "http".into()),
            ("http.response.status_code", u64::from(code).into()),
            ("writ.request.id", self.id.into()),
        ];
        attributes.extend(self.route.map(|route| ("http.route", route.into())));
        let failure = status.is_server_error().then(|| code.to_string());
        attributes.extend(failure.iter().map(|code| ("error.type", code.as_str().into())));
        Span {
            place: trace.here,
            parent: trace.parent,
            caused_by: None,
            name,
            kind: SpanKind::Server,
            from: self.at,
            until,
            attributes,
            failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing::Instrument as _;
    use writ_chassis::clock::SystemClock;
    use writ_chassis::ids::SeededIds;
    use writ_chassis::telemetry::{LogConfig, LogFormat, LogLevel, subscriber};

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(values: &[&str]) -> Trace {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().expect("a header"));
        }
        Trace::of(
            &headers,
            &SeededIds::new(7, "traces", Arc::new(SystemClock)),
            false,
        )
    }

    #[test]
    fn a_callers_trace_goes_on_with_a_place_of_its_own() {
        let given: TraceContext = GIVEN.parse().expect("a place");
        let trace = of(&[GIVEN]);
        assert_eq!(trace.parent, Some(given.span()));
        assert_eq!(trace.here.at(given.span()), given);
        assert_ne!(trace.here, given);
        assert_eq!(trace.here.to_string().parse(), Ok(trace.here));
    }

    #[test]
    fn what_is_no_trace_begins_a_new_one() {
        let given = of(&[GIVEN]).here.trace();
        for bad in ["", "00", &GIVEN[..54], &format!("{GIVEN}-more")] {
            let trace = of(&[bad]);
            assert!(trace.here.trace() != given && trace.parent.is_none(), "{bad}");
            assert!(
                trace.here.to_string().parse::<TraceContext>().is_ok(),
                "{trace:?}"
            );
            assert!(!trace.here.is_sampled());
        }
        assert_ne!(of(&[GIVEN, GIVEN]).here.trace(), given, "which of them?");
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_json_line_of_a_request_carries_its_trace_at_any_level() {
        for level in [LogLevel::Error, LogLevel::Info, LogLevel::Debug] {
            let lines = Lines::default();
            let writer = lines.clone();
            let log = LogConfig {
                format: LogFormat::Json,
                level,
            };
            let guard = tracing::subscriber::set_default(subscriber(log, false, move || writer.clone()));
            let work = async {
                tokio::task::yield_now().await;
                tracing::error!("it broke");
            };
            work.instrument(of(&[GIVEN]).span("r1")).await;
            drop(guard);
            let text = String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("text");
            let line: serde_json::Value = serde_json::from_str(text.trim()).expect("one JSON object");
            assert_eq!(
                line["span"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736",
                "{line}"
            );
            assert_eq!(line["span"]["parent_id"], "00f067aa0ba902b7", "{line}");
            assert_eq!(line["span"]["request.id"], "r1", "{line}");
        }
    }
}
