//! Spans: what took how long, in which trace. Whoever did something hands over its span when it is done; a bounded queue keeps it until it is sent, and
//! what finds no room is counted and gone. Nothing waits for it.

mod otlp;

use std::time::Duration;

use tokio::sync::mpsc;
use writ_protocol::time::Timestamp;
use writ_protocol::trace::TraceContext;

pub use otlp::{OpenError, Receiver};

use crate::metrics::{SpanLoss, TraceMetrics};

/// Most spans that wait to be sent.
pub const QUEUE_MAX: usize = 4_096;
/// Most spans of one request.
pub const BATCH_MAX: usize = 512;
/// Longest text of an attribute, bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// What a span is to others, as OpenTelemetry has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work of our own.
    Internal,
    /// A request that we answered.
    Server,
    /// Something that we handed on.
    Producer,
    /// Something that was taken up.
    Consumer,
}

/// What is said of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text; a long one is cut.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Something that happened, from when until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its trace, and itself.
    pub place: TraceContext,
    /// What it is part of; none of what the trace begins with.
    pub parent: Option<u64>,
    /// Another span of the trace that led to it.
    pub caused_by: Option<u64>,
    /// What it is, from few names.
    pub name: String,
    /// What it is to others.
    pub kind: SpanKind,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// What is said of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed; none where it did not.
    pub failure: Option<String>,
}

/// Where spans are handed over.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    to: Option<(mpsc::Sender<Span>, TraceMetrics)>,
}

impl Traces {
    /// Where none is kept.
    pub const fn off() -> Self {
        Self { to: None }
    }

    /// A queue; what comes out is to be sent.
    pub fn queue(metrics: TraceMetrics) -> (Self, mpsc::Receiver<Span>) {
        let (to, from) = mpsc::channel(QUEUE_MAX);
        let to = Some((to, metrics));
        (Self { to }, from)
    }

    /// Whether spans are kept at all.
    pub const fn is_on(&self) -> bool {
        self.to.is_some()
    }

    /// Whether spans of this trace are kept: whoever began it records it.
    pub const fn wants(&self, place: &TraceContext) -> bool {
        self.is_on() && place.is_sampled()
    }

    /// Hands spans over; those of traces that nobody records are passed over.
    pub fn note(&self, spans: impl IntoIterator<Item = Span>) {
        let Some((to, metrics)) = &self.to else { return };
        for span in spans.into_iter().filter(|span| span.place.is_sampled()) {
            if to.try_send(span).is_err() {
                metrics.lost(SpanLoss::Full, 1);
            }
        }
    }
}

/// Pause before the next try with the same spans, after so many; none when they are given up.
pub fn pause_after(tries: u32, asked: Option<Duration>) -> Option<Duration> {
    const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
    const ASKED_MAX: Duration = Duration::from_secs(30);
    let pause = PAUSES.get(usize::try_from(tries).ok()?.checked_sub(1)?)?;
    Some(asked.map_or(*pause, |asked| asked.clamp(*pause, ASKED_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ControllerMetrics;

    fn span(sampled: bool) -> Span {
        Span {
            place: TraceContext::new(1, 2, sampled),
            parent: None,
            caused_by: None,
            name: "run".to_owned(),
            kind: SpanKind::Internal,
            from: Timestamp::from_millis(1),
            until: Timestamp::from_millis(2),
            attributes: Vec::new(),
            failure: None,
        }
    }

    #[tokio::test]
    async fn what_finds_no_room_is_counted_and_what_nobody_records_is_not_kept() {
        let metrics = ControllerMetrics::new().expect("metrics");
        let (traces, mut queue) = Traces::queue(metrics.traces.clone());
        traces.note([span(false), span(true)]);
        assert_eq!(queue.recv().await, Some(span(true)));
        traces.note((0..QUEUE_MAX + 3).map(|_| span(true)));
        let text = metrics.encode().expect("text");
        let lost = "writ_controller_spans_lost_total{reason=\"full\"} 3";
        assert!(text.contains(lost), "{text}");
        Traces::off().note([span(true)]);
        assert!(!Traces::off().wants(&span(true).place));
    }

    #[test]
    fn tries_end_and_their_pauses_have_bounds() {
        let second = Duration::from_secs(1);
        assert_eq!(pause_after(1, None), Some(second / 2));
        assert_eq!(pause_after(1, Some(second)), Some(second));
        assert_eq!(pause_after(2, Some(second * 9_999)), Some(second * 30));
        assert_eq!(pause_after(3, Some(second)), None);
    }
}
