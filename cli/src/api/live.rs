//! A stream of events that comes back: after a loss it goes on behind the last event it had, with growing pauses. A thread reads, so that
//! whoever waits can look at other things meanwhile.

use std::io::BufReader;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::sse::{Event, Item, Reader};
use super::{ANSWER_BYTES_MAX, Client, problem};
use crate::clock::Deadline;
use crate::exit::Exit;

/// Events that wait for their reader; a reader that is slower slows the stream.
const HELD_MAX: usize = 256;
/// A stream without a word or a heartbeat for this long is given up.
const SILENCE: Duration = Duration::from_secs(35);
/// A stream is opened anew after this, so that a thread that nobody listens to ends too.
const LIFE: Duration = Duration::from_secs(300);
/// Pauses between two attempts: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Pause after the server refused the stream: it has too many, or does not know it.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// What happened on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It is open: whatever happens from now on is told.
    Open,
    /// Events were missed and cannot be had any more: look at everything again.
    Reset,
    /// An event.
    Event(Event),
    /// Nobody answers; it is tried again.
    Lost,
    /// The server does not serve it, for this reason; it is tried again much later.
    Refused(String),
}

enum Said {
    Item(Item),
    Open,
    Refused(String),
    Gone,
}

enum State {
    /// A thread reads.
    Reading { from: Receiver<Said>, quiet: Deadline },
    /// Until the next attempt.
    Waiting(Deadline),
}

/// A stream of events.
pub struct Live {
    client: Client,
    path: String,
    place: Option<String>,
    state: State,
    pause: Duration,
    open: bool,
}

impl Live {
    /// The stream at a path. Nothing is asked before the first [`Live::next`].
    pub fn new(client: &Client, path: String) -> Self {
        Self {
            client: client.clone(),
            path,
            place: None,
            state: State::Waiting(Deadline::after(Duration::ZERO)),
            pause: PAUSE,
            open: false,
        }
    }

    /// Whether changes are told at this moment.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// The next news, waited for at most as long as said.
    pub fn next(&mut self, wait: Duration) -> Option<News> {
        let until = Deadline::after(wait);
        loop {
            let said = match &mut self.state {
                State::Waiting(ends) if ends.is_over() => {
                    self.state = State::Reading {
                        from: read(self.client.clone(), self.path.clone(), self.place.clone()),
                        quiet: Deadline::after(SILENCE),
                    };
                    continue;
                }
                State::Waiting(ends) => {
                    std::thread::sleep(ends.left().min(until.left()));
                    None
                }
                State::Reading { from, quiet } => match from.recv_timeout(until.left()) {
                    Ok(said) => {
                        *quiet = Deadline::after(SILENCE);
                        Some(said)
                    }
                    Err(RecvTimeoutError::Disconnected) => Some(Said::Gone),
                    Err(RecvTimeoutError::Timeout) => quiet.is_over().then_some(Said::Gone),
                },
            };
            if let Some(news) = said.and_then(|said| self.take(said)) {
                return Some(news);
            }
            if until.is_over() {
                return None;
            }
        }
    }

    fn take(&mut self, said: Said) -> Option<News> {
        match said {
            Said::Item(Item::Heartbeat) | Said::Open => {
                self.pause = PAUSE;
                None
            }
            Said::Item(Item::Event(event)) => self.heard(event),
            Said::Refused(why) => {
                self.open = false;
                self.state = State::Waiting(Deadline::after(REFUSED_PAUSE));
                Some(News::Refused(why))
            }
            Said::Gone => {
                self.state = State::Waiting(Deadline::after(self.pause));
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                // A stream that was open is opened again before anybody is told.
                (!std::mem::take(&mut self.open)).then_some(News::Lost)
            }
        }
    }

    fn heard(&mut self, event: Event) -> Option<News> {
        self.place.clone_from(&event.id);
        match event.name.as_str() {
            "open" => {
                self.open = true;
                Some(News::Open)
            }
            "reset" => {
                self.open = true;
                Some(News::Reset)
            }
            "end" => None,
            _ => Some(News::Event(event)),
        }
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Starts a thread that reads the stream once, to its end.
fn read(client: Client, path: String, place: Option<String>) -> Receiver<Said> {
    let (to, from) = sync_channel(HELD_MAX);
    let work = move || {
        let mut events = match client.stream(&path, place.as_deref()) {
            Ok(events) => events,
            Err(said) => return drop(to.send(said)),
        };
        // Nobody listening any more ends the thread.
        if to.send(Said::Open).is_err() {
            return;
        }
        while let Ok(Some(item)) = events.next() {
            if to.send(Said::Item(item)).is_err() {
                return;
            }
        }
    };
    // A thread that cannot be started is a stream that cannot be read: the channel is closed.
    drop(std::thread::Builder::new().name("events".to_owned()).spawn(work));
    from
}

impl Client {
    fn stream(
        &self,
        path: &str,
        place: Option<&str>,
    ) -> Result<Reader<BufReader<ureq::BodyReader<'static>>>, Said> {
        let mut call = self
            .agent
            .get(self.url(path))
            .config()
            .timeout_recv_body(Some(LIFE))
            .build()
            .header("Authorization", self.bearer())
            .header("Accept", "text/event-stream");
        if let Some(place) = place {
            call = call.header("Last-Event-ID", place);
        }
        let mut response = call.call().map_err(|_| Said::Gone)?;
        let status = response.status();
        let kind = response
            .headers()
            .get("content-type")
            .and_then(|k| k.to_str().ok());
        if status.is_success() && kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Ok(Reader::new(BufReader::new(response.into_body().into_reader())));
        }
        if matches!(status.as_u16(), 502..=504) {
            return Err(Said::Gone);
        }
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body.read_to_string().unwrap_or_default();
        let fault = problem(path, status.as_u16(), &text);
        // A token that does not count is told by the next question, with its own exit code.
        let gone = fault.exit == Exit::Unauthenticated;
        Err(if gone {
            Said::Gone
        } else {
            Said::Refused(fault.message)
        })
    }
}
