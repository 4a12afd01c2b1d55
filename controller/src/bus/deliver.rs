//! Putting manifests and bundles on the bus, and looking at what it holds. The bus is a cache of the ledger: everything here may be repeated.
//!
//! An acknowledgement is believed, except when it says "duplicate": after a rollback the bus can remember an id and have lost the message,
//! so a duplicate is read back before it counts.

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use writ_chassis::nats::{PublishError, RequestError, publish_acked, request_with_timeout};
use writ_protocol::digest::Digest;
use writ_protocol::envelope::Envelope;
use writ_protocol::limits::BUNDLE_CHUNK_BYTES;
use writ_protocol::manifest::{Generation, Manifest};
use writ_protocol::nats::UserKey;
use writ_protocol::statement::Statement;
use writ_protocol::trace::{self, TraceContext};
use writ_protocol::{codec, subject};

/// Most messages whose acknowledgement is awaited at once.
pub const IN_FLIGHT: usize = 256;
/// Longest wait for one acknowledgement or answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The status of a direct get that found nothing.
const NOTHING_THERE: u16 = 404;
/// The header by which a stream recognises what it has.
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// A manifest on its way to the bus.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Whose.
    pub key: UserKey,
    /// Where it stands.
    pub at: Generation,
    /// Its envelope's JSON.
    pub envelope: Bytes,
    /// The trace of the newest of its orders. Not signed: good for finding things together, for nothing else.
    pub trace: Option<TraceContext>,
}

/// Something is not on the bus.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The stream did not take it.
    #[error("not stored by the bus")]
    Publish(#[from] PublishError),
    /// It could not be read back.
    #[error("cannot be read back from the bus")]
    Read(#[from] RequestError),
    /// The bus acknowledged and does not have it.
    #[error("acknowledged by the bus and not there")]
    Lost,
}

impl DeliverError {
    /// Whether the bus has no stream for it: it was wiped, and the streams must be made first.
    pub const fn is_no_stream(&self) -> bool {
        matches!(
            self,
            Self::Publish(PublishError::Unacknowledged(RequestError::NoResponders))
                | Self::Read(RequestError::NoResponders)
        )
    }
}

/// Publishes manifests, [`IN_FLIGHT`] at a time; gives the outcome of each at its place.
pub async fn manifests(client: &Client, parcels: &[Parcel]) -> Vec<Result<(), DeliverError>> {
    // Boxed one by one: the compiler cannot see that a stream of borrowing futures may move between threads.
    let each: Vec<BoxFuture<'_, _>> = parcels
        .iter()
        .map(|parcel| manifest(client, parcel).boxed())
        .collect();
    stream::iter(each).buffered(IN_FLIGHT).collect().await
}

async fn manifest(client: &Client, parcel: &Parcel) -> Result<(), DeliverError> {
    let Generation { epoch, generation } = parcel.at;
    let id = format!("m:{}:{epoch}:{generation}", parcel.key);
    let place = || subject::order(&parcel.key);
    if !put(client, place(), (&id, parcel.trace), parcel.envelope.clone()).await? {
        return Ok(());
    }
    if held(client, &parcel.key).await?.is_some_and(|at| at >= parcel.at) {
        return Ok(());
    }
    // Remembered and gone. Without an id it is stored for certain: any other could be remembered and gone as well, after a second loss.
    put(client, place(), ("", parcel.trace), parcel.envelope.clone()).await?;
    match held(client, &parcel.key).await? {
        Some(at) if at >= parcel.at => Ok(()),
        _ => Err(DeliverError::Lost),
    }
}

/// Publishes a bundle in chunks and gives their number. A chunk that the bus has already is not stored again.
///
/// # Errors
/// [`DeliverError`]; some chunks may be there.
pub async fn bundle(client: &Client, digest: &Digest, bytes: &Bytes) -> Result<usize, DeliverError> {
    let chunks = bytes.len().div_ceil(BUNDLE_CHUNK_BYTES);
    let put_chunk = |index: usize| async move {
        let start = index.saturating_mul(BUNDLE_CHUNK_BYTES);
        let end = start.saturating_add(BUNDLE_CHUNK_BYTES).min(bytes.len());
        let chunk = bytes.slice(start..end);
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        chunk_once(client, digest, index, chunk).await
    };
    let each: Vec<BoxFuture<'_, _>> = (0..chunks).map(|index| put_chunk(index).boxed()).collect();
    let mut done = stream::iter(each).buffered(IN_FLIGHT);
    while let Some(outcome) = done.next().await {
        outcome?;
    }
    Ok(chunks)
}

async fn chunk_once(client: &Client, digest: &Digest, index: u32, chunk: Bytes) -> Result<(), DeliverError> {
    let place = subject::bundle_chunk(digest, index);
    if last(client, subject::BUNDLES_STREAM, &place)
        .await?
        .is_some_and(|there| there == chunk)
    {
        return Ok(());
    }
    // Without an id: the look before and one message per subject are enough, and a forgotten chunk can come back.
    put(client, place, ("", None), chunk).await.map(|_| ())
}

/// Where the manifest stands that the bus holds for an agent; none when it holds none, or one that cannot be read.
///
/// # Errors
/// When the bus does not answer.
pub async fn held(client: &Client, key: &UserKey) -> Result<Option<Generation>, RequestError> {
    let there = last(client, subject::ORDERS_STREAM, &subject::order(key)).await?;
    Ok(there.and_then(|envelope| generation_of(&envelope)))
}

/// [`held`] of many agents, [`IN_FLIGHT`] at a time; gives the answer for each at its place.
pub async fn held_by(client: &Client, keys: &[UserKey]) -> Vec<Result<Option<Generation>, RequestError>> {
    let each: Vec<BoxFuture<'_, _>> = keys.iter().map(|key| held(client, key).boxed()).collect();
    stream::iter(each).buffered(IN_FLIGHT).collect().await
}

/// Where an envelope says that it stands. Not verified: good for comparing with the ledger, for nothing else.
fn generation_of(envelope: &[u8]) -> Option<Generation> {
    let envelope = Envelope::parse(envelope).ok()?;
    let payload = envelope.unverified_payload();
    let statement: Statement<Manifest> = codec::from_json("manifest", payload, payload.len()).ok()?;
    Some(statement.predicate.at)
}

/// Whether the stream had a message of this id already.
async fn put(
    client: &Client,
    subject: String,
    (id, trace): (&str, Option<TraceContext>),
    body: Bytes,
) -> Result<bool, DeliverError> {
    let mut headers = HeaderMap::new();
    if !id.is_empty() {
        headers.insert(MESSAGE_ID, id);
    }
    if let Some(trace) = trace {
        headers.insert(trace::HEADER, trace.to_string());
    }
    Ok(publish_acked(client, subject, headers, body, PATIENCE)
        .await?
        .duplicate)
}

async fn last(client: &Client, stream: &str, subject: &str) -> Result<Option<Bytes>, RequestError> {
    let get = subject::direct_get(stream, subject);
    let answer = request_with_timeout(client, get, None, Bytes::new(), PATIENCE).await?;
    let missing = answer
        .status
        .is_some_and(|status| status.as_u16() == NOTHING_THERE);
    Ok((!missing).then_some(answer.payload))
}
