//! The bus contract: one script of what controllers and agents do to the bus, and of what befalls it, is carried out on the simulated bus and on a
//! real nats-server, and both must answer alike. What reality does and the model cannot, fails here, and the simulator must learn it.

#![expect(
    clippy::indexing_slicing,
    reason = "two agents, three connections, four counters: the script knows them"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::AckKind;
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt as _;
use writ_chassis::nats::{publish_acked, request_with_timeout};
use writ_controller::bus::streams::{StreamSizes, ensure as ensure_streams, ingest_consumer, management};
use writ_protocol::nats::{NkeyKind, NkeyPair, UserKey};
use writ_protocol::subject::{self, Shard};
use writ_tests::nats::{Login, NatsServer};
use writ_tests::sim::bus::Bus;
use writ_tests::sim::chance::Chance;

const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for a server to give out what it should not.
const MOMENT: Duration = Duration::from_millis(200);
/// Acts of a script.
const ACTS: usize = 70;
/// Scripts.
const SEEDS: [u64; 3] = [1, 2, 3];

/// Something that is done to the bus, or befalls it.
#[derive(Clone, Debug)]
enum Act {
    /// A controller publishes the manifest of an agent under an id; an old id may come again.
    Put(usize, u64),
    /// An agent reads its manifest.
    Get(usize),
    /// An agent hands a batch over; an old id may come again.
    Append(usize, u64),
    /// A controller takes what there is of an agent's shard, and acknowledges it or gives it back.
    Take(usize, bool),
    /// Everything is taken, then the stores are copied.
    Keep,
    /// The server is killed and starts again.
    Restart,
    /// The stores go back to the copy.
    RollBack,
    /// The stores are empty.
    Wipe,
}

fn script(seed: u64) -> Vec<Act> {
    let mut chance = Chance::new(seed, "bus contract");
    let mut acts = vec![Act::Put(0, 0), Act::Append(0, 0), Act::Keep];
    let mut newest = [0; 4];
    for _ in 0..ACTS {
        let who = chance.index(2);
        let kind = chance.below(100);
        let slot = who + if kind < 35 { 0 } else { 2 };
        // Mostly something new, now and then what was there before.
        let number = if chance.hit(650) {
            newest[slot] += 1;
            newest[slot]
        } else {
            newest[slot] - chance.below(newest[slot] + 1)
        };
        acts.push(match kind {
            0..=34 => Act::Put(who, number),
            35..=54 => Act::Append(who, number),
            55..=74 => Act::Get(who),
            75..=91 => Act::Take(who, chance.hit(700)),
            92 | 93 => Act::Keep,
            94..=96 => Act::Restart,
            97 | 98 => Act::RollBack,
            _ => Act::Wipe,
        });
    }
    // Whatever chance left out.
    acts.extend([
        Act::Put(1, 500),
        Act::Put(1, 501),
        Act::Put(1, 500),
        Act::Restart,
        Act::Put(1, 500),
        Act::Get(1),
        Act::Wipe,
        Act::Put(1, 500),
        Act::RollBack,
        Act::Get(1),
        Act::Take(0, true),
    ]);
    acts
}

fn put_id(key: &UserKey, number: u64) -> String {
    format!("m:{key}:1:{number}")
}

fn append_id(key: &UserKey, number: u64) -> String {
    format!("e:{key}:{number}")
}

/// The simulated bus in fair weather.
struct Model {
    bus: Bus,
    keys: Vec<UserKey>,
    now: Duration,
}

impl Model {
    fn take(&mut self, who: usize, acknowledges: bool) -> BTreeSet<String> {
        let shard = Shard::of(&self.keys[who]);
        let messages = self.bus.pull(|key| Shard::of(key) == shard, self.now);
        let numbers: Vec<u64> = messages.iter().map(|m| m.seq).collect();
        if acknowledges {
            self.bus.acknowledge(&numbers);
        } else {
            self.bus.give_back(&numbers, self.now);
        }
        messages
            .into_iter()
            .map(|m| String::from_utf8_lossy(&m.bytes).into_owned())
            .collect()
    }

    fn act(&mut self, act: &Act) -> Answer {
        self.now += Duration::from_secs(2);
        let now = self.now;
        match act {
            Act::Put(who, number) => {
                let key = &self.keys[*who];
                let body = format!("manifest {number}");
                Answer::Duplicate(
                    self.bus
                        .put(key, &put_id(key, *number), body.as_bytes(), now)
                        .duplicate,
                )
            }
            Act::Append(who, number) => {
                let key = &self.keys[*who];
                let body = format!("batch {who} {number}");
                Answer::Duplicate(
                    self.bus
                        .append(key, &append_id(key, *number), body.as_bytes(), now)
                        .duplicate,
                )
            }
            Act::Get(who) => {
                let found = self.bus.get(&self.keys[*who]);
                Answer::Holds(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
            }
            Act::Take(who, acknowledges) => Answer::Gives(self.take(*who, *acknowledges)),
            Act::Keep => {
                let all = (0..self.keys.len())
                    .flat_map(|who| self.take(who, true))
                    .collect();
                self.bus.keep(1);
                // A copy is taken while the server is down.
                self.bus.restart(now);
                Answer::Gives(all)
            }
            Act::Restart => {
                self.bus.restart(now);
                Answer::Nothing
            }
            Act::RollBack => {
                self.bus.roll_back(1, now);
                // It can be gone back to again.
                self.bus.keep(1);
                Answer::Nothing
            }
            Act::Wipe => {
                self.bus.wipe();
                Answer::Nothing
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Nothing,
    Duplicate(bool),
    Holds(Option<String>),
    Gives(BTreeSet<String>),
}

/// A real server.
struct Real {
    server: NatsServer,
    controller: Login,
    agents: Vec<Login>,
    clients: Vec<Client>,
    /// What was acknowledged: an acknowledgement that the server had not written when it was killed is forgotten, and its message comes again.
    done: BTreeSet<String>,
}

impl Real {
    async fn start(dir: &std::path::Path, pairs: Vec<NkeyPair>) -> anyhow::Result<Self> {
        let server = NatsServer::start(dir)?;
        let controller = server.controller()?;
        let agents = pairs
            .into_iter()
            .map(|pair| server.agent_with(pair, None))
            .collect::<anyhow::Result<_>>()?;
        let mut real = Self {
            server,
            controller,
            agents,
            clients: Vec::new(),
            done: BTreeSet::new(),
        };
        real.connect().await?;
        Ok(real)
    }

    /// New connections, and the streams where they are missing.
    async fn connect(&mut self) -> anyhow::Result<()> {
        self.clients.clear();
        for login in std::iter::once(&self.controller).chain(&self.agents) {
            self.clients.push(self.server.connect(login).await?.0);
        }
        ensure_streams(&management(&self.clients[0]), &StreamSizes::default()).await?;
        Ok(())
    }

    async fn publish(
        &self,
        client: usize,
        subject: String,
        id: &str,
        body: String,
    ) -> anyhow::Result<Answer> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let stored = publish_acked(&self.clients[client], subject, headers, body.into(), PATIENCE).await?;
        Ok(Answer::Duplicate(stored.duplicate))
    }

    /// Takes until everything that should be there has come, and a moment longer.
    async fn take(
        &mut self,
        key: &UserKey,
        acknowledges: bool,
        wanted: &BTreeSet<String>,
    ) -> anyhow::Result<BTreeSet<String>> {
        let pull = ingest_consumer(&management(&self.clients[0]), Shard::of(key)).await?;
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

    /// Carries an act out; `said` is what the model answered, so that it is known what to wait for.
    async fn act(&mut self, act: &Act, said: &Answer, keys: &[UserKey]) -> anyhow::Result<Answer> {
        let wanted = match said {
            Answer::Gives(wanted) => wanted.clone(),
            Answer::Nothing | Answer::Duplicate(_) | Answer::Holds(_) => BTreeSet::new(),
        };
        match act {
            Act::Put(who, number) => {
                let key = &keys[*who];
                let body = format!("manifest {number}");
                self.publish(0, subject::order(key), &put_id(key, *number), body)
                    .await
            }
            Act::Append(who, number) => {
                let key = &keys[*who];
                let body = format!("batch {who} {number}");
                self.publish(who + 1, subject::events(key), &append_id(key, *number), body)
                    .await
            }
            Act::Get(who) => {
                let get = subject::direct_get(subject::ORDERS_STREAM, &subject::order(&keys[*who]));
                let reply =
                    request_with_timeout(&self.clients[who + 1], get, None, "".into(), PATIENCE).await?;
                let is_there = reply.status.is_none_or(|status| status.as_u16() != 404);
                let body = String::from_utf8(reply.payload.to_vec())?;
                Ok(Answer::Holds(is_there.then_some(body)))
            }
            Act::Take(who, acknowledges) => Ok(Answer::Gives(
                self.take(&keys[*who], *acknowledges, &wanted).await?,
            )),
            Act::Keep => {
                let mut all = BTreeSet::new();
                for (who, key) in keys.iter().enumerate() {
                    let of_it = format!("batch {who} ");
                    let wanted = wanted
                        .iter()
                        .filter(|body| body.starts_with(&of_it))
                        .cloned()
                        .collect();
                    all.extend(self.take(key, true, &wanted).await?);
                }
                self.server.snapshot("copy")?;
                self.connect().await?;
                Ok(Answer::Gives(all))
            }
            Act::Restart => self.befall(NatsServer::restart).await,
            Act::RollBack => self.befall(|server| server.rollback("copy")).await,
            Act::Wipe => self.befall(NatsServer::wipe).await,
        }
    }

    async fn befall(
        &mut self,
        what: impl FnOnce(&mut NatsServer) -> anyhow::Result<()>,
    ) -> anyhow::Result<Answer> {
        what(&mut self.server)?;
        self.connect().await?;
        Ok(Answer::Nothing)
    }
}

/// Two agents of different shards.
fn pairs() -> anyhow::Result<Vec<NkeyPair>> {
    let pair = |n: u8| NkeyPair::from_seed_bytes(NkeyKind::User, &[n; 32]);
    let first = pair(1);
    let shard = Shard::of(&first.user_key()?);
    for n in 2..200 {
        if Shard::of(&pair(n).user_key()?) != shard {
            return Ok(vec![first, pair(n)]);
        }
    }
    anyhow::bail!("every key is of one shard")
}

#[tokio::test]
async fn the_simulated_bus_answers_as_a_real_one_does() -> anyhow::Result<()> {
    let keys: Vec<UserKey> = pairs()?
        .iter()
        .map(NkeyPair::user_key)
        .collect::<Result<_, _>>()?;
    let mut duplicates = 0;
    for seed in SEEDS {
        let dir = tempfile::tempdir()?;
        let mut real = Real::start(dir.path(), pairs()?).await?;
        let mut model = Model {
            bus: Bus::new(seed),
            keys: keys.clone(),
            now: Duration::ZERO,
        };
        for (place, act) in script(seed).iter().enumerate() {
            let said = model.act(act);
            let is = real.act(act, &said, &keys).await;
            let is =
                is.with_context(|| format!("script {seed}, act {place}: {act:?}; the model says {said:?}"))?;
            ensure!(
                is == said,
                "script {seed}, act {place}: {act:?}: the server says {is:?}, the model {said:?}"
            );
            duplicates += usize::from(is == Answer::Duplicate(true));
        }
    }
    ensure!(duplicates > 5, "ids came again: {duplicates}");
    Ok(())
}
