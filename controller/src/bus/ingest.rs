//! From the bus to the ledger: batches of a shard are gathered, committed in one transaction, acknowledged, and answered with watermarks.
//!
//! Nothing is acknowledged before it is committed. A batch that spoils a transaction is found by trying each alone, and set aside, so that
//! it never blocks the others.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use futures_util::{FutureExt as _, StreamExt as _};
use writ_protocol::subject::{self, Shard};

use super::port::{Arrival, DeskError, Inbox, Ingested, Mark};
use super::streams::PULL_MAX;

/// Longest wait for the first message of a pull.
const PULL_WAIT: Duration = Duration::from_secs(5);
/// Longest time that messages are gathered once the first is there…
const GATHER: Duration = Duration::from_millis(20);
/// …and how long none may come until what is there is taken. A single acceptance must not wait for company that does not come; under load
/// there is always a next one, and a transaction serves many.
const LULL: Duration = Duration::from_millis(1);
/// A refused batch is given out again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The server says that it is there this often, so that silence can be told from death.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Batches that the ledger took.
    pub taken: usize,
    /// Batches that stand among the dead letters.
    pub set_aside: usize,
    /// Messages that named no agent of the shard; dropped.
    pub strange: usize,
}

/// The flow of a shard's batches stopped; make it anew.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The consumer cannot be read.
    #[error("the shard's consumer cannot be read: {0}")]
    Consumer(String),
    /// The desk cannot take batches now; they come again.
    #[error("the desk cannot take batches now")]
    Desk(#[source] DeskError),
}

/// The batches of one shard.
pub struct Flow {
    client: Client,
    shard: Shard,
    messages: async_nats::jetstream::consumer::pull::Stream,
    gathered: Vec<Message>,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow")
            .field("shard", &self.shard)
            .finish_non_exhaustive()
    }
}

impl Flow {
    /// Begins to read a shard's consumer. The caller holds the shard's lease.
    ///
    /// # Errors
    /// [`FlowError::Consumer`].
    pub async fn open(client: Client, consumer: &PullConsumer, shard: Shard) -> Result<Self, FlowError> {
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULL_MAX)
            .expires(PULL_WAIT)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| FlowError::Consumer(error.to_string()))?;
        Ok(Self {
            client,
            shard,
            messages,
            gathered: Vec::new(),
        })
    }

    /// Gathers batches and has them taken: [`Self::gather`] and [`Self::take`].
    ///
    /// # Errors
    /// [`FlowError`]: drop the flow, wait, and open another. What was not acknowledged comes again.
    pub async fn round(&mut self, desk: &impl Inbox) -> Result<Round, FlowError> {
        self.gather().await?;
        self.take(desk).await
    }

    /// Has the gathered batches taken. Not to be cancelled: what it holds then comes again only when the server's patience ends.
    ///
    /// # Errors
    /// [`FlowError::Desk`], as [`Self::round`].
    pub async fn take(&mut self, desk: &impl Inbox) -> Result<Round, FlowError> {
        let (mut held, mut round) = (Vec::new(), Round::default());
        for message in std::mem::take(&mut self.gathered) {
            if let Some(arrival) = arrival(self.shard, &message) {
                held.push((arrival, message));
            } else {
                round.strange += 1;
                settle(&message, AckKind::Term).await;
            }
        }
        let (arrivals, messages): (Vec<_>, Vec<_>) = held.into_iter().unzip();
        if arrivals.is_empty() {
            return Ok(round);
        }
        match desk.ingest(self.shard, &arrivals).await {
            Ok(done) => self.settle_all(&messages, done, &mut round).await,
            Err(error) if error.retryable => {
                give_back(&messages).await;
                return Err(FlowError::Desk(error));
            }
            Err(_) => self.each_alone(desk, &arrivals, &messages, &mut round).await?,
        }
        Ok(round)
    }

    /// It is committed: what was taken is done with, and what stands among the dead letters is never given out again.
    async fn settle_all(&self, messages: &[Message], done: Ingested, round: &mut Round) {
        for (place, message) in messages.iter().enumerate() {
            if done.refused.contains(&place) {
                round.set_aside += 1;
                settle(message, AckKind::Term).await;
            } else {
                round.taken += 1;
                settle(message, AckKind::Ack).await;
            }
        }
        self.send(done.marks).await;
    }

    /// One of them spoils the transaction: each gets its own.
    async fn each_alone(
        &self,
        desk: &impl Inbox,
        arrivals: &[Arrival],
        messages: &[Message],
        round: &mut Round,
    ) -> Result<(), FlowError> {
        for (index, (arrival, message)) in arrivals.iter().zip(messages).enumerate() {
            let outcome = match desk.ingest(self.shard, std::slice::from_ref(arrival)).await {
                Err(error) if !error.retryable => {
                    tracing::warn!(agent = %arrival.key, error = %error, "event batch set aside");
                    desk.set_aside(self.shard, arrival, &error)
                        .await
                        .map(|()| Ingested {
                            marks: Vec::new(),
                            refused: vec![0],
                        })
                }
                taken => taken,
            };
            match outcome {
                Ok(done) => self.settle_all(std::slice::from_ref(message), done, round).await,
                Err(error) => {
                    give_back(messages.get(index..).unwrap_or_default()).await;
                    return Err(FlowError::Desk(error));
                }
            }
        }
        Ok(())
    }

    /// Waits for a batch, as long as it takes, and gathers those that come right after it. Cancel-safe: what is gathered stays.
    ///
    /// # Errors
    /// [`FlowError::Consumer`], as [`Self::round`].
    pub async fn gather(&mut self) -> Result<(), FlowError> {
        if self.gathered.is_empty() {
            let ended = || FlowError::Consumer("the subscription ended".to_owned());
            let first = self.messages.next().await.ok_or_else(ended)?;
            self.gathered
                .push(first.map_err(|error| FlowError::Consumer(error.to_string()))?);
        }
        let until = tokio::time::Instant::now() + GATHER;
        while self.gathered.len() < PULL_MAX {
            let lull = tokio::time::Instant::now() + LULL;
            match tokio::time::timeout_at(until.min(lull), self.messages.next()).await {
                Ok(Some(Ok(message))) => self.gathered.push(message),
                // What is held is taken first; an error shows again at the next round.
                Ok(Some(Err(_)) | None) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Gives back what came and was not taken, so that whoever has the shard next has it at once.
    pub async fn close(mut self) {
        while let Some(Some(Ok(message))) = self.messages.next().now_or_never() {
            self.gathered.push(message);
        }
        // The subscription must be gone first: while the server sees it, it gives what comes back to this pull again.
        drop(self.messages);
        let (client, gathered) = (self.client, self.gathered);
        if let Err(error) = client.flush().await {
            tracing::debug!(error = %error, "the shard's subscription may be seen a while longer");
        }
        for message in &gathered {
            settle(message, AckKind::Nak(None)).await;
        }
        if let Err(error) = client.flush().await {
            tracing::debug!(error = %error, "batches not given back; they come again later");
        }
    }

    /// Watermarks are hints: a lost one comes with the next hello.
    async fn send(&self, marks: Vec<Mark>) {
        for mark in marks {
            if let Err(error) = self.client.publish(subject::mark(&mark.key), mark.envelope).await {
                tracing::debug!(agent = %mark.key, error = %error, "watermark not sent");
            }
        }
    }
}

/// The batch in a message, when its subject names an agent and that agent's own shard.
fn arrival(shard: Shard, message: &Message) -> Option<Arrival> {
    let key = subject::agent_of(&message.subject)?;
    let named = subject::shard_of(&message.subject)?;
    (named == shard && Shard::of(&key) == shard).then(|| Arrival {
        key,
        message: message.payload.clone(),
        delivery: message.info().map_or(1, |info| info.delivered),
    })
}

/// An answer that is lost only means that the message comes again.
async fn settle(message: &Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        tracing::debug!(error = %error, "acknowledgement not sent; the batch comes again");
    }
}

async fn give_back(messages: &[Message]) {
    for message in messages {
        settle(message, AckKind::Nak(Some(AGAIN_AFTER))).await;
    }
}
