//! The link over NATS: the only file of the agent that knows the client. Its queueing publish is used for live logs alone; everything else
//! waits for an answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use writ_chassis::config::Secret;
use writ_chassis::nats::{
    Capacities, Credentials, Mover, NatsError, NatsEvent, NatsEvents, NatsOptions, ReconnectWindow, connect,
    publish_acked, request_with_timeout,
};
use writ_protocol::enrol::JoinToken;
use writ_protocol::hello::ERROR_HEADER;
use writ_protocol::nats::UserKey;
use writ_protocol::{subject, trace};

use super::{Answer, Incoming, LinkError, RPC_WAIT, Reply, Transport};
use crate::identity::Login;

/// Header by which a stream knows a repeated message.
const MESSAGE_ID: &str = "Nats-Msg-Id";
/// Longest wait for the ledger's answer to a request to enrol: it may wait for a policy.
const ENROL_WAIT: Duration = Duration::from_secs(20);

/// The link cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The options, or nobody there.
    #[error("cannot connect to the bus")]
    Nats(#[from] NatsError),
    /// The client is gone.
    #[error("cannot subscribe on the bus")]
    Subscribe(#[from] async_nats::SubscribeError),
    /// Nobody answered, or the answer was no.
    #[error("the request to enrol was not granted")]
    Enrol(#[from] LinkError),
}

/// Where the bus is and as whom to speak there.
#[derive(Clone, Debug)]
pub struct Place {
    /// Servers.
    pub servers: Vec<String>,
    /// Authorities as text.
    pub ca_pem: Option<String>,
    /// Authorities as a file, instead of the text.
    pub ca_file: Option<PathBuf>,
    /// Whether TLS begins at once.
    pub tls_first: bool,
    /// Over what the first try after a lost connection is spread.
    pub reconnect_window: Duration,
    /// The agent's name for the server's monitoring.
    pub name: String,
}

/// A connection to the bus.
#[derive(Debug)]
pub struct NatsTransport {
    client: Client,
    window: ReconnectWindow,
    mover: Mover,
}

/// The receiving half of a connection; must be run.
#[derive(Debug)]
pub struct Pump {
    events: NatsEvents,
    wake: Subscriber,
    mark: Subscriber,
    control: Subscriber,
    everybody: Subscriber,
}

/// Connects as an agent. Returns at once and keeps trying; [`Incoming::Connected`] says when it stands.
///
/// # Errors
/// [`ConnectError`] when the options cannot be used.
pub async fn open(
    place: Place,
    login: Arc<Login>,
    me: &UserKey,
    seed: u64,
) -> Result<(Arc<NatsTransport>, Pump), ConnectError> {
    let options = NatsOptions {
        servers: place.servers,
        name: place.name,
        credentials: Credentials::Source(login),
        ca_pem: place
            .ca_pem
            .filter(|pem| !pem.is_empty() && place.ca_file.is_none()),
        ca_file: place.ca_file,
        tls_first: place.tls_first,
        inbox_prefix: subject::inbox(me),
        retry_on_initial_connect: true,
        reconnect_window: place.reconnect_window,
        capacities: Capacities::AGENT,
        ..NatsOptions::default()
    };
    let (client, events) = connect(options, seed).await?;
    let pump = Pump {
        wake: client.subscribe(subject::wake(me)).await?,
        mark: client.subscribe(subject::mark(me)).await?,
        control: client.subscribe(subject::control(me)).await?,
        everybody: client.subscribe(subject::CONTROL_ALL).await?,
        events,
    };
    let transport = NatsTransport {
        client,
        window: pump.events.reconnect_window(),
        mover: pump.events.mover(),
    };
    Ok((Arc::new(transport), pump))
}

impl Pump {
    /// Hands on what comes until the client or the receiver is gone.
    pub async fn run(mut self, to: mpsc::Sender<Incoming>) {
        loop {
            let incoming = tokio::select! {
                () = to.closed() => return,
                incoming = self.next() => incoming,
            };
            match incoming {
                None => return,
                Some(None) => {}
                Some(Some(incoming)) => {
                    if to.send(incoming).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Option<Incoming>> {
        let control = |message: Message, addressed| Incoming::Control {
            bytes: message.payload,
            addressed,
        };
        tokio::select! {
            event = self.events.next() => event.map(told),
            message = self.wake.next() => message.map(|message| Some(woken(message))),
            message = self.mark.next() => message.map(|message| Some(Incoming::Mark(message.payload))),
            message = self.control.next() => message.map(|message| Some(control(message, true))),
            message = self.everybody.next() => message.map(|message| Some(control(message, false))),
        }
    }
}

/// A wake, and the trace that whoever caused it named.
fn woken(message: Message) -> Incoming {
    let named = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get(trace::HEADER));
    let trace = named.and_then(|value| value.as_str().parse().ok());
    Incoming::Wake(message.payload, trace)
}

fn told(event: NatsEvent) -> Option<Incoming> {
    match event {
        NatsEvent::Connected => Some(Incoming::Connected),
        NatsEvent::Disconnected | NatsEvent::Closed => Some(Incoming::Disconnected),
        // A lost message is found by the next hello.
        NatsEvent::SlowConsumer(_) => Some(Incoming::Wake(Bytes::new(), None)),
        NatsEvent::Refused(why) => {
            tracing::warn!(%why, "the bus refuses us; if it stays so, enrol again");
            None
        }
        NatsEvent::ServerError(why) | NatsEvent::ClientError(why) => {
            tracing::debug!(%why, "the bus complains");
            None
        }
        NatsEvent::LameDuck | NatsEvent::Draining => None,
    }
}

impl Transport for NatsTransport {
    fn request(
        &self,
        subject: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<Reply, LinkError>> {
        Box::pin(async move {
            let message = request_with_timeout(&self.client, subject, None, payload, wait).await;
            message
                .map(reply)
                .map_err(|error| LinkError::Unavailable(Box::new(error)))
        })
    }

    fn publish_acked(
        &self,
        subject: String,
        id: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let mut headers = HeaderMap::new();
            headers.insert(MESSAGE_ID, id);
            match publish_acked(&self.client, subject, headers, payload, wait).await {
                Ok(_) => Ok(()),
                Err(error) => Err(LinkError::Unavailable(Box::new(error))),
            }
        })
    }

    fn publish_lossy(&self, subject: String, payload: Bytes) -> Answer<'_, ()> {
        Box::pin(async move {
            // A queue that is full drops the text rather than the time of the step.
            let _lost =
                tokio::time::timeout(Duration::from_millis(1), self.client.publish(subject, payload)).await;
        })
    }

    fn set_reconnect_window(&self, window: Duration) {
        self.window.set(window);
    }

    fn reconnect(&self) -> Answer<'_, ()> {
        Box::pin(self.mover.go())
    }
}

fn reply(message: Message) -> Reply {
    let refusal = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get(ERROR_HEADER))
        .map(|code| code.as_str().chars().take(64).collect());
    Reply {
        status: message.status.map(|status| status.as_u16()),
        payload: message.payload,
        refusal,
    }
}

/// Connects as the holder of a join token, asks to enrol and hands back the answer.
///
/// # Errors
/// [`ConnectError`].
pub async fn ask_to_enrol(
    token: &JoinToken,
    tls_first: bool,
    request: Vec<u8>,
    seed: u64,
) -> Result<Bytes, ConnectError> {
    let login = token.seed().login();
    let key = login
        .user_key()
        .map_err(|error| LinkError::Refused(error.to_string()))?;
    let options = NatsOptions {
        servers: token.servers.clone(),
        name: "writ-agent enrolment".to_owned(),
        credentials: Credentials::Jwt {
            jwt: token.user_jwt.clone(),
            seed: Secret::new(login.seed().to_string()),
        },
        ca_pem: Some(token.ca_pem.clone()).filter(|pem| !pem.is_empty()),
        tls_first,
        inbox_prefix: subject::inbox(&key),
        ..NatsOptions::default()
    };
    let (client, _events) = connect(options, seed).await?;
    let message = request_with_timeout(
        &client,
        subject::enrol(&key),
        None,
        request.into(),
        ENROL_WAIT.max(RPC_WAIT),
    )
    .await;
    let answer = message
        .map(reply)
        .map_err(|error| LinkError::Unavailable(Box::new(error)))?;
    match answer.refusal {
        None => Ok(answer.payload),
        Some(code) => {
            Err(LinkError::Refused(format!("{code}: {}", String::from_utf8_lossy(&answer.payload))).into())
        }
    }
}
