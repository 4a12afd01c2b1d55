//! A connection to the bus that may do anything there: read what it holds, lose it, and put other things in its place.

use anyhow::Context as _;
use async_nats::{Client, HeaderMap, jetstream};
use tokio::runtime::Runtime;
use writ_chassis::config::Secret;
use writ_chassis::nats::{Credentials, NatsEvents, NatsOptions, connect, publish_acked};
use writ_cli::clock;
use writ_cli::dev::bus_keys::BusKeys;
use writ_controller::bus::deliver;
use writ_protocol::manifest::Generation;
use writ_protocol::nats::claims::{self, Allow, UserGrant, UserLimits};
use writ_protocol::nats::{NkeyKind, NkeyPair, UserKey};
use writ_protocol::subject;

use super::{SHORT, World};

/// A login in the account of the streams, with every right.
#[derive(Debug)]
pub struct Wire {
    runtime: Runtime,
    client: Client,
    _events: NatsEvents,
}

impl World {
    /// Connects to the bus as somebody who stole its keys.
    ///
    /// # Errors
    /// When the bus does not let us in.
    pub fn wire(&self) -> anyhow::Result<Wire> {
        let keys = BusKeys::load_or_make(&self.stack.layout().keys().join("nats"))?;
        let user = NkeyPair::generate(NkeyKind::User)?;
        let everything = Allow {
            publish: vec![">".to_owned()],
            subscribe: vec![">".to_owned()],
            responses: None,
        };
        let grant = UserGrant {
            name: "intruder",
            user: &user.public(),
            account: &keys.core.public(),
            expires_at: None,
            allow: Some((everything, UserLimits::NONE)),
        };
        let options = NatsOptions {
            servers: self.stack.bus_urls(),
            inbox_prefix: subject::inbox(&user.user_key()?),
            credentials: Credentials::Jwt {
                jwt: claims::user(&grant, &keys.core_signer, clock::now())?,
                seed: Secret::new(user.seed().to_string()),
            },
            ca_file: Some(self.stack.ca()),
            ..NatsOptions::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (client, events) = runtime.block_on(connect(options, 7))?;
        Ok(Wire {
            runtime,
            client,
            _events: events,
        })
    }
}

impl Wire {
    /// Puts a message on a stream, and waits until it is stored.
    ///
    /// # Errors
    /// When the bus does not take it.
    pub fn publish(&self, subject: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (subject, body) = (subject.to_owned(), bytes.to_vec().into());
        let sent = publish_acked(&self.client, subject, HeaderMap::new(), body, SHORT);
        self.runtime.block_on(sent)?;
        Ok(())
    }

    /// Every message of a stream, oldest first: subject and bytes.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub fn stored(&self, stream: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        self.runtime.block_on(async {
            let stream = jetstream::new(self.client.clone()).get_stream(stream).await?;
            let state = &stream.cached_info().state;
            let mut found = Vec::new();
            for sequence in state.first_sequence..=state.last_sequence {
                let message = stream.get_raw_message(sequence).await;
                let message = message.with_context(|| format!("message {sequence}"))?;
                found.push((message.subject.to_string(), message.payload.to_vec()));
            }
            Ok(found)
        })
    }

    /// Loses every message of a stream.
    ///
    /// # Errors
    /// When the bus does not do it.
    pub fn purge(&self, stream: &str) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let stream = jetstream::new(self.client.clone()).get_stream(stream).await?;
            stream.purge().await?;
            Ok(())
        })
    }

    /// Where the manifest stands that the bus holds for an agent.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub fn held(&self, key: &UserKey) -> anyhow::Result<Option<Generation>> {
        Ok(self.runtime.block_on(deliver::held(&self.client, key))?)
    }
}
