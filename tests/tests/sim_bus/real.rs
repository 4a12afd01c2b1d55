//! A real bus: one server, or three of a cluster.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{AckKind, Context, ContextBuilder};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt as _;
use writ_chassis::clock::{Clock as _, SystemClock};
use writ_chassis::nats::{connect, publish_acked, request_with_timeout};
use writ_controller::bus::streams::{StreamSizes, declared, ingest_consumer};
use writ_protocol::nats::{NkeyPair, UserKey};
use writ_protocol::subject::{self, Shard};
use writ_tests::nats::{Login, NatsCluster};

use super::act::{Act, Answer, append_id, put_id};

const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for one answer of the management: a cluster without a leader does not answer at all.
const QUESTION: Duration = Duration::from_secs(1);
/// Pause before something is asked again.
const AGAIN: Duration = Duration::from_millis(50);
/// Long enough for a server to give out what it should not.
const MOMENT: Duration = Duration::from_millis(150);

/// Which servers, and how long they remember ids.
pub(crate) struct Kind<'a> {
    pub(crate) program: &'a Path,
    pub(crate) nodes: usize,
    pub(crate) memory: Duration,
}

pub(crate) struct Real {
    cluster: NatsCluster,
    memory: Duration,
    replicas: usize,
    keys: Vec<UserKey>,
    /// A controller, then the agents, then a person who may empty streams.
    logins: Vec<Login>,
    clients: Vec<Client>,
    /// What was acknowledged: an acknowledgement that the server had not written when it was killed is forgotten, and its message comes again.
    done: BTreeSet<String>,
    /// What a slot has ever held: an old replica may still say so.
    held: BTreeSet<Option<String>>,
}

impl Real {
    pub(crate) async fn start(dir: &Path, kind: &Kind<'_>, pairs: Vec<NkeyPair>) -> anyhow::Result<Self> {
        let cluster = NatsCluster::start(dir, kind.program, kind.nodes)?;
        let one = cluster.first()?;
        let mut logins = vec![one.controller()?];
        let mut keys = Vec::new();
        for pair in pairs {
            keys.push(pair.user_key()?);
            logins.push(one.agent_with(pair, None)?);
        }
        logins.push(one.administrator()?);
        let mut real = Self {
            cluster,
            memory: kind.memory,
            replicas: kind.nodes,
            keys,
            logins,
            clients: Vec::new(),
            done: BTreeSet::new(),
            held: BTreeSet::from([None]),
        };
        real.connect().await?;
        Ok(real)
    }

    /// New connections, and the streams where they are missing.
    async fn connect(&mut self) -> anyhow::Result<()> {
        self.clients.clear();
        for login in &self.logins {
            self.clients
                .push(connect(self.cluster.options(login)?, 7).await?.0);
        }
        let started = SystemClock.boot();
        while let Err(error) = self.streams().await {
            ensure!(
                SystemClock.boot().since(started) < PATIENCE,
                "the streams do not come: {error:#}"
            );
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    fn management(&self) -> Context {
        ContextBuilder::new()
            .timeout(QUESTION)
            .build(self.clients[0].clone())
    }

    /// The streams and the consumers of the agents, as controllers declare them but for how long ids are remembered; all with their leaders.
    async fn streams(&self) -> anyhow::Result<()> {
        let bus = self.management();
        let sizes = StreamSizes {
            replicas: self.replicas,
            ..StreamSizes::default()
        };
        for (name, mut config) in declared(&sizes) {
            config.duplicate_window = self.memory;
            if name == subject::BUNDLES_STREAM {
                continue;
            }
            let mut stream = match bus.get_stream(name).await {
                Ok(stream) => stream,
                Err(_) => bus.create_stream(config).await?,
            };
            let led = stream.info().await?.cluster.clone();
            let is_led = self.replicas == 1 || led.is_some_and(|cluster| cluster.leader.is_some());
            ensure!(is_led, "{name} has no leader");
        }
        for key in &self.keys {
            let consumer = ingest_consumer(&bus, Shard::of(key)).await?;
            let led = consumer.cached_info().cluster.clone();
            let is_led = self.replicas == 1 || led.is_some_and(|cluster| cluster.leader.is_some());
            ensure!(is_led, "a consumer has no leader");
        }
        Ok(())
    }

    async fn publish(
        &self,
        client: usize,
        subject: String,
        id: Option<String>,
        body: String,
    ) -> anyhow::Result<Answer> {
        let mut headers = HeaderMap::new();
        if let Some(id) = id {
            headers.insert("Nats-Msg-Id", id.as_str());
        }
        let stored = publish_acked(&self.clients[client], subject, headers, body.into(), PATIENCE).await?;
        Ok(Answer::Duplicate(stored.duplicate))
    }

    async fn put(&mut self, who: usize, id: Option<String>, number: u64) -> anyhow::Result<Answer> {
        let body = format!("manifest {number}");
        self.held.insert(Some(body.clone()));
        let subject = subject::order(&self.keys[who]);
        self.publish(0, subject, id, body).await
    }

    /// Reads a slot. Any replica answers, so a cluster may tell what was there before, and is asked again until it says what it should.
    async fn get(&self, who: usize, said: &Answer) -> anyhow::Result<Answer> {
        let started = SystemClock.boot();
        loop {
            let get = subject::direct_get(subject::ORDERS_STREAM, &subject::order(&self.keys[who]));
            let reply = request_with_timeout(&self.clients[who + 1], get, None, "".into(), PATIENCE).await;
            let is_late = SystemClock.boot().since(started) > PATIENCE;
            let reply = match reply {
                // Nobody answers while the replicas take the stream up.
                Err(_) if self.cluster.is_cluster() && !is_late => continue,
                reply => reply?,
            };
            let is_there = reply.status.is_none_or(|status| status.as_u16() != 404);
            let body = String::from_utf8(reply.payload.to_vec())?;
            let held = is_there.then_some(body);
            ensure!(
                self.held.contains(&held),
                "it holds {held:?}, which nobody put there"
            );
            let answer = Answer::Holds(held);
            if answer == *said || is_late || !self.cluster.is_cluster() {
                return Ok(answer);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Takes until everything that should be there has come, and a moment longer.
    async fn take(
        &mut self,
        who: usize,
        acknowledges: bool,
        wanted: &BTreeSet<String>,
    ) -> anyhow::Result<BTreeSet<String>> {
        let pull = ingest_consumer(&self.management(), Shard::of(&self.keys[who])).await?;
        let mut taken = BTreeSet::new();
        let mut held = Vec::new();
        loop {
            let is_done = wanted.is_subset(&taken);
            let wait = if is_done { MOMENT } else { PATIENCE };
            let mut batch = pull.batch().max_messages(1).expires(wait).messages().await?;
            let Some(message) = batch.next().await else {
                ensure!(is_done, "{wanted:?} should have come, and {taken:?} did");
                break;
            };
            let message = message.map_err(anyhow::Error::from_boxed)?;
            let body = String::from_utf8(message.payload.to_vec())?;
            if acknowledges {
                message.double_ack().await.map_err(anyhow::Error::from_boxed)?;
            } else {
                held.push(message);
            }
            if wanted.contains(&body) || !self.done.contains(&body) {
                taken.insert(body);
            }
        }
        for message in held {
            let back = message.ack_with(AckKind::Nak(None)).await;
            back.map_err(anyhow::Error::from_boxed)?;
        }
        if acknowledges {
            self.done.extend(taken.iter().cloned());
        }
        Ok(taken)
    }

    async fn purge(&self, who: usize) -> anyhow::Result<Answer> {
        let person = self.clients.last().context("nobody is connected")?;
        let bus = ContextBuilder::new().timeout(PATIENCE).build(person.clone());
        let key = &self.keys[who];
        for (name, subject) in [
            (subject::ORDERS_STREAM, subject::order(key)),
            (subject::EVENTS_STREAM, subject::events(key)),
        ] {
            let stream = bus.get_stream_no_info(name).await?;
            stream.purge().filter(subject).await?;
        }
        Ok(Answer::Nothing)
    }

    async fn keep(&mut self, wanted: &BTreeSet<String>) -> anyhow::Result<Answer> {
        let mut all = BTreeSet::new();
        for who in 0..self.keys.len() {
            let of_it = format!("batch {who} ");
            let wanted = wanted
                .iter()
                .filter(|body| body.starts_with(&of_it))
                .cloned()
                .collect();
            all.extend(self.take(who, true, &wanted).await?);
        }
        self.befall(|cluster| cluster.snapshot("copy")).await?;
        Ok(Answer::Gives(all))
    }

    async fn befall(
        &mut self,
        what: impl FnOnce(&mut NatsCluster) -> anyhow::Result<()>,
    ) -> anyhow::Result<Answer> {
        what(&mut self.cluster)?;
        self.connect().await?;
        Ok(Answer::Nothing)
    }

    async fn leader(&self) -> anyhow::Result<String> {
        let mut stream = self.management().get_stream(subject::ORDERS_STREAM).await?;
        let cluster = stream.info().await?.cluster.clone();
        cluster
            .and_then(|cluster| cluster.leader)
            .context("the orders have no leader")
    }

    /// Carries an act out; `said` is what the model answered, so that it is known what to wait for.
    pub(crate) async fn act(&mut self, act: &Act, said: &Answer) -> anyhow::Result<Answer> {
        let none = BTreeSet::new();
        let wanted = if let Answer::Gives(wanted) = said {
            wanted
        } else {
            &none
        };
        match act {
            Act::Put(who, number) => {
                let id = put_id(&self.keys[*who], *number);
                self.put(*who, Some(id), *number).await
            }
            Act::PutPlain(who, number) => self.put(*who, None, *number).await,
            Act::Append(who, number) => {
                let key = &self.keys[*who];
                let body = format!("batch {who} {number}");
                self.publish(who + 1, subject::events(key), Some(append_id(key, *number)), body)
                    .await
            }
            Act::Get(who) => self.get(*who, said).await,
            Act::Count => {
                let mut stream = self.management().get_stream(subject::ORDERS_STREAM).await?;
                Ok(Answer::Counts(stream.info().await?.state.messages))
            }
            Act::Take(who, acknowledges) => Ok(Answer::Gives(self.take(*who, *acknowledges, wanted).await?)),
            Act::Keep => self.keep(wanted).await,
            Act::Restart => self.befall(NatsCluster::restart).await,
            Act::RollBack => self.befall(|cluster| cluster.rollback("copy")).await,
            Act::Wipe => self.befall(NatsCluster::wipe).await,
            Act::Purge(who) => self.purge(*who).await,
            Act::Wait(length) => {
                // Nothing tells the end of a memory: time itself is what is waited for.
                tokio::time::sleep(*length).await;
                Ok(Answer::Nothing)
            }
            Act::LoseLeader => {
                let leader = self.leader().await?;
                self.befall(|cluster| cluster.kill(&leader)).await
            }
            Act::Return => self.befall(NatsCluster::start_missing).await,
        }
    }
}
