//! Streams and ingest consumers as declared data: made when missing, compared when there, never remade. A difference is an alarm, because
//! somebody changed the bus by hand and only they know whether its content may go.

pub mod watch;

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Republish};
use async_nats::jetstream::{Context, ContextBuilder, ErrorCode};
use serde::Serialize;
use serde_json::Value;
use writ_protocol::limits::{BATCH_MESSAGE_BYTES_MAX, BUNDLE_CHUNK_BYTES, MANIFEST_BYTES_MAX};
use writ_protocol::subject::{self, Shard};

pub use crate::config::StreamSizes;
use watch::StreamState;

/// Longest wait for the answer of the bus's management.
const API_PATIENCE: Duration = Duration::from_secs(5);
/// How long the bus remembers message ids.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);
/// How long events stay, to feed a restored ledger again.
const EVENTS_AGE: Duration = Duration::from_hours(24);
/// A batch that is not acknowledged within this is given out again.
pub const ACK_WAIT: Duration = Duration::from_secs(30);
/// Most batches of a shard that are given out and not acknowledged.
pub const ACK_PENDING_MAX: i64 = 2_048;
/// Most messages of one pull.
pub const PULL_MAX: usize = 1_000;
/// Most pulls waiting at one consumer: one of each controller, and those of connections that died.
const PULLS_WAITING_MAX: i64 = 16;
/// Most consumers of the events stream; the shards, and room for people who look.
const EVENTS_CONSUMERS_MAX: i32 = 32;

/// The bus's management failed.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// A stream could not be read or made.
    #[error("stream {name} cannot be ensured: {reason}")]
    Stream {
        /// Which.
        name: String,
        /// What the server or the connection said.
        reason: String,
    },
    /// A consumer could not be read or made.
    #[error("consumer {name} cannot be ensured: {reason}")]
    Consumer {
        /// Which.
        name: String,
        /// What the server or the connection said.
        reason: String,
    },
}

/// One value of the bus that is not as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Stream or consumer.
    pub name: String,
    /// The value.
    pub field: String,
    /// As declared.
    pub declared: Value,
    /// As found.
    pub found: Value,
}

/// What [`ensure`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ensured {
    /// Streams that were missing and were made, empty: whatever they held must be published again.
    pub made: Vec<&'static str>,
    /// What differs from the declaration.
    pub drift: Vec<Drift>,
    /// How far the streams have come that were there.
    pub states: Vec<(&'static str, StreamState)>,
}

/// The streams as declared.
pub fn declared(sizes: &StreamSizes) -> [(&'static str, Config); 3] {
    let stream = |name: &'static str, filter: &str, max_bytes: i64, max_message: usize| Config {
        name: name.to_owned(),
        subjects: vec![filter.to_owned()],
        max_bytes,
        max_message_size: i32::try_from(max_message).unwrap_or(i32::MAX),
        num_replicas: sizes.replicas,
        duplicate_window: DUPLICATE_WINDOW,
        deny_delete: true,
        ..Config::default()
    };
    let (orders, events, bundles) = (
        subject::ORDERS_STREAM,
        subject::EVENTS_STREAM,
        subject::BUNDLES_STREAM,
    );
    let headers = 4 << 10;
    [
        (
            orders,
            Config {
                max_messages_per_subject: 1,
                allow_direct: true,
                max_consumers: 16,
                republish: Some(Republish {
                    source: subject::ORDERS_FILTER.to_owned(),
                    destination: subject::WAKE_REPUBLISH.to_owned(),
                    headers_only: false,
                }),
                ..stream(
                    orders,
                    subject::ORDERS_FILTER,
                    sizes.orders_bytes,
                    MANIFEST_BYTES_MAX + headers,
                )
            },
        ),
        (
            events,
            Config {
                max_age: EVENTS_AGE,
                max_consumers: EVENTS_CONSUMERS_MAX,
                ..stream(
                    events,
                    subject::EVENTS_FILTER,
                    sizes.events_bytes,
                    BATCH_MESSAGE_BYTES_MAX + headers,
                )
            },
        ),
        (
            bundles,
            Config {
                max_messages_per_subject: 1,
                allow_direct: true,
                discard: DiscardPolicy::Old,
                ..stream(
                    bundles,
                    subject::BUNDLES_FILTER,
                    sizes.bundles_bytes,
                    BUNDLE_CHUNK_BYTES + headers,
                )
            },
        ),
    ]
}

/// The ingest consumer of a shard as declared.
pub fn ingest(shard: Shard) -> pull::Config {
    pull::Config {
        durable_name: Some(subject::ingest_consumer(shard)),
        name: Some(subject::ingest_consumer(shard)),
        filter_subject: subject::events_of(shard),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: ACK_PENDING_MAX,
        max_deliver: -1,
        max_batch: i64::try_from(PULL_MAX).unwrap_or(i64::MAX),
        max_waiting: PULLS_WAITING_MAX,
        ..pull::Config::default()
    }
}

/// The management of the bus, with a bound on every wait.
pub fn management(client: &Client) -> Context {
    ContextBuilder::new().timeout(API_PATIENCE).build(client.clone())
}

/// Makes what is missing and compares what is there. Safe to repeat and to run in several controllers at once.
///
/// # Errors
/// [`EnsureError`]; nothing that was there is changed in any case.
pub async fn ensure(bus: &Context, sizes: &StreamSizes) -> Result<Ensured, EnsureError> {
    let mut done = Ensured::default();
    for (name, config) in declared(sizes) {
        ensure_stream(bus, name, &config, &mut done).await?;
    }
    for shard in Shard::all() {
        let config = ingest(shard);
        let found = consumer(bus, &config).await?.cached_info().config.clone();
        compare(
            &subject::ingest_consumer(shard),
            &json(&config),
            &json(&found),
            &mut done.drift,
        );
    }
    Ok(done)
}

/// The ingest consumer of a shard, made when missing.
///
/// # Errors
/// [`EnsureError::Consumer`].
pub async fn ingest_consumer(bus: &Context, shard: Shard) -> Result<PullConsumer, EnsureError> {
    consumer(bus, &ingest(shard)).await
}

/// How many batches of a shard are not acknowledged yet: those that wait and those that are given out.
///
/// # Errors
/// [`EnsureError::Consumer`].
pub async fn waiting(bus: &Context, shard: Shard) -> Result<u64, EnsureError> {
    let found = ingest_consumer(bus, shard).await?;
    let info = found.cached_info();
    let given_out = u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX);
    Ok(info.num_pending.saturating_add(given_out))
}

async fn ensure_stream(
    bus: &Context,
    name: &'static str,
    config: &Config,
    done: &mut Ensured,
) -> Result<(), EnsureError> {
    let failed = |reason: String| EnsureError::Stream {
        name: name.to_owned(),
        reason,
    };
    match bus.get_stream(name).await {
        Ok(stream) => {
            let info = stream.cached_info();
            compare(name, &json(config), &json(&info.config), &mut done.drift);
            let state = StreamState {
                last: info.state.last_sequence,
                messages: info.state.messages,
            };
            done.states.push((name, state));
        }
        Err(error) if is_missing(&error.kind()) => {
            bus.create_stream(config)
                .await
                .map_err(|error| failed(error.to_string()))?;
            done.made.push(name);
        }
        Err(error) => return Err(failed(error.to_string())),
    }
    Ok(())
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

async fn consumer(bus: &Context, config: &pull::Config) -> Result<PullConsumer, EnsureError> {
    let name = config.durable_name.clone().unwrap_or_default();
    let stream = subject::EVENTS_STREAM;
    let found = bus
        .get_consumer_from_stream::<pull::Config, _, _>(&name, stream)
        .await;
    let failed = |reason: String| EnsureError::Consumer {
        name: name.clone(),
        reason,
    };
    match found {
        Ok(consumer) => Ok(consumer),
        Err(error) if is_no_consumer(&error) => bus
            .create_consumer_on_stream(config.clone(), stream)
            .await
            .map_err(|error| failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn is_no_consumer(error: &async_nats::jetstream::stream::ConsumerError) -> bool {
    use async_nats::jetstream::stream::ConsumerErrorKind;
    matches!(error.kind(), ConsumerErrorKind::JetStream(error) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND)
}

fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Compares what is declared; what the server adds beside it is its own.
fn compare(name: &str, declared: &Value, found: &Value, drift: &mut Vec<Drift>) {
    let Some(fields) = declared.as_object() else {
        return;
    };
    for (field, wanted) in fields {
        let is = found.get(field).unwrap_or(&Value::Null);
        if means(wanted) != means(is) {
            drift.push(Drift {
                name: name.to_owned(),
                field: field.clone(),
                declared: wanted.clone(),
                found: is.clone(),
            });
        }
    }
}

/// The server writes "no bound" as -1 where it was sent as 0, and leaves out what is empty.
fn means(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.as_i64() == Some(0) || number.as_i64() == Some(-1) => Value::Null,
        Value::Bool(false) => Value::Null,
        Value::Object(map) if map.is_empty() => Value::Null,
        Value::String(text) if text.is_empty() => Value::Null,
        other => other.clone(),
    }
}
