//! Asking and being answered: the only two ways by which something sent counts as received.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;

/// The largest acknowledgement parsed, in bytes. They are around a hundred.
const ACK_BYTES_MAX: usize = 16 * 1024;
/// The most characters kept of a server's words.
const DESCRIPTION_CHARS_MAX: usize = 256;
/// The status by which JetStream says that it is not able to now: an election, or no resources.
const JETSTREAM_UNAVAILABLE: u16 = 503;
/// The number by which JetStream says that the expected last sequence was another.
const JETSTREAM_WRONG_LAST_SEQUENCE: u64 = 10_071;
/// The same for a clustered stream.
const JETSTREAM_WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10_164;

/// A request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no connection now. Nothing was sent.
    #[error("not connected to the bus")]
    NotConnected,
    /// Nobody listens to the subject now: usual during an election, or when the other side is down. Nothing was received.
    #[error("nobody answers on this subject")]
    NoResponders,
    /// No answer came in time. It may have been received.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The message is larger than the server takes. Nothing was sent.
    #[error("the message is larger than the bus allows")]
    TooLarge,
    /// The subject is empty or holds white space. Nothing was sent.
    #[error("the subject is not valid")]
    Subject,
    /// The client failed. It may have been received.
    #[error("the request failed in the bus client")]
    Client(#[source] async_nats::RequestError),
}

impl RequestError {
    /// Whether the same request can succeed later. Whether it may be repeated is the caller's to know.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NotConnected | Self::NoResponders | Self::TimedOut(_) | Self::Client(_) => true,
            Self::TooLarge | Self::Subject => false,
        }
    }
}

/// A message was not acknowledged by a stream.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No acknowledgement came. The message may be stored: publish again with the same message id.
    #[error("no acknowledgement came")]
    Unacknowledged(#[source] RequestError),
    /// The stream refused the message.
    #[error("the stream refused the message with status {status}, error {code}: {description}")]
    Rejected {
        /// The status, as of HTTP.
        status: u16,
        /// JetStream's own error number.
        code: u64,
        /// The server's words.
        description: String,
    },
    /// What came is not an acknowledgement: something else listens to the subject.
    #[error("the answer is not an acknowledgement of a stream")]
    NotAnAck,
}

impl PublishError {
    /// Whether the same message can succeed later.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unacknowledged(error) => error.is_retryable(),
            Self::Rejected { status, .. } => *status == JETSTREAM_UNAVAILABLE,
            Self::NotAnAck => false,
        }
    }

    /// Whether the stream had moved on from the sequence number that the message's headers expected.
    pub const fn is_wrong_last_sequence(&self) -> bool {
        matches!(
            self,
            Self::Rejected {
                code: JETSTREAM_WRONG_LAST_SEQUENCE | JETSTREAM_WRONG_LAST_SEQUENCE_CONSTANT,
                ..
            }
        )
    }
}

/// A stream stored a message, or had it already. Soft: the stream may yet lose it with its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The name of the stream.
    pub stream: String,
    /// The message's sequence number in it.
    pub sequence: u64,
    /// Whether the stream already had a message of this id.
    pub duplicate: bool,
}

/// Sends a request and waits for its answer, at most `timeout`, waiting for room in the queue included.
///
/// Without a connection it fails at once instead of queueing: a queued request is sent after the reconnect, possibly minutes later, when
/// nobody waits for its answer, and the client keeps its place for ever.
///
/// # Errors
/// Any [`RequestError`].
pub async fn request_with_timeout(
    client: &Client,
    subject: String,
    headers: Option<HeaderMap>,
    payload: Bytes,
    timeout: Duration,
) -> Result<Message, RequestError> {
    if client.connection_state() != State::Connected {
        return Err(RequestError::NotConnected);
    }
    // The library's own timeout is switched off: it begins only after the wait for the queue.
    let mut request = Request::new().payload(payload).timeout(None);
    request.headers = headers;
    match tokio::time::timeout(timeout, client.send_request(subject, request)).await {
        Ok(Ok(message)) => Ok(message),
        Err(_) => Err(RequestError::TimedOut(timeout)),
        Ok(Err(error)) => Err(match error.kind() {
            RequestErrorKind::TimedOut => RequestError::TimedOut(timeout),
            RequestErrorKind::NoResponders => RequestError::NoResponders,
            RequestErrorKind::InvalidSubject => RequestError::Subject,
            RequestErrorKind::MaxPayloadExceeded => RequestError::TooLarge,
            RequestErrorKind::Other => RequestError::Client(error),
        }),
    }
}

/// Publishes to the stream that listens to `subject` and waits for its acknowledgement, at most `timeout`.
///
/// Put the message id into `headers` (`Nats-Msg-Id`), so that a second try is recognised.
///
/// # Errors
/// Any [`PublishError`].
pub async fn publish_acked(
    client: &Client,
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
    timeout: Duration,
) -> Result<Published, PublishError> {
    let answer = request_with_timeout(client, subject, Some(headers), payload, timeout)
        .await
        .map_err(PublishError::Unacknowledged)?;
    if answer.payload.len() > ACK_BYTES_MAX {
        return Err(PublishError::NotAnAck);
    }
    match serde_json::from_slice(&answer.payload) {
        Ok(Acknowledgement::Stored {
            stream,
            seq,
            duplicate,
        }) => Ok(Published {
            stream,
            sequence: seq,
            duplicate,
        }),
        Ok(Acknowledgement::Refused { error }) => Err(PublishError::Rejected {
            status: error.code,
            code: error.err_code,
            description: error.description.chars().take(DESCRIPTION_CHARS_MAX).collect(),
        }),
        Err(_) => Err(PublishError::NotAnAck),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Acknowledgement {
    Refused {
        error: Refusal,
    },
    Stored {
        stream: String,
        seq: u64,
        #[serde(default)]
        duplicate: bool,
    },
}

#[derive(Deserialize)]
struct Refusal {
    code: u16,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}
