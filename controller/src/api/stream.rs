//! Streams of server-sent events: changes in the ledger, which resume where the reader was; and live logs, which are only for looking.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa::IntoParams;
use writ_protocol::id::{OrderId, RunId};
use writ_protocol::reason::Code;

use super::Doors;
use super::page::{Query, id};
use super::problem::{Document, Problem};
use crate::app::view::FeedView;
use crate::app::{PAGE_MAX, Page};
use crate::bus::logs::LogMessage;

/// Pause between two looks for changes.
const LOOK: Duration = Duration::from_millis(250);
/// Most changes of one look.
const CHANGES_MAX: u32 = 500;
/// Most pages of a run's orders whose logs are told.
const ORDER_PAGES_MAX: usize = 40;
/// Most topics of one reader.
const TOPICS_MAX: usize = 16;
/// The first wait after the ledger failed, and the longest.
const TROUBLE: Duration = Duration::from_secs(2);

/// What is to be told.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Topics, joined by commas; everything when absent.
    topics: Option<String>,
    /// Only what came after this change; the header Last-Event-ID counts before it.
    after: Option<i64>,
}

/// Changes as they are committed: each once, in order.
#[utoipa::path(get, path = "/api/v1/stream", tag = "stream", params(Wanted),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = "default", body = Document)))]
pub(super) async fn changes(
    State(doors): State<Doors>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let reader = Reader {
        held: VecDeque::new(),
        after: place(&headers)?.or(wanted.after).unwrap_or(0),
        topics: topics(wanted.topics.as_deref())?,
        open: Open::new(&doors)?,
        doors,
    };
    let events = stream::unfold(reader, |mut reader| async move {
        let change = reader.next().await?;
        Some((Ok(event(&change)), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Live logs of a run's steps. Lines may be lost; what counts is in the run's evidence.
#[utoipa::path(get, path = "/api/v1/runs/{run}/logs", tag = "stream", params(("run" = String, Path)),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = "default", body = Document)))]
pub(super) async fn logs(
    State(doors): State<Doors>,
    Path(run): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let orders = orders_of(&doors, id("run", &run)?).await?;
    let lines = Lines {
        from: doors.logs.subscribe(),
        open: Open::new(&doors)?,
        doors,
    };
    let events = stream::unfold((lines, orders), |(mut lines, orders)| async move {
        loop {
            let (name, line) = lines.next().await?;
            if name == "lost" || line.order.is_some_and(|order| orders.contains(&order)) {
                return Some((Ok(Event::default().event(name).data(&line.json)), (lines, orders)));
            }
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// The orders of a run, at most [`ORDER_PAGES_MAX`] pages.
async fn orders_of(doors: &Doors, run: RunId) -> Result<BTreeSet<OrderId>, Problem> {
    let mut all = BTreeSet::new();
    let mut page = Page {
        cursor: None,
        limit: Some(PAGE_MAX),
    };
    for _ in 0..ORDER_PAGES_MAX {
        let view = doors.app.get_run(run, &page).await?;
        all.extend(
            view.orders
                .iter()
                .filter_map(|order| order.id.parse::<OrderId>().ok()),
        );
        page.cursor = view.orders_next;
        if page.cursor.is_none() {
            break;
        }
    }
    Ok(all)
}

/// A place among the streams, counted while it is held.
struct Open {
    metrics: crate::metrics::ControllerMetrics,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(doors: &Doors) -> Result<Self, Problem> {
        let full = |_| {
            Problem::new(
                Code::RateLimited,
                "the controller has as many open streams as it serves",
            )
        };
        let place = doors.streams.clone().try_acquire_owned().map_err(full)?;
        doors.metrics.streams_open.inc();
        Ok(Self {
            metrics: doors.metrics.clone(),
            _place: place,
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.streams_open.dec();
    }
}

struct Reader {
    doors: Doors,
    held: VecDeque<FeedView>,
    after: i64,
    topics: Vec<String>,
    #[expect(dead_code, reason = "held for its drop")]
    open: Open,
}

impl Reader {
    async fn next(&mut self) -> Option<FeedView> {
        loop {
            if let Some(change) = self.held.pop_front() {
                self.after = change.id;
                return Some(change);
            }
            if self.doors.life.is_stopping() {
                return None;
            }
            let pause = match self
                .doors
                .app
                .feed_after(self.after, &self.topics, CHANGES_MAX)
                .await
            {
                Ok(changes) => {
                    self.held.extend(changes);
                    LOOK
                }
                Err(error) => {
                    tracing::debug!(error = %error, "changes cannot be read; looking again");
                    TROUBLE
                }
            };
            if self.held.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.doors.life.stopping() => return None,
                }
            }
        }
    }
}

struct Lines {
    doors: Doors,
    from: Receiver<LogMessage>,
    #[expect(dead_code, reason = "held for its drop")]
    open: Open,
}

impl Lines {
    async fn next(&mut self) -> Option<(&'static str, LogMessage)> {
        let received = tokio::select! {
            received = self.from.recv() => received,
            () = self.doors.life.stopping() => return None,
        };
        match received {
            Ok(line) => Some(("log", line)),
            Err(RecvError::Lagged(lost)) => Some(("lost", LogMessage::lost(lost))),
            Err(RecvError::Closed) => None,
        }
    }
}

fn event(change: &FeedView) -> Event {
    let event = Event::default().id(change.id.to_string()).event(&change.topic);
    event.data(serde_json::to_string(change).unwrap_or_default())
}

fn place(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(text) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let id = text
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|id| *id >= 0);
    id.map(Some)
        .ok_or_else(|| Problem::new(Code::Malformed, "Last-Event-ID is no id of a change"))
}

fn topics(text: Option<&str>) -> Result<Vec<String>, Problem> {
    let topics: Vec<String> = text
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|topic| !topic.is_empty())
        .map(str::to_owned)
        .collect();
    if topics.len() > TOPICS_MAX {
        return Err(Problem::new(Code::Malformed, "more than 16 topics are asked for"));
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_resumes_where_it_says_and_topics_have_a_bound() {
        let mut headers = HeaderMap::new();
        assert_eq!(place(&headers).expect("none"), None);
        headers.insert("last-event-id", "42".parse().expect("a header"));
        assert_eq!(place(&headers).expect("read"), Some(42));
        headers.insert("last-event-id", "-1".parse().expect("a header"));
        assert!(place(&headers).is_err());
        assert_eq!(topics(Some("run, agent,,")).expect("read"), ["run", "agent"]);
        assert!(topics(Some(&"a,".repeat(17))).is_err());
    }
}
