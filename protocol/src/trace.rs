//! Places in traces, as they travel: in requests of the API, with what the controller publishes, in what is told of runs. Nothing rests on them: they are
//! not signed, and whoever reads one uses it to find things together, never to decide.
//!
//! Source of the format: W3C Trace Context, "traceparent Header" (version 00; later versions are read as far as they are the same).

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The header, of HTTP requests and answers and of messages on the bus; also the attribute of CloudEvents (their extension "distributed tracing").
pub const HEADER: &str = "traceparent";
/// Longest header that is looked at, bytes: a version 00 has 55, later ones may add to it.
const HEADER_BYTES_MAX: usize = 512;
/// Length of a version 00, bytes.
const VERSION_00_BYTES: usize = 55;

/// A place in a trace: the trace, one span of it, and whether it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// A text that names no place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no traceparent of W3C Trace Context: 00, 32 digits, 16 digits and two flags, joined by dashes"
)]
pub struct NoTrace;

impl TraceContext {
    /// A place; a zero, which means none in the format, becomes a one.
    pub fn new(trace: u128, span: u64, sampled: bool) -> Self {
        Self {
            trace: trace.max(1),
            span: span.max(1),
            sampled,
        }
    }

    /// Another place in the same trace.
    #[must_use]
    pub fn at(self, span: u64) -> Self {
        Self::new(self.trace, span, self.sampled)
    }

    /// The trace; never zero.
    pub const fn trace(&self) -> u128 {
        self.trace
    }

    /// The span; never zero.
    pub const fn span(&self) -> u64 {
        self.span
    }

    /// Whether whoever came before records the trace.
    pub const fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The trace as logs and tools show it: 32 digits.
    pub fn trace_text(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// As the header of the next one in the trace.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

impl FromStr for TraceContext {
    type Err = NoTrace;

    fn from_str(text: &str) -> Result<Self, NoTrace> {
        parse(text).ok_or(NoTrace)
    }
}

/// The span that stands for something which has ids of its own: whoever tells of it, and however often, names the same one. The first eight bytes of the
/// SHA-256 over the parts, each with a zero byte behind it; one where they are zero.
pub fn span_of(parts: &[&str]) -> u64 {
    let ended = parts.iter().flat_map(|part| [part.as_bytes(), &[0]]);
    let digest = Digest::of_parts(&ended.collect::<Vec<_>>());
    let first = digest.as_bytes().iter().take(8);
    first.fold(0_u64, |id, byte| (id << 8) | u64::from(*byte)).max(1)
}

fn parse(text: &str) -> Option<TraceContext> {
    if text.len() > HEADER_BYTES_MAX {
        return None;
    }
    let mut parts = text.splitn(5, '-');
    let version = hex(parts.next()?, 2)?;
    let trace = hex(parts.next()?, 32)?;
    let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
    let flags = hex(parts.next()?, 2)?;
    let is_whole = version != 0 || text.len() == VERSION_00_BYTES;
    let is_one = version != 0xff && is_whole && trace != 0 && span != 0;
    is_one.then(|| TraceContext::new(trace, span, flags & 1 == 1))
}

/// So many digits, lower case alone.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_hex = text.len() == digits && text.bytes().all(is_digit);
    is_hex.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_place_is_read_and_shown() {
        let place: TraceContext = GIVEN.parse().expect("a place");
        assert_eq!(place.span(), 0x00f0_67aa_0ba9_02b7);
        assert_eq!(place.trace_text(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(place.is_sampled());
        assert_eq!(place.to_string(), GIVEN);
        assert_eq!(place.at(7).to_string().parse(), Ok(place.at(7)));
        // A later version may add to it.
        assert_eq!(format!("01{}-more", &GIVEN[2..]).parse(), Ok(place));
    }

    #[test]
    fn what_is_no_place_is_told() {
        let zero = |from: usize, to: usize| {
            let mut text = GIVEN.to_owned();
            text.replace_range(from..to, &"0".repeat(to - from));
            text
        };
        let long = format!("01{}-{}", &GIVEN[2..], "x".repeat(HEADER_BYTES_MAX));
        let wrong = [
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
        ];
        for text in wrong {
            assert_eq!(text.parse::<TraceContext>(), Err(NoTrace), "{text}");
        }
    }

    #[test]
    fn a_span_of_the_same_is_the_same() {
        let one = span_of(&["order", "1"]);
        assert_eq!(one, span_of(&["order", "1"]));
        assert_ne!(one, span_of(&["order1"]));
        assert_ne!(one, 0);
    }
}
