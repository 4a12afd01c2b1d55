//! The bus as the agent uses it: requests with an answer, acknowledged publishes, four subscriptions, and live logs that may be lost. No
//! consumer and no watch: what is not asked for does not exist.
//!
//! [`Transport`] is the seam: the real one is [`nats`], an agent that is started for one run speaks through a [`pipe`], tests and the simulator
//! bring their own.

pub mod nats;
pub mod pipe;

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use writ_protocol::digest::Digest;
use writ_protocol::hello::BundleRequest;
use writ_protocol::limits::LOG_MESSAGE_BYTES_MAX;
use writ_protocol::nats::UserKey;
use writ_protocol::subject::{self, Rpc};
use writ_protocol::trace::TraceContext;

/// Longest wait for a read of the bus.
pub const GET_WAIT: Duration = Duration::from_secs(2);
/// Longest wait for an answer of a controller.
pub const RPC_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for a stream's acknowledgement.
pub const ACK_WAIT: Duration = Duration::from_secs(5);
/// Longest live log text in one message, bytes: escaped it still fits.
pub const LOG_TEXT_BYTES_MAX: usize = 2_560;

/// Something that has not come yet.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What came without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The connection stands; everything subscribed to comes from here on.
    Connected,
    /// It is lost; the client tries again.
    Disconnected,
    /// There may be a newer manifest; perhaps these bytes are it. They come on a subject on which others can make noise, so they are taken where
    /// they are a manifest that would be taken from the bus, and are a mere hint otherwise. With the trace of its newest order, which nobody signed:
    /// it is told in logs and decides nothing.
    Wake(Bytes, Option<TraceContext>),
    /// A watermark.
    Mark(Bytes),
    /// A halt or a lift; or nothing, which says that a hello would be answered with news.
    Control {
        /// The envelope, or nothing.
        bytes: Bytes,
        /// It came on our own subject, not on everybody's.
        addressed: bool,
    },
}

/// An answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Its bytes.
    pub payload: Bytes,
    /// The bus's own status, such as 404.
    pub status: Option<u16>,
    /// The code of a controller that could not serve it.
    pub refusal: Option<String>,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Not now: no connection, nobody there, or no answer in time.
    #[error("the bus gave no answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The other side answered that it cannot.
    #[error("refused: {0}")]
    Refused(String),
}

/// The connection to the bus.
pub trait Transport: Send + Sync + Debug {
    /// Asks and waits for the answer.
    fn request(
        &self,
        subject: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<Reply, LinkError>>;
    /// Hands a message to a stream and waits until it is stored; `id` lets the stream know a repeat.
    fn publish_acked(
        &self,
        subject: String,
        id: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<(), LinkError>>;
    /// Sends a message that may be lost.
    fn publish_lossy(&self, subject: String, payload: Bytes) -> Answer<'_, ()>;
    /// After a lost connection, spread the first try over this.
    fn set_reconnect_window(&self, _window: Duration) {}
    /// Makes the connection anew, with the newest credentials.
    fn reconnect(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A piece of a step's output while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogLine {
    /// The order's id.
    pub order: String,
    /// The resource's id.
    pub step: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// From 1, within the step; a gap means loss.
    pub seq: u64,
    /// The text; bytes that are no UTF-8 replaced.
    pub text: String,
}

/// What one agent says and asks on the bus.
#[derive(Clone, Debug)]
pub struct Link {
    transport: Arc<dyn Transport>,
    me: UserKey,
}

impl Link {
    /// The link of an agent.
    pub fn new(transport: Arc<dyn Transport>, me: UserKey) -> Self {
        Self { transport, me }
    }

    /// The newest manifest that the bus has; `None` when it has none.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn manifest(&self) -> Result<Option<Bytes>, LinkError> {
        self.get(subject::ORDERS_STREAM, &subject::order(&self.me)).await
    }

    /// The newest manifest that the ledger has.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn manifest_from_ledger(&self) -> Result<Bytes, LinkError> {
        self.ask(Rpc::Manifest, Bytes::new()).await
    }

    /// Says hello.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn hello(&self, envelope: Vec<u8>) -> Result<Bytes, LinkError> {
        self.ask(Rpc::Hello, envelope.into()).await
    }

    /// Asks for new credentials.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn renew(&self, envelope: Vec<u8>) -> Result<Bytes, LinkError> {
        self.ask(Rpc::Renew, envelope.into()).await
    }

    /// A part of a bundle: from the bus, or else from the ledger.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn bundle_chunk(&self, digest: Digest, index: u32) -> Result<Bytes, LinkError> {
        if let Ok(Some(chunk)) = self
            .get(subject::BUNDLES_STREAM, &subject::bundle_chunk(&digest, index))
            .await
        {
            return Ok(chunk);
        }
        let request = serde_json::to_vec(&BundleRequest { digest, index });
        let request = request.map_err(|error| LinkError::Refused(error.to_string()))?;
        self.ask(Rpc::Bundle, request.into()).await
    }

    /// Hands an event batch to the stream. Its id is its digest, so that nobody else can use it up beforehand.
    ///
    /// # Errors
    /// [`LinkError`]; it may be stored all the same.
    pub async fn events(&self, batch: Vec<u8>) -> Result<(), LinkError> {
        let id = Digest::of(&batch).to_hex();
        self.transport
            .publish_acked(subject::events(&self.me), id, batch.into(), ACK_WAIT)
            .await
    }

    /// Sends a piece of live log; it may be lost.
    pub async fn log(&self, line: &LogLine) {
        if let Ok(json) = serde_json::to_vec(line)
            && json.len() <= LOG_MESSAGE_BYTES_MAX
        {
            self.transport
                .publish_lossy(subject::log(&self.me), json.into())
                .await;
        }
    }

    /// After a lost connection, spread the first try over this.
    pub fn set_reconnect_window(&self, window: Duration) {
        self.transport.set_reconnect_window(window);
    }

    /// Makes the connection anew, with the newest credentials.
    pub async fn reconnect(&self) {
        self.transport.reconnect().await;
    }

    async fn get(&self, stream: &str, subject: &str) -> Result<Option<Bytes>, LinkError> {
        let reply = self
            .transport
            .request(subject::direct_get(stream, subject), Bytes::new(), GET_WAIT)
            .await?;
        match reply.status {
            None | Some(200) => Ok(Some(reply.payload)),
            Some(404) => Ok(None),
            Some(status) => Err(LinkError::Refused(format!("status {status}"))),
        }
    }

    async fn ask(&self, rpc: Rpc, payload: Bytes) -> Result<Bytes, LinkError> {
        let reply = self
            .transport
            .request(rpc.subject(&self.me), payload, RPC_WAIT)
            .await?;
        match (reply.refusal, reply.status) {
            (Some(code), _) => Err(LinkError::Refused(code)),
            (None, Some(status)) => Err(LinkError::Refused(format!("status {status}"))),
            (None, None) => Ok(reply.payload),
        }
    }
}
