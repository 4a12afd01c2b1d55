//! Requests of agents that need no stream. Controllers share them in a queue group; a refusal is an answer too, so that an agent waits and asks
//! again instead of timing out.

use std::sync::Arc;

use async_nats::{Client, HeaderMap, Message, Subject};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::Semaphore;
use writ_chassis::lifecycle::LifecycleHandle;
use writ_protocol::codec;
use writ_protocol::hello::{BundleRequest, ERROR_HEADER, RpcError};
use writ_protocol::limits::RPC_BYTES_MAX;
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::subject::{self, Rpc};
use writ_protocol::time::Timestamp;

use crate::app::{App, Error, Incoming};
use crate::metrics::{Answer, ControllerMetrics};

/// Most requests of one kind that are worked on at once; more wait in the subscription.
const WORKING_MAX: usize = 64;
/// Most requests of one transaction. Nothing is waited for: those go together that came while the ones before were worked on.
const TOGETHER_MAX: usize = 256;
/// Most transactions of one kind at once, of those that go together.
const TOGETHER_WORKING_MAX: usize = 2;

/// What a whole fleet asks for at once, after a restart of the bus or when all of it is ordered: answered together.
#[derive(Clone, Copy, Debug)]
enum Common {
    Hello,
    Manifest,
}

/// What one agent asks for now and then: answered alone.
#[derive(Clone, Copy, Debug)]
enum Single {
    Renew,
    Bundle,
    Enrol,
}

/// How a kind of request is answered.
#[derive(Clone, Copy, Debug)]
enum Way {
    Together(Common),
    Alone(Single),
}

const fn way(rpc: Rpc) -> Way {
    match rpc {
        Rpc::Hello => Way::Together(Common::Hello),
        Rpc::Manifest => Way::Together(Common::Manifest),
        Rpc::Renew => Way::Alone(Single::Renew),
        Rpc::Bundle => Way::Alone(Single::Bundle),
    }
}

impl Common {
    const fn rpc(self) -> Rpc {
        match self {
            Self::Hello => Rpc::Hello,
            Self::Manifest => Rpc::Manifest,
        }
    }
}

impl Single {
    const fn token(self) -> &'static str {
        match self {
            Self::Renew => Rpc::Renew.token(),
            Self::Bundle => Rpc::Bundle.token(),
            Self::Enrol => "enrol",
        }
    }

    fn filter(self) -> String {
        match self {
            Self::Renew => Rpc::Renew.filter(),
            Self::Bundle => Rpc::Bundle.filter(),
            Self::Enrol => subject::ENROL_FILTER.to_owned(),
        }
    }
}

/// Answers requests.
#[derive(Clone, Debug)]
pub struct Answerer {
    /// The desk.
    pub app: Arc<App>,
    /// A connection in CORE.
    pub client: Client,
    /// Numbers.
    pub metrics: ControllerMetrics,
    /// The process.
    pub life: LifecycleHandle,
}

impl Answerer {
    /// Begins to answer every kind of request.
    pub fn start(&self) {
        for rpc in Rpc::ALL {
            match way(rpc) {
                Way::Together(kind) => self.life.spawn("bus.rpc.gather", self.clone().run_gathered(kind)),
                Way::Alone(kind) => self.life.spawn("bus.rpc", self.clone().run(kind)),
            };
        }
        self.life.spawn("bus.rpc.enrol", self.clone().run(Single::Enrol));
    }

    async fn run(self, kind: Single) -> Result<(), async_nats::SubscribeError> {
        let mut messages = self
            .client
            .queue_subscribe(kind.filter(), subject::QUEUE.to_owned())
            .await?;
        let working = Arc::new(Semaphore::new(WORKING_MAX));
        loop {
            let permit = Arc::clone(&working).acquire_owned().await;
            let message = tokio::select! {
                message = messages.next() => message,
                () = self.life.stopping() => None,
            };
            let (Some(message), Ok(permit)) = (message, permit) else {
                return Ok(());
            };
            let this = self.clone();
            self.life.spawn_contained("bus.rpc.answer", async move {
                this.answer(kind, message).await;
                drop(permit);
            });
        }
    }

    async fn run_gathered(self, kind: Common) -> Result<(), async_nats::SubscribeError> {
        let mut messages = self
            .client
            .queue_subscribe(kind.rpc().filter(), subject::QUEUE.to_owned())
            .await?;
        let working = Arc::new(Semaphore::new(TOGETHER_WORKING_MAX));
        loop {
            let permit = Arc::clone(&working).acquire_owned().await;
            let first = tokio::select! {
                message = messages.next() => message,
                () = self.life.stopping() => None,
            };
            let (Some(first), Ok(permit)) = (first, permit) else {
                return Ok(());
            };
            let mut together = vec![first];
            while together.len() < TOGETHER_MAX
                && let Some(Some(message)) = messages.next().now_or_never()
            {
                together.push(message);
            }
            let (this, received) = (self.clone(), self.app.instant());
            self.life.spawn_contained("bus.rpc.answer", async move {
                this.answer_together(kind, together, received).await;
                drop(permit);
            });
        }
    }

    async fn answer_together(&self, kind: Common, messages: Vec<Message>, received: Timestamp) {
        let (mut asked, mut replies) = (Vec::new(), Vec::new());
        for message in messages {
            let Some(reply) = message.reply.clone() else {
                continue;
            };
            match asker(&message) {
                Ok(user_key) => {
                    asked.push(Incoming {
                        user_key,
                        message: message.payload,
                    });
                    replies.push(reply);
                }
                Err(error) => self.send(kind.rpc().token(), reply, Err(error)).await,
            }
        }
        let answers = match self.work_together(kind, &asked, received).await {
            Ok(answers) => answers,
            // The ledger is away for all of them; what one of them alone spoils, spoils nothing for the others.
            Err(error) if asked.len() < 2 || error.is_retryable() => asked
                .iter()
                .map(|_| Err(Error::new(error.code(), error.detail())))
                .collect(),
            Err(_) => {
                let mut each = Vec::with_capacity(asked.len());
                for one in &asked {
                    let alone = self
                        .work_together(kind, std::slice::from_ref(one), received)
                        .await;
                    let lost = || Err(Error::new(Code::Internal, "no answer"));
                    each.push(alone.and_then(|mut answers| answers.pop().unwrap_or_else(lost)));
                }
                each
            }
        };
        for (reply, answer) in replies.into_iter().zip(answers) {
            self.send(kind.rpc().token(), reply, answer).await;
        }
    }

    /// The answers, in the order of what is asked.
    async fn work_together(
        &self,
        kind: Common,
        asked: &[Incoming],
        received: Timestamp,
    ) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        match kind {
            Common::Hello => self.app.hellos(asked, received).await,
            Common::Manifest => {
                let keys: Vec<UserKey> = asked.iter().map(|one| one.user_key.clone()).collect();
                self.app.manifests_for(&keys).await
            }
        }
    }

    async fn answer(&self, kind: Single, message: Message) {
        let Some(reply) = message.reply.clone() else {
            return;
        };
        let outcome = match asker(&message) {
            Ok(key) => self.work(kind, &key, &message.payload).await,
            Err(error) => Err(error),
        };
        self.send(kind.token(), reply, outcome).await;
    }

    async fn send(&self, kind: &'static str, reply: Subject, outcome: Result<Vec<u8>, Error>) {
        let sent = match outcome {
            Ok(bytes) => {
                self.metrics.request(kind, Answer::Fine);
                self.client.publish(reply, Bytes::from(bytes)).await
            }
            Err(error) => {
                self.metrics.request(kind, fault_of(error.code()));
                tracing::debug!(request = kind, error = %writ_chassis::telemetry::ErrorChain(&error), "request refused");
                let (headers, body) = refusal(&error);
                self.client.publish_with_headers(reply, headers, body).await
            }
        };
        if let Err(error) = sent {
            tracing::debug!(error = %error, "answer not sent; the agent asks again");
        }
    }

    async fn work(&self, kind: Single, key: &UserKey, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        match kind {
            Single::Renew => json("renewal", &self.app.renew(key, bytes).await?),
            Single::Bundle => {
                let wanted: BundleRequest = codec::from_json("bundle request", bytes, RPC_BYTES_MAX)
                    .map_err(|error| Error::new(Code::Malformed, error.to_string()))?;
                self.app.bundle_chunk(&wanted.digest, wanted.index).await
            }
            Single::Enrol => json("enrolment", &self.app.enrol(key, bytes).await?),
        }
    }
}

/// Who asks, where it may be listened to.
fn asker(message: &Message) -> Result<UserKey, Error> {
    if message.payload.len() > RPC_BYTES_MAX {
        return Err(Error::new(Code::TooLarge, "the request is too large"));
    }
    subject::agent_of(&message.subject)
        .ok_or_else(|| Error::new(Code::Malformed, "the subject names no agent"))
}

fn json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, Error> {
    codec::to_json(what, value).map_err(|error| Error::new(Code::Internal, error.to_string()))
}

const fn fault_of(code: Code) -> Answer {
    match code {
        Code::Internal | Code::Unavailable | Code::SchemaVersion | Code::EpochNotRaised => Answer::Failed,
        _ => Answer::Refused,
    }
}

/// What is ours stays in our log; the agent learns the code.
fn refusal(error: &Error) -> (HeaderMap, Bytes) {
    let code = error.code();
    let detail = if code == Code::Internal {
        code.title().to_owned()
    } else {
        error.detail().to_owned()
    };
    let mut headers = HeaderMap::new();
    headers.insert(ERROR_HEADER, code.to_string());
    let body = codec::to_json("refusal", &RpcError { code, detail }).unwrap_or_default();
    (headers, Bytes::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_code_twice_and_keeps_our_troubles_to_itself() {
        let (headers, body) = refusal(&Error::new(Code::Internal, "password of the database"));
        assert_eq!(
            headers.get(ERROR_HEADER).map(ToString::to_string),
            Some("W0010".to_owned())
        );
        let said: RpcError = serde_json::from_slice(&body).expect("reads");
        assert_eq!(said.code, Code::Internal);
        assert!(!said.detail.contains("password"));
        assert_eq!(fault_of(Code::JoinTokenInvalid), Answer::Refused);
    }
}
