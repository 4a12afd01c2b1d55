//! A receiver of spans: OTLP over HTTP, in binary.
//!
//! Source: OpenTelemetry Protocol Specification 1.x, "OTLP/HTTP"; names of what is said of the process: OpenTelemetry Semantic Conventions, "Service".

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind as Kind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Sent, Status};
use prost::Message as _;
use writ_chassis::config::{ConfigError, read_secret_file};
use writ_protocol::time::Timestamp;

use super::{Span, SpanKind, TEXT_BYTES_MAX, Value};
use crate::config::Telemetry;
use crate::notify::post::Target;
use crate::notify::{NotifyError, Outcome};

/// What receivers call what makes our spans.
const SCOPE: &str = "writ-controller";
/// The version of the names that we use.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";
/// Bits of a link or span of which we know whether it came from elsewhere, and that it did not.
const KNOWN_LOCAL: u32 = 0x100;
/// The bit of a trace that is recorded.
const SAMPLED: u32 = 1;

/// The receiver cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its address, or who vouches for it.
    #[error("telemetry.otlp_endpoint cannot be used")]
    Target(#[from] NotifyError),
    /// What it knows us by.
    #[error("telemetry.otlp_headers_file cannot be read")]
    Headers(#[from] ConfigError),
    /// A line of that file.
    #[error("line {line} of telemetry.otlp_headers_file is no header; write it as name: value")]
    Header {
        /// Which, from 1.
        line: usize,
    },
}

/// Who takes spans.
pub struct Receiver {
    target: Target,
    headers: Vec<(String, String)>,
    resource: Resource,
    timeout: Duration,
}

/// Headers may be secrets.
impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// The receiver that is configured; none where none is. `instance` tells this process from others of its kind.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(telemetry: &Telemetry, instance: &str) -> Result<Option<Self>, OpenError> {
        let Some(address) = telemetry.address() else {
            return Ok(None);
        };
        let target = Target::open("of spans", address, &telemetry.otlp_reach)?;
        let mut headers = telemetry.headers().to_vec();
        if let Some(file) = &telemetry.otlp_headers_file {
            let text = read_secret_file(file)?;
            for (place, line) in text.expose().lines().enumerate() {
                let (name, value) = line
                    .split_once(':')
                    .ok_or(OpenError::Header { line: place + 1 })?;
                headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        let ours = [
            ("service.name", telemetry.service_name.as_str()),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", instance),
        ];
        let given = telemetry.attributes().iter();
        let given = given.filter(|(name, _)| ours.iter().all(|(own, _)| name != own));
        let given = given.map(|(name, value)| (name.as_str(), value.as_str()));
        let attributes = given.chain(ours).map(|(name, value)| pair(name, &value.into()));
        Ok(Some(Self {
            target,
            headers,
            resource: Resource {
                attributes: attributes.collect(),
                ..Resource::default()
            },
            timeout: telemetry.timeout(),
        }))
    }

    /// Sends spans once.
    pub async fn send(&self, spans: &[Span]) -> Outcome {
        let headers: Vec<(&str, String)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        let sent = self
            .target
            .post("application/x-protobuf", &headers, encode(&self.resource, spans));
        tokio::time::timeout(self.timeout, sent)
            .await
            .unwrap_or_else(|_| Outcome::failed(format!("no answer within {} ms", self.timeout.as_millis())))
    }
}

fn encode(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = vec![ScopeSpans {
        scope: Some(scope),
        spans: spans.iter().map(sent).collect(),
        schema_url: SCHEMA.to_owned(),
    }];
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans,
            schema_url: SCHEMA.to_owned(),
        }],
    };
    request.encode_to_vec()
}

fn sent(span: &Span) -> Sent {
    let id = |span: u64| span.to_be_bytes().to_vec();
    let trace_id = span.place.trace().to_be_bytes().to_vec();
    let link = |caused_by: u64| Link {
        trace_id: trace_id.clone(),
        span_id: id(caused_by),
        flags: KNOWN_LOCAL | SAMPLED,
        ..Link::default()
    };
    let kind = match span.kind {
        SpanKind::Internal => Kind::Internal,
        SpanKind::Server => Kind::Server,
        SpanKind::Producer => Kind::Producer,
        SpanKind::Consumer => Kind::Consumer,
    };
    let status = span.failure.as_ref().map(|message| Status {
        message: cut(message),
        code: StatusCode::Error.into(),
    });
    Sent {
        span_id: id(span.place.span()),
        parent_span_id: span.parent.map(id).unwrap_or_default(),
        flags: SAMPLED,
        name: cut(&span.name),
        kind: kind.into(),
        start_time_unix_nano: nanos(span.from),
        // A host's clock may have been set back meanwhile: no span ends before it began.
        end_time_unix_nano: nanos(span.until.max(span.from)),
        attributes: span
            .attributes
            .iter()
            .map(|(name, value)| pair(name, value))
            .collect(),
        links: span.caused_by.map(link).into_iter().collect(),
        status,
        trace_id,
        ..Sent::default()
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_micros())
        .unwrap_or_default()
        .saturating_mul(1_000)
}

fn pair(name: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => Any::StringValue(cut(text)),
        Value::Number(number) => Any::IntValue(*number),
    };
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX))
        .unwrap_or_default()
        .to_owned()
}
