//! Streams of server-sent events: changes in the ledger, which resume where the reader was; and live logs, which are only for looking.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::Instant;
use utoipa::IntoParams;
use writ_protocol::id::{OrderId, RunId};
use writ_protocol::reason::Code;

use super::Doors;
use super::gate::bearer;
use super::page::{Path, Query, id};
use super::problem::{Document, Problem};
use crate::app::view::FeedView;
use crate::app::{Caller, Error, OperatorRole, PAGE_MAX, Page, Place};
use crate::bus::logs::LogMessage;

/// Pause between two looks for changes.
const LOOK: Duration = Duration::from_millis(250);
/// Most changes of one look.
const CHANGES_MAX: u32 = 500;
/// Most pages of a run's orders whose logs are told.
const ORDER_PAGES_MAX: usize = 40;
/// Most topics of one reader.
const TOPICS_MAX: usize = 16;
/// Longest topic, bytes.
const TOPIC_BYTES_MAX: usize = 128;
/// Pause after the ledger failed.
const TROUBLE: Duration = Duration::from_secs(2);
/// A silent stream says that it lives this often.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A reader's token is looked at again this often: a revoked one ends its streams too.
const TOKEN_LOOK: Duration = Duration::from_secs(5);
/// What a reader is told to wait before it comes back.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be told.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Topics, joined by commas; everything when absent.
    topics: Option<String>,
    /// Only what came after this place, `0-0` for all that is kept; from now on when absent. The header Last-Event-ID counts before it.
    after: Option<String>,
}

/// Changes as they are committed: each once, in order. The first event is `open`, or `reset` where changes after the reader's place are
/// forgotten and it must look at everything again; the last is `end`, which says why.
#[utoipa::path(get, path = "/api/v1/stream", tag = "stream", params(Wanted),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn changes(
    State(doors): State<Doors>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let asked = place(&headers, wanted.after.as_deref())?;
    let topics = topics(wanted.topics.as_deref())?;
    let watcher = Watcher::new(&doors, &headers)?;
    let newest = doors.app.feed_newest().await?;
    let after = asked.unwrap_or(newest);
    let (after, first) = if doors.app.feed_holds(after).await? {
        (after, "open")
    } else {
        (newest, "reset")
    };
    let reader = Reader {
        held: VecDeque::from([opening(first, after)]),
        after,
        topics,
        role: caller.role,
        watcher,
    };
    let events = stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        Some(match reader.next().await? {
            Ok(event) => (Ok(event), Some(reader)),
            Err(end) => (Ok(end), None),
        })
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// Live logs of a run's steps. Lines may be lost; what counts is in the run's evidence.
#[utoipa::path(get, path = "/api/v1/runs/{run}/logs", tag = "stream", params(("run" = String, Path)),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = "default", content_type = "application/problem+json", body = Document)))]
pub(super) async fn logs(
    State(doors): State<Doors>,
    headers: HeaderMap,
    Path(run): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let run = id("run", &run)?;
    // Before the orders are read, so that no line of theirs is said in between.
    let from = doors.logs.subscribe();
    let orders = orders_of(&doors, run).await?;
    let lines = Lines {
        from,
        orders,
        opened: false,
        watcher: Watcher::new(&doors, &headers)?,
    };
    let events = stream::unfold(Some(lines), |lines| async move {
        let mut lines = lines?;
        Some(match lines.next().await? {
            Ok(event) => (Ok(event), Some(lines)),
            Err(end) => (Ok(end), None),
        })
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
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

/// Whoever reads a stream: holds a place among the streams, and may go on as long as its token counts.
struct Watcher {
    doors: Doors,
    token: String,
    look_at: Instant,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    fn new(doors: &Doors, headers: &HeaderMap) -> Result<Self, Problem> {
        let full = |_| {
            Problem::new(
                Code::RateLimited,
                "the controller has as many open streams as it serves; ask for the state itself instead",
            )
        };
        let token = bearer(headers)?.to_owned();
        let place = doors.streams.clone().try_acquire_owned().map_err(full)?;
        doors.metrics.streams_open.inc();
        Ok(Self {
            doors: doors.clone(),
            token,
            look_at: Instant::now() + TOKEN_LOOK,
            _place: place,
        })
    }

    /// Why the stream ends, when it does: the process stops, or the token does not count any more.
    async fn ended(&mut self) -> Option<Event> {
        if self.doors.life.is_stopping() {
            return Some(end(&Problem::new(
                Code::Unavailable,
                "the controller is stopping",
            )));
        }
        if Instant::now() < self.look_at {
            return None;
        }
        self.look_at = Instant::now() + TOKEN_LOOK;
        let refused = self.doors.app.authenticate(&self.token).await.err()?;
        // A ledger that does not answer says nothing about the token.
        (refused.code() == Code::Unauthenticated).then(|| end(&refused.into()))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.doors.metrics.streams_open.dec();
    }
}

struct Reader {
    watcher: Watcher,
    held: VecDeque<Event>,
    after: Place,
    topics: Vec<String>,
    role: OperatorRole,
}

impl Reader {
    /// The next event, or the last one.
    async fn next(&mut self) -> Option<Result<Event, Event>> {
        loop {
            if let Some(end) = self.watcher.ended().await {
                return Some(Err(end));
            }
            if let Some(event) = self.held.pop_front() {
                return Some(Ok(event));
            }
            let pause = match self.look().await {
                Ok(()) => LOOK,
                Err(error) => {
                    tracing::debug!(error = %error, "changes cannot be read; looking again");
                    TROUBLE
                }
            };
            if self.held.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.watcher.doors.life.stopping() => {}
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let app = &self.watcher.doors.app;
        let changes = app
            .feed_for(self.role, self.after, &self.topics, CHANGES_MAX)
            .await?;
        for change in changes {
            self.after = change.id.parse().unwrap_or(self.after);
            self.held.push_back(event(&change));
        }
        Ok(())
    }
}

struct Lines {
    watcher: Watcher,
    from: Receiver<LogMessage>,
    orders: BTreeSet<OrderId>,
    opened: bool,
}

impl Lines {
    async fn next(&mut self) -> Option<Result<Event, Event>> {
        if !self.opened {
            self.opened = true;
            return Some(Ok(Event::default().event("open").data("{}").retry(RETRY)));
        }
        loop {
            if let Some(end) = self.watcher.ended().await {
                return Some(Err(end));
            }
            let received = tokio::select! {
                received = self.from.recv() => received,
                () = tokio::time::sleep_until(self.watcher.look_at) => continue,
                () = self.watcher.doors.life.stopping() => continue,
            };
            let (name, line) = match received {
                Ok(line) if line.order.is_some_and(|order| self.orders.contains(&order)) => ("log", line),
                Ok(_) => continue,
                Err(RecvError::Lagged(lost)) => ("lost", LogMessage::lost(lost)),
                Err(RecvError::Closed) => return None,
            };
            return Some(Ok(Event::default().event(name).data(&line.json)));
        }
    }
}

fn opening(name: &'static str, at: Place) -> Event {
    let event = Event::default().id(at.to_string()).event(name).retry(RETRY);
    event.data("{}")
}

fn event(change: &FeedView) -> Event {
    let event = Event::default().id(&change.id).event(&change.topic);
    event.data(serde_json::to_string(change).unwrap_or_default())
}

fn end(problem: &Problem) -> Event {
    Event::default().event("end").data(problem.to_json())
}

/// Where a reader goes on: by the header that browsers send, else by the query.
fn place(headers: &HeaderMap, after: Option<&str>) -> Result<Option<Place>, Problem> {
    let refused = |_| {
        let detail = "Last-Event-ID and `after` are ids of changes, such as 812-77; 0-0 is the beginning";
        Problem::new(Code::Malformed, detail)
    };
    let header = headers
        .get("last-event-id")
        .map(|value| value.to_str().unwrap_or("?"));
    let Some(text) = header.or(after) else {
        return Ok(None);
    };
    text.trim().parse().map(Some).map_err(refused)
}

fn topics(text: Option<&str>) -> Result<Vec<String>, Problem> {
    let topics: Vec<String> = text
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|topic| !topic.is_empty())
        .map(str::to_owned)
        .collect();
    if topics.len() > TOPICS_MAX || topics.iter().any(|topic| topic.len() > TOPIC_BYTES_MAX) {
        let detail = format!("at most {TOPICS_MAX} topics of {TOPIC_BYTES_MAX} bytes can be asked for");
        return Err(Problem::new(Code::Malformed, detail));
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_resumes_where_it_says_and_topics_have_a_bound() {
        let mut headers = HeaderMap::new();
        assert_eq!(place(&headers, None).expect("none"), None);
        let at = |text: &str| Some(text.parse::<Place>().expect("a place"));
        assert_eq!(place(&headers, Some("7-3")).expect("read"), at("7-3"));
        headers.insert("last-event-id", "42-7".parse().expect("a header"));
        assert_eq!(
            place(&headers, Some("7-3")).expect("read"),
            at("42-7"),
            "the header counts first"
        );
        for bad in ["-1", "42", "1-", "1-2-3", "1--2"] {
            headers.insert("last-event-id", bad.parse().expect("a header"));
            assert!(place(&headers, None).is_err(), "{bad}");
        }
        assert_eq!(topics(Some("run, agent,,")).expect("read"), ["run", "agent"]);
        assert!(topics(Some(&"a,".repeat(17))).is_err());
        assert!(topics(Some(&"a".repeat(129))).is_err());
    }
}
