//! A bus with a controller, an attacker and a victim.

use std::time::Duration;

use anyhow::ensure;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, HeaderMap};
use writ_chassis::nats::{NatsEvent, NatsEvents, RequestError, publish_acked, request_with_timeout};
use writ_protocol::nats::UserKey;
use writ_protocol::subject;
use writ_tests::nats::NatsServer;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer is waited for that must not come: the server's refusal is awaited by its event, not by this.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

pub(crate) struct World {
    pub(crate) server: NatsServer,
    _dir: tempfile::TempDir,
    pub(crate) controller: Client,
    pub(crate) attacker: Client,
    pub(crate) events: NatsEvents,
    pub(crate) a: UserKey,
    pub(crate) b: UserKey,
    pub(crate) victim: Client,
    _kept: Vec<NatsEvents>,
}

impl World {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let server = NatsServer::start(dir.path())?;
        let (controller, first) = server.connect(&server.controller()?).await?;
        let js = jetstream::new(controller.clone());
        for (name, filter) in [
            (subject::ORDERS_STREAM, subject::ORDERS_FILTER),
            (subject::EVENTS_STREAM, subject::EVENTS_FILTER),
            (subject::BUNDLES_STREAM, subject::BUNDLES_FILTER),
        ] {
            js.create_stream(stream::Config {
                name: name.to_owned(),
                subjects: vec![filter.to_owned()],
                max_bytes: 8 << 20,
                allow_direct: true,
                ..stream::Config::default()
            })
            .await?;
        }
        let (one, other) = (server.agent(None)?, server.agent(None)?);
        let (attacker, events) = server.connect(&one).await?;
        let (victim, second) = server.connect(&other).await?;
        Ok(Self {
            server,
            _dir: dir,
            controller,
            attacker,
            events,
            a: one.key(),
            b: other.key(),
            victim,
            _kept: vec![first, second],
        })
    }

    /// Messages of a stream.
    pub(crate) async fn stored(&self, stream: &str) -> anyhow::Result<u64> {
        let js = jetstream::new(self.controller.clone());
        Ok(js.get_stream(stream).await?.cached_info().state.messages)
    }

    pub(crate) async fn put(&self, subject: &str, body: &'static str) -> anyhow::Result<()> {
        publish_acked(
            &self.controller,
            subject.to_owned(),
            HeaderMap::new(),
            body.into(),
            PATIENCE,
        )
        .await?;
        Ok(())
    }

    /// Waits until the server has refused the attacker something.
    pub(crate) async fn refused(&mut self, what: &str) -> anyhow::Result<()> {
        let wait = async {
            while let Some(event) = self.events.next().await {
                if let NatsEvent::Refused(text) = event {
                    return text.to_ascii_lowercase().contains("permissions violation");
                }
            }
            false
        };
        let said = tokio::time::timeout(PATIENCE, wait).await;
        ensure!(said == Ok(true), "{what}: the server did not refuse it");
        Ok(())
    }

    pub(crate) async fn asks(
        &self,
        subject: &str,
        body: &'static str,
    ) -> Result<async_nats::Message, RequestError> {
        request_with_timeout(&self.attacker, subject.to_owned(), None, body.into(), SILENCE).await
    }

    /// Everything that the attacker sent before has been handled when its own, permitted question is answered.
    pub(crate) async fn settled(&self) -> anyhow::Result<()> {
        let own = subject::direct_get(subject::ORDERS_STREAM, &subject::order(&self.a));
        request_with_timeout(&self.attacker, own, None, "".into(), PATIENCE).await?;
        Ok(())
    }
}
