//! From the bus to the ledger: batches of all shards held are gathered, committed in one transaction, acknowledged, and answered with watermarks.
//!
//! Nothing is acknowledged before it is committed. A batch that spoils a transaction is found by trying each alone, and set aside, so that
//! it never blocks the others.

use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::MessagesError;
use async_nats::jetstream::{AckKind, Message};
use futures_util::{FutureExt as _, StreamExt as _};
use writ_protocol::subject::{self, Shard};

use super::port::{Arrival, DeskError, Inbox, Ingested, Mark};
use super::streams::PULL_MAX;

/// Longest wait for the first message of a pull.
const PULL_WAIT: Duration = Duration::from_secs(15);
/// Longest time that messages are gathered once the first is there…
const GATHER: Duration = Duration::from_millis(20);
/// …and how long none may come until what is there is taken. A single acceptance must not wait for company that does not come; under load
/// there is always a next one, and a transaction serves many.
const LULL: Duration = Duration::from_millis(1);
/// A refused batch is given out again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The server says that it is there this often, so that silence can be told from death: twice this long without a word and the flow begins again.
/// Shorter ones were missed by servers that were only busy, and beginning again is what a busy one needs least.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Batches that the ledger took.
    pub taken: usize,
    /// Batches that stand among the dead letters.
    pub set_aside: usize,
    /// Messages that named no agent of the shard; dropped.
    pub strange: usize,
    /// Batches whose shard is another controller's; given back.
    pub unheld: usize,
}

/// Batches stopped coming in.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// A shard's consumer cannot be read; its flow was dropped and is to be opened anew.
    #[error("the consumer of shard {} cannot be read: {reason}", shard.number())]
    Consumer {
        /// Whose.
        shard: Shard,
        /// Why.
        reason: String,
    },
    /// The desk cannot take batches now; they come again.
    #[error("the desk cannot take batches now")]
    Desk(#[source] DeskError),
}

/// The batches of one shard as they come.
struct Flow {
    shard: Shard,
    messages: async_nats::jetstream::consumer::pull::Stream,
}

/// The batches of every shard that is held, taken together.
pub struct Intake {
    client: Client,
    flows: Vec<Flow>,
    /// The flow that gave something last.
    turn: usize,
    gathered: Vec<(Shard, Message)>,
    /// What a flow ended with while others had given something.
    broken: Option<FlowError>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake")
            .field("shards", &self.shards().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Intake {
    /// One without flows.
    pub const fn new(client: Client) -> Self {
        Self {
            client,
            flows: Vec::new(),
            turn: 0,
            gathered: Vec::new(),
            broken: None,
        }
    }

    /// The shards whose consumers are read.
    pub fn shards(&self) -> impl Iterator<Item = Shard> {
        self.flows.iter().map(|flow| flow.shard)
    }

    /// How many batches are gathered and not taken yet.
    pub const fn gathered(&self) -> usize {
        self.gathered.len()
    }

    /// Begins to read a shard's consumer. The caller holds the shard's lease.
    ///
    /// # Errors
    /// [`FlowError::Consumer`].
    pub async fn open(&mut self, consumer: &PullConsumer, shard: Shard) -> Result<(), FlowError> {
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULL_MAX)
            .expires(PULL_WAIT)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| FlowError::Consumer {
                shard,
                reason: error.to_string(),
            })?;
        self.flows.push(Flow { shard, messages });
        Ok(())
    }

    /// Gathers batches and has them taken: [`Self::gather`] and [`Self::take`].
    ///
    /// # Errors
    /// [`FlowError`], as those.
    pub async fn round(&mut self, desk: &impl Inbox) -> Result<Round, FlowError> {
        self.gather().await?;
        self.take(desk).await
    }

    /// Waits for a batch of any shard, as long as it takes, and gathers those that come right after it. Cancel-safe: what is gathered stays.
    ///
    /// # Errors
    /// [`FlowError::Consumer`]: open that shard's flow again after a pause; what was not acknowledged comes again.
    pub async fn gather(&mut self) -> Result<(), FlowError> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        if self.gathered.is_empty() {
            let first = self.next().await?;
            self.gathered.push(first);
        }
        let until = tokio::time::Instant::now() + GATHER;
        while self.gathered.len() < PULL_MAX {
            let lull = tokio::time::Instant::now() + LULL;
            match tokio::time::timeout_at(until.min(lull), self.next()).await {
                Ok(Ok(message)) => self.gathered.push(message),
                // What is held is taken first; the error is told at the next round.
                Ok(Err(error)) => {
                    self.broken = Some(error);
                    break;
                }
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// The next batch of any shard; never answers while there is no flow. A flow that fails is dropped.
    async fn next(&mut self) -> Result<(Shard, Message), FlowError> {
        let (shard, found) = std::future::poll_fn(|context| self.poll_flows(context)).await;
        let reason = match found {
            Some(Ok(message)) => return Ok((shard, message)),
            Some(Err(error)) => error.to_string(),
            None => "the subscription ended".to_owned(),
        };
        self.flows.retain(|flow| flow.shard != shard);
        Err(FlowError::Consumer { shard, reason })
    }

    /// Begins with the flow that gave something last: what comes together is looked for together. No flow is passed over for longer than a round.
    fn poll_flows(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<(Shard, Option<Result<Message, MessagesError>>)> {
        let count = self.flows.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let Some(flow) = self.flows.get_mut(at) else {
                continue;
            };
            if let Poll::Ready(found) = flow.messages.poll_next_unpin(context) {
                self.turn = at;
                return Poll::Ready((flow.shard, found));
            }
        }
        Poll::Pending
    }

    /// Has the gathered batches taken. Not to be cancelled: what it holds then comes again only when the server's patience ends.
    ///
    /// # Errors
    /// [`FlowError::Desk`]: wait before the next round. What was not acknowledged comes again.
    pub async fn take(&mut self, desk: &impl Inbox) -> Result<Round, FlowError> {
        // The next round begins elsewhere, so that a flow that always has something leaves room for the others.
        self.turn = self.turn.wrapping_add(1);
        let (mut held, mut round) = (Vec::new(), Round::default());
        for (shard, message) in std::mem::take(&mut self.gathered) {
            if let Some(arrival) = arrival(shard, &message) {
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
        match desk.ingest(&arrivals).await {
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
            if done.unheld.contains(&place) {
                round.unheld += 1;
                settle(message, AckKind::Nak(Some(AGAIN_AFTER))).await;
            } else if done.refused.contains(&place) {
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
            let outcome = match desk.ingest(std::slice::from_ref(arrival)).await {
                Err(error) if !error.retryable => {
                    tracing::warn!(agent = %arrival.key, error = %error, "event batch set aside");
                    desk.set_aside(arrival, &error).await.map(|()| Ingested {
                        refused: vec![0],
                        ..Ingested::default()
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

    /// Ends a shard's flow, where there is one, and gives back what came and was not taken, so that whoever has the shard next has it at once.
    pub async fn close(&mut self, shard: Shard) {
        let Some(at) = self.flows.iter().position(|flow| flow.shard == shard) else {
            return;
        };
        let mut flow = self.flows.swap_remove(at);
        let (mut back, keep): (Vec<_>, Vec<_>) = std::mem::take(&mut self.gathered)
            .into_iter()
            .partition(|(of, _)| *of == shard);
        self.gathered = keep;
        while let Some(Some(Ok(message))) = flow.messages.next().now_or_never() {
            back.push((shard, message));
        }
        // The subscription must be gone first: while the server sees it, it gives what comes back to this pull again.
        drop(flow);
        if let Err(error) = self.client.flush().await {
            tracing::debug!(error = %error, "the shard's subscription may be seen a while longer");
        }
        for (_, message) in &back {
            settle(message, AckKind::Nak(None)).await;
        }
        if let Err(error) = self.client.flush().await {
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
