//! Which trace a request belongs to: the caller's where it names one, else a new one. Every line that the controller logs while it works on a request
//! carries it, so that what a caller saw and what happened here are found by one id.
//!
//! Source of the format: W3C Trace Context, "traceparent Header" (version 00; later versions are read as far as they are the same).

use std::fmt;

use axum::http::HeaderMap;
use tracing::Span;
use writ_chassis::ids::IdSource;

/// The header, in requests and in answers.
pub(super) const HEADER: &str = "traceparent";
/// Longest header that is looked at, bytes: a version 00 has 55, later ones may add to it.
const HEADER_BYTES_MAX: usize = 512;
/// Length of a version 00, bytes.
const VERSION_00_BYTES: usize = 55;

/// A place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// The trace; never zero.
    id: u128,
    /// The caller's place in it; none where the trace begins here.
    parent: Option<u64>,
    /// The place of this request; never zero.
    span: u64,
    /// Whether the caller records the trace.
    sampled: bool,
}

impl Trace {
    /// The trace of a request. A header that is none begins a new one, as the specification has it: nobody is refused for it.
    pub(super) fn of(headers: &HeaderMap, ids: &dyn IdSource) -> Self {
        let mut given = headers.get_all(HEADER).iter();
        // Two headers are none: nobody could say which of them counts.
        let caller = match (given.next(), given.next()) {
            (Some(one), None) => one.to_str().ok().and_then(parse),
            _ => None,
        };
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        ids.random(&mut trace);
        ids.random(&mut span);
        // Zero means none; one bit more is as random.
        let (fresh, span) = (u128::from_be_bytes(trace) | 1, u64::from_be_bytes(span) | 1);
        match caller {
            Some((id, parent, sampled)) => Self {
                id,
                parent: Some(parent),
                span,
                sampled,
            },
            None => Self {
                id: fresh,
                parent: None,
                span,
                sampled: false,
            },
        }
    }

    /// What log lines of the request carry, whatever their level: the least important events may be left out, and the others keep their trace.
    pub(super) fn span(&self, request: &str) -> Span {
        let parent = self.parent.map(|parent| format!("{parent:016x}"));
        tracing::error_span!(
            "api.request",
            trace_id = %format_args!("{:032x}", self.id),
            span_id = %format_args!("{:016x}", self.span),
            parent_id = parent,
            request.id = request,
        )
    }
}

/// As the header of the next one in the trace.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.id,
            self.span,
            u8::from(self.sampled)
        )
    }
}

/// Trace, place of the caller, whether it is recorded.
fn parse(text: &str) -> Option<(u128, u64, bool)> {
    if text.len() > HEADER_BYTES_MAX {
        return None;
    }
    let mut parts = text.splitn(5, '-');
    let version = hex(parts.next()?, 2)?;
    let trace = hex(parts.next()?, 32)?;
    let parent = hex(parts.next()?, 16)?;
    let flags = hex(parts.next()?, 2)?;
    let is_whole = version != 0 || text.len() == VERSION_00_BYTES;
    let is_one = version != 0xff && is_whole && trace != 0 && parent != 0;
    is_one.then_some((trace, u64::try_from(parent).ok()?, flags & 1 == 1))
}

/// So many digits, lower case alone.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_hex = text.len() == digits && text.bytes().all(is_digit);
    is_hex.then(|| u128::from_str_radix(text, 16).ok())?
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
        Trace::of(&headers, &SeededIds::new(7, "traces", Arc::new(SystemClock)))
    }

    #[test]
    fn a_callers_trace_goes_on_with_a_place_of_its_own() {
        let trace = of(&[GIVEN]);
        let shown = trace.to_string();
        assert_eq!(parse(&shown), Some((trace.id, trace.span, true)));
        assert_eq!(trace.parent, Some(0x00f0_67aa_0ba9_02b7));
        assert!(
            shown.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
            "{shown}"
        );
        assert_ne!(shown, GIVEN);
        // A later version may add to it.
        let later = format!("01{}-more", &GIVEN[2..]);
        assert_eq!(of(&[&later]).id, trace.id);
    }

    #[test]
    fn what_is_no_trace_begins_a_new_one() {
        let given = of(&[GIVEN]).id;
        let zero = |from: usize, to: usize| {
            let mut text = GIVEN.to_owned();
            text.replace_range(from..to, &"0".repeat(to - from));
            text
        };
        let long = format!("01{}-{}", &GIVEN[2..], "x".repeat(HEADER_BYTES_MAX));
        for bad in [
            "",
            "00",
            &GIVEN[..54],
            &format!("{GIVEN}-more"),
            &GIVEN.to_uppercase(),
            &GIVEN.replacen("00", "ff", 1),
            &GIVEN.replacen("4b", "+b", 1),
            &GIVEN.replacen('-', "_", 1),
            &zero(3, 35),
            &zero(36, 52),
            &long,
        ] {
            let trace = of(&[bad]);
            assert!(trace.id != given && trace.parent.is_none(), "{bad}");
            assert!(parse(&trace.to_string()).is_some(), "{trace}");
        }
        assert_ne!(of(&[GIVEN, GIVEN]).id, given, "which of them?");
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
