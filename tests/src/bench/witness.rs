//! What each agent of a fleet has asked of the bus and been answered, so that one that is never heard can be named with what became of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;
use writ_agent::link::{Answer, LinkError, Reply, Transport};
use writ_chassis::telemetry::ErrorChain;

/// Requests of one agent.
#[derive(Clone, Debug, Default)]
struct Requests {
    asked: u64,
    answered: u64,
    /// The last that was not answered.
    failure: Option<String>,
}

/// One agent as it looks from outside.
#[derive(Debug)]
pub struct Witness {
    name: String,
    agent_id: Uuid,
    requests: Mutex<Requests>,
}

impl Witness {
    /// Of an agent that has not asked anything.
    pub fn new(name: String, agent_id: Uuid) -> Self {
        Self {
            name,
            agent_id,
            requests: Mutex::default(),
        }
    }

    /// The agent's id.
    pub const fn agent_id(&self) -> Uuid {
        self.agent_id
    }

    /// What became of it, in a line.
    pub fn tell(&self) -> String {
        let requests = self.lock(|requests| requests.clone());
        let name = &self.name;
        let Requests { asked, answered, .. } = requests;
        match requests.failure {
            None if asked == 0 => format!("{name} never asked anything: it has had no connection"),
            None => format!("{name} asked {asked} times, answered {answered} times"),
            Some(why) => {
                format!("{name} asked {asked} times, answered {answered} times; the last failure: {why}")
            }
        }
    }

    fn note(&self, failure: Option<&LinkError>) {
        self.lock(|requests| match failure {
            None => requests.answered += 1,
            Some(error) => requests.failure = Some(ErrorChain(error).to_string()),
        });
    }

    fn lock<T>(&self, work: impl FnOnce(&mut Requests) -> T) -> T {
        work(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A transport whose requests are witnessed.
#[derive(Debug)]
pub struct Witnessed {
    /// What carries them.
    pub transport: Arc<dyn Transport>,
    /// Who sees them.
    pub witness: Arc<Witness>,
}

impl Transport for Witnessed {
    fn request(
        &self,
        subject: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<Reply, LinkError>> {
        self.witness.lock(|requests| requests.asked += 1);
        Box::pin(async move {
            let reply = self.transport.request(subject, payload, wait).await;
            self.witness.note(reply.as_ref().err());
            reply
        })
    }

    fn publish_acked(
        &self,
        subject: String,
        id: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<(), LinkError>> {
        self.transport.publish_acked(subject, id, payload, wait)
    }

    fn publish_lossy(&self, subject: String, payload: Bytes) -> Answer<'_, ()> {
        self.transport.publish_lossy(subject, payload)
    }

    fn set_reconnect_window(&self, window: Duration) {
        self.transport.set_reconnect_window(window);
    }

    fn reconnect(&self) -> Answer<'_, ()> {
        self.transport.reconnect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as it is told to.
    #[derive(Debug)]
    struct Fixed(bool);

    impl Transport for Fixed {
        fn request(&self, _: String, _: Bytes, _: Duration) -> Answer<'_, Result<Reply, LinkError>> {
            let answer = if self.0 {
                Ok(Reply::default())
            } else {
                Err(LinkError::Unavailable("no route".into()))
            };
            Box::pin(std::future::ready(answer))
        }

        fn publish_acked(
            &self,
            _: String,
            _: String,
            _: Bytes,
            _: Duration,
        ) -> Answer<'_, Result<(), LinkError>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn publish_lossy(&self, _: String, _: Bytes) -> Answer<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test]
    async fn an_agent_is_named_with_what_became_of_its_requests() {
        let witness = Arc::new(Witness::new("bench-00007".to_owned(), Uuid::nil()));
        assert_eq!(
            witness.tell(),
            "bench-00007 never asked anything: it has had no connection"
        );
        for (answers, tell) in [
            (true, "bench-00007 asked 1 times, answered 1 times"),
            (
                false,
                "bench-00007 asked 2 times, answered 1 times; the last failure: the bus gave no answer: no route",
            ),
        ] {
            let transport = Witnessed {
                transport: Arc::new(Fixed(answers)),
                witness: Arc::clone(&witness),
            };
            let asked = transport.request("writ.rpc".to_owned(), Bytes::new(), Duration::ZERO);
            assert_eq!(asked.await.is_ok(), answers);
            assert_eq!(witness.tell(), tell);
        }
    }
}
