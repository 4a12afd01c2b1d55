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
/// What a whole fleet asks for at once, after a restart of the bus or when all of it is ordered.
const GATHERED: [Rpc; 2] = [Rpc::Hello, Rpc::Manifest];

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Request {
    Rpc(Rpc),
    Enrol,
}

impl Request {
    const fn token(self) -> &'static str {
        match self {
            Self::Rpc(rpc) => rpc.token(),
            Self::Enrol => "enrol",
        }
    }

    fn filter(self) -> String {
        match self {
            Self::Rpc(rpc) => rpc.filter(),
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
            if GATHERED.contains(&rpc) {
                self.life.spawn("bus.rpc.gather", self.clone().run_gathered(rpc));
            } else {
                self.life.spawn("bus.rpc", self.clone().run(Request::Rpc(rpc)));
            }
        }
        self.life.spawn("bus.rpc.enrol", self.clone().run(Request::Enrol));
    }

    async fn run(self, kind: Request) -> Result<(), async_nats::SubscribeError> {
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

    async fn run_gathered(self, rpc: Rpc) -> Result<(), async_nats::SubscribeError> {
        let mut messages = self
            .client
            .queue_subscribe(rpc.filter(), subject::QUEUE.to_owned())
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
                this.answer_together(rpc, together, received).await;
                drop(permit);
            });
        }
    }

    async fn answer_together(&self, rpc: Rpc, messages: Vec<Message>, received: Timestamp) {
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
                Err(error) => self.send(Request::Rpc(rpc), reply, Err(error)).await,
            }
        }
        let answers = match self.work_together(rpc, &asked, received).await {
            Ok(answers) => answers,
            // The ledger is away for all of them; what one of them alone spoils, spoils nothing for the others.
            Err(error) if asked.len() < 2 || error.is_retryable() => asked
                .iter()
                .map(|_| Err(Error::new(error.code(), error.detail())))
                .collect(),
            Err(_) => {
                let mut each = Vec::with_capacity(asked.len());
                for one in &asked {
                    let alone = self.work_together(rpc, std::slice::from_ref(one), received).await;
                    let lost = || Err(Error::new(Code::Internal, "no answer"));
                    each.push(alone.and_then(|mut answers| answers.pop().unwrap_or_else(lost)));
                }
                each
            }
        };
        for (reply, answer) in replies.into_iter().zip(answers) {
            self.send(Request::Rpc(rpc), reply, answer).await;
        }
    }

    /// The answers, in the order of what is asked.
    async fn work_together(
        &self,
        rpc: Rpc,
        asked: &[Incoming],
        received: Timestamp,
    ) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        if rpc == Rpc::Manifest {
            let keys: Vec<UserKey> = asked.iter().map(|one| one.user_key.clone()).collect();
            return self.app.manifests_for(&keys).await;
        }
        self.app.hellos(asked, received).await
    }

    async fn answer(&self, kind: Request, message: Message) {
        let Some(reply) = message.reply.clone() else {
            return;
        };
        let outcome = match asker(&message) {
            Ok(key) => self.work(kind, &key, &message.payload).await,
            Err(error) => Err(error),
        };
        self.send(kind, reply, outcome).await;
    }

    async fn send(&self, kind: Request, reply: Subject, outcome: Result<Vec<u8>, Error>) {
        let sent = match outcome {
            Ok(bytes) => {
                self.metrics.request(kind.token(), Answer::Fine);
                self.client.publish(reply, Bytes::from(bytes)).await
            }
            Err(error) => {
                self.metrics.request(kind.token(), fault_of(error.code()));
                tracing::debug!(request = kind.token(), error = %writ_chassis::telemetry::ErrorChain(&error), "request refused");
                let (headers, body) = refusal(&error);
                self.client.publish_with_headers(reply, headers, body).await
            }
        };
        if let Err(error) = sent {
            tracing::debug!(error = %error, "answer not sent; the agent asks again");
        }
    }

    async fn work(&self, kind: Request, key: &UserKey, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        match kind {
            Request::Rpc(Rpc::Hello) => self.app.hello(key, bytes).await,
            Request::Rpc(Rpc::Manifest) => self.app.manifest_for(key).await,
            Request::Rpc(Rpc::Renew) => json("renewal", &self.app.renew(key, bytes).await?),
            Request::Rpc(Rpc::Bundle) => {
                let wanted: BundleRequest = codec::from_json("bundle request", bytes, RPC_BYTES_MAX)
                    .map_err(|error| Error::new(Code::Malformed, error.to_string()))?;
                self.app.bundle_chunk(&wanted.digest, wanted.index).await
            }
            Request::Enrol => json("enrolment", &self.app.enrol(key, bytes).await?),
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
