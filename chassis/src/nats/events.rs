//! What happens to a connection, as a bounded stream; and the move away from a server that announced its end.

use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, ClientError, ConnectErrorKind, Event, ServerError};
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ReconnectWindow;
use super::reconnect::ReconnectDelays;
use crate::backoff::jitter;

/// Events held for a reader; when it is this far behind, new ones are dropped and counted. The state of the connection is not lost with
/// them: ask the client.
pub const EVENTS_MAX: usize = 64;
/// How long a move may wait for room in the client's command queue. A queue that stays full means the connection is down anyway.
const MOVE_WAIT: Duration = Duration::from_secs(1);

/// Something that happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsEvent {
    /// A connection was made, the first one or another.
    Connected,
    /// The connection was lost; the client is trying again.
    Disconnected,
    /// The server announced its end; the connection moves within the lame duck window.
    LameDuck,
    /// A subscription was full and dropped a message. The number is the client's own.
    SlowConsumer(u64),
    /// The server refused the credentials, at connect or later (revoked, expired, or not allowed a subject).
    Refused(String),
    /// Another complaint of the server.
    ServerError(String),
    /// A try to connect failed, or another complaint of the client.
    ClientError(String),
    /// The client is draining.
    Draining,
    /// The client is closed for good.
    Closed,
}

impl NatsEvent {
    fn from_client(event: Event) -> Self {
        match event {
            Event::Connected => Self::Connected,
            Event::Disconnected => Self::Disconnected,
            Event::LameDuckMode => Self::LameDuck,
            Event::Draining => Self::Draining,
            Event::Closed => Self::Closed,
            Event::SlowConsumer(subscription) => Self::SlowConsumer(subscription),
            Event::ServerError(ServerError::AuthorizationViolation) => {
                Self::Refused(ServerError::AuthorizationViolation.to_string())
            }
            Event::ServerError(error) => {
                let text = error.to_string();
                if is_refusal(&text) {
                    Self::Refused(text)
                } else {
                    Self::ServerError(text)
                }
            }
            Event::ClientError(ClientError::Other(text))
                if text == ConnectErrorKind::AuthorizationViolation.to_string() =>
            {
                Self::Refused(text)
            }
            Event::ClientError(error) => Self::ClientError(error.to_string()),
        }
    }
}

/// Whether the server's complaint is about permission or identity: the client has no kinds for these.
fn is_refusal(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    [
        "permissions violation",
        "authentication expired",
        "authentication revoked",
        "account authentication",
    ]
    .iter()
    .any(|complaint| text.contains(complaint))
}

/// The sending end, inside the client's callback: it never waits.
#[derive(Debug, Clone)]
pub(super) struct EventSender {
    sender: mpsc::Sender<NatsEvent>,
    dropped: Arc<AtomicU64>,
}

impl EventSender {
    pub(super) fn send(&self, event: Event) {
        if self.sender.try_send(NatsEvent::from_client(event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(super) fn channel() -> (EventSender, mpsc::Receiver<NatsEvent>) {
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    (
        EventSender {
            sender,
            dropped: Arc::default(),
        },
        receiver,
    )
}

/// The events of one connection. Keep calling [`Self::next`]: that is also what moves the connection away from a lame duck.
pub struct NatsEvents {
    pub(super) client: Client,
    pub(super) receiver: mpsc::Receiver<NatsEvent>,
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) delays: Arc<ReconnectDelays>,
    pub(super) window: ReconnectWindow,
    pub(super) lame_duck_window: Duration,
    pub(super) rng: StdRng,
    pub(super) leave_at: Option<Instant>,
}

impl std::fmt::Debug for NatsEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsEvents")
            .field("leave_at", &self.leave_at)
            .finish_non_exhaustive()
    }
}

impl NatsEvents {
    /// The next event; `None` when the client is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<NatsEvent> {
        loop {
            tokio::select! {
                event = self.receiver.recv() => return event.inspect(|event| self.note(event)),
                () = until(self.leave_at) => self.leave().await,
            }
        }
    }

    /// Events dropped because nobody called [`Self::next`] in time.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The reconnect window, to set when the controller names another.
    pub fn reconnect_window(&self) -> ReconnectWindow {
        self.window.clone()
    }

    fn note(&mut self, event: &NatsEvent) {
        match event {
            NatsEvent::LameDuck => {
                let wait = jitter(self.lame_duck_window, &mut self.rng);
                self.leave_at.get_or_insert_with(|| Instant::now() + wait);
            }
            // Already elsewhere, or on the way: nothing left to leave.
            NatsEvent::Disconnected | NatsEvent::Connected | NatsEvent::Closed => self.leave_at = None,
            NatsEvent::SlowConsumer(_)
            | NatsEvent::Refused(_)
            | NatsEvent::ServerError(_)
            | NatsEvent::ClientError(_)
            | NatsEvent::Draining => {}
        }
    }

    /// What moves this connection when its owner says so.
    pub fn mover(&self) -> Mover {
        Mover {
            client: self.client.clone(),
            delays: Arc::clone(&self.delays),
        }
    }

    async fn leave(&mut self) {
        // Cleared first: cancelled below, the move is lost, and the server's own end then does it.
        self.leave_at = None;
        tracing::info!("moving away from a server that announced its end");
        self.mover().go().await;
    }
}

/// Makes a connection anew at a moment of our own choosing: away from a server that ends, or with newer credentials.
#[derive(Clone)]
pub struct Mover {
    client: Client,
    delays: Arc<ReconnectDelays>,
}

impl std::fmt::Debug for Mover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mover").finish_non_exhaustive()
    }
}

impl Mover {
    /// Asks for the move; the first try does not wait, and what is subscribed to stays so. A request under way may lose its answer.
    pub async fn go(&self) {
        self.delays.announce_move();
        match tokio::time::timeout(MOVE_WAIT, self.client.force_reconnect()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the connection cannot be made anew"),
            Err(_) => tracing::warn!("the connection cannot be made anew: the command queue is full"),
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => future::pending().await,
    }
}

impl EventSender {
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}
