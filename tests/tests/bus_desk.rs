//! Relay and ingest over the real bus, with a desk in memory that can be away, slow to agree, or spoiled by one batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt as _;
use writ_chassis::nats::{NatsEvents, publish_acked};
use writ_controller::bus::deliver::{Parcel, held};
use writ_controller::bus::ingest::{FlowError, Intake, Round};
use writ_controller::bus::port::{Arrival, DeskError, Inbox, Ingested, Mark, Outbox, Place, Walk};
use writ_controller::bus::streams::{
    StreamSizes, ensure as ensure_streams, ingest_consumer, management, waiting,
};
use writ_controller::bus::{reconcile, relay};
use writ_protocol::id::AgentId;
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::{self, Generation, Manifest};
use writ_protocol::nats::{NkeyKind, NkeyPair, UserKey};
use writ_protocol::subject::{self, Shard};
use writ_protocol::time::Timestamp;
use writ_tests::nats::{Login, NatsServer};

const PATIENCE: Duration = Duration::from_secs(10);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Desk {
    dirty: Mutex<BTreeMap<String, Parcel>>,
    taken: Mutex<BTreeSet<Bytes>>,
    aside: Mutex<Vec<Bytes>>,
    calls: Mutex<Vec<usize>>,
    away: AtomicBool,
    unheld: Mutex<BTreeSet<Shard>>,
}

impl Desk {
    fn check(&self, arrivals: &[Arrival]) -> Result<(), DeskError> {
        let error = |retryable| DeskError {
            detail: "as told".to_owned(),
            retryable,
        };
        if self.away.load(Ordering::SeqCst) {
            return Err(error(true));
        }
        if arrivals.iter().any(|arrival| &arrival.message[..] == b"poison") {
            return Err(error(false));
        }
        Ok(())
    }
}

impl Inbox for Desk {
    async fn ingest(&self, arrivals: &[Arrival]) -> Result<Ingested, DeskError> {
        lock(&self.calls).push(arrivals.len());
        self.check(arrivals)?;
        let is_unheld = |(_, a): &(usize, &Arrival)| lock(&self.unheld).contains(&Shard::of(&a.key));
        let (unheld, held): (Vec<_>, Vec<_>) = arrivals.iter().enumerate().partition(is_unheld);
        let (refused, taken): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|(_, a)| &a.message[..] == b"forged");
        lock(&self.taken).extend(taken.iter().map(|(_, a)| a.message.clone()));
        let mark = |a: &Arrival| Mark {
            key: a.key.clone(),
            envelope: a.message.clone(),
        };
        Ok(Ingested {
            marks: taken.into_iter().map(|(_, a)| mark(a)).collect(),
            refused: refused.into_iter().map(|(place, _)| place).collect(),
            unheld: unheld.into_iter().map(|(place, _)| place).collect(),
        })
    }

    async fn set_aside(&self, arrival: &Arrival, _why: &DeskError) -> Result<(), DeskError> {
        lock(&self.aside).push(arrival.message.clone());
        Ok(())
    }
}

impl Outbox for Desk {
    async fn dirty(&self, shards: &[Shard], limit: usize) -> Result<Vec<Parcel>, DeskError> {
        let dirty = lock(&self.dirty);
        Ok(dirty
            .values()
            .filter(|p| shards.contains(&Shard::of(&p.key)))
            .take(limit)
            .cloned()
            .collect())
    }

    async fn published(&self, parcels: &[Parcel]) -> Result<(), DeskError> {
        let mut dirty = lock(&self.dirty);
        for parcel in parcels {
            dirty.remove(parcel.key.as_str());
        }
        Ok(())
    }
}

fn user(number: u32) -> NkeyPair {
    let mut seed = [1; 32];
    for (place, byte) in seed.iter_mut().zip(number.to_be_bytes()) {
        *place = byte;
    }
    NkeyPair::from_seed_bytes(NkeyKind::User, &seed)
}

/// The keys of `count` agents of one shard.
fn neighbours(shard: Shard, count: usize) -> Vec<NkeyPair> {
    let here = |pair: &NkeyPair| pair.user_key().is_ok_and(|key| Shard::of(&key) == shard);
    (0..u32::MAX).map(user).filter(here).take(count).collect()
}

fn parcel(key: &UserKey, generation: u64) -> anyhow::Result<Parcel> {
    let at = Generation { epoch: 1, generation };
    let manifest = Manifest {
        tenant: "acme".to_owned(),
        agent_id: AgentId::from_uuid(uuid::Uuid::nil()),
        user_key: key.clone(),
        at,
        issued_at: Timestamp::from_millis(1_000),
        expires_at: Timestamp::from_millis(2_000),
        control_epoch: 0,
        quarantined: false,
        orders: vec![],
        cancelled: vec![],
        halts: vec![],
        lifts: vec![],
    };
    let envelope = manifest::sign(manifest, &SigningKey::from_seed(&[9; 32]))?;
    Ok(Parcel {
        key: key.clone(),
        at,
        envelope: envelope.to_json()?.into(),
        trace: None,
    })
}

async fn send(server: &NatsServer, login: &Login, bodies: &[&'static str]) -> anyhow::Result<()> {
    let (client, _events) = server.connect(login).await?;
    for body in bodies {
        let subject = subject::events(&login.key());
        publish_acked(&client, subject, HeaderMap::new(), (*body).into(), PATIENCE).await?;
    }
    Ok(())
}

/// An intake of these shards.
async fn open(client: &Client, shards: &[Shard]) -> anyhow::Result<Intake> {
    let mut intake = Intake::new(client.clone());
    for shard in shards {
        let consumer = ingest_consumer(&management(client), *shard).await?;
        intake.open(&consumer, *shard).await?;
    }
    Ok(intake)
}

/// A bus with its streams, and the controller's connection.
struct Bus {
    server: NatsServer,
    client: Client,
    _events: NatsEvents,
    _dir: tempfile::TempDir,
}

impl Bus {
    async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let server = NatsServer::start(dir.path())?;
        let (client, events) = server.connect(&server.controller()?).await?;
        ensure_streams(&management(&client), &StreamSizes::default()).await?;
        Ok(Self {
            server,
            client,
            _events: events,
            _dir: dir,
        })
    }

    /// A bus on which an agent has sent these.
    async fn with(bodies: &[&'static str]) -> anyhow::Result<(Self, Shard)> {
        let bus = Self::start().await?;
        let login = bus.server.agent(None)?;
        send(&bus.server, &login, bodies).await?;
        Ok((bus, Shard::of(&login.key())))
    }
}

/// Rounds until so many batches were taken; far less than the server waits for an acknowledgement.
async fn until_taken(intake: &mut Intake, desk: &Desk, count: usize) -> anyhow::Result<()> {
    let all = async {
        while lock(&desk.taken).len() < count {
            intake.round(desk).await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, all).await?
}

#[tokio::test]
async fn what_is_dirty_is_published_and_then_clean_and_a_wiped_bus_leaves_it_dirty() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = NatsServer::start(dir.path())?;
    let login = server.controller()?;
    let (client, _events) = server.connect(&login).await?;
    ensure_streams(&management(&client), &StreamSizes::default()).await?;
    let shard = Shard::new(3).context("a shard")?;
    let desk = Desk::default();
    let keys: Vec<UserKey> = neighbours(shard, 40)
        .iter()
        .map(NkeyPair::user_key)
        .collect::<Result<_, _>>()?;
    let fill = |generation| -> anyhow::Result<()> {
        for key in &keys {
            lock(&desk.dirty).insert(key.to_string(), parcel(key, generation)?);
        }
        Ok(())
    };
    fill(1)?;
    let other = Shard::new(4).context("a shard")?;
    ensure!(
        relay::pass(&client, &desk, &[other]).await?.published == 0,
        "another shard's"
    );
    let pass = relay::pass(&client, &desk, &[other, shard]).await?;
    ensure!(
        pass.published == 40 && pass.failed == 0 && !pass.is_full(),
        "{pass:?}"
    );
    ensure!(lock(&desk.dirty).is_empty());
    ensure!(
        held(&client, &keys[7])
            .await?
            .is_some_and(|at| at.generation == 1)
    );

    server.wipe()?;
    let (client, _events) = server.connect(&login).await?;
    fill(2)?;
    let pass = relay::pass(&client, &desk, &[other, shard]).await?;
    ensure!(
        pass.bus_is_empty && pass.failed == 40 && pass.published == 0,
        "{pass:?}"
    );
    ensure!(lock(&desk.dirty).len() == 40, "nothing counts as published");
    ensure_streams(&management(&client), &StreamSizes::default()).await?;
    ensure!(relay::pass(&client, &desk, &[other, shard]).await?.published == 40);
    Ok(())
}

#[tokio::test]
async fn batches_of_many_agents_and_shards_go_in_one_transaction_and_marks_come_back() -> anyhow::Result<()> {
    let bus = Bus::start().await?;
    let shards = [
        Shard::new(5).context("a shard")?,
        Shard::new(6).context("a shard")?,
    ];
    let login = |shard| {
        bus.server
            .agent_with(neighbours(shard, 1).pop().context("a key")?, None)
    };
    let (one, two) = (login(shards[0])?, login(shards[1])?);
    let (agent, _agent_events) = bus.server.connect(&one).await?;
    let mut marks = agent.subscribe(subject::mark(&one.key())).await?;
    agent.flush().await?;
    let desk = Desk::default();
    // What waits comes with the first pull of each shard: gathered before anything is taken.
    send(&bus.server, &one, &["a1", "a2"]).await?;
    send(&bus.server, &two, &["b1"]).await?;
    let mut intake = open(&bus.client, &shards).await?;
    let all = async {
        let mut gathered = 0;
        while gathered < 3 {
            intake.gather().await?;
            gathered = intake.gathered();
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, all).await??;
    let round = intake.take(&desk).await?;
    let wanted = Round {
        taken: 3,
        ..Round::default()
    };
    ensure!(round == wanted, "{round:?}");
    ensure!(*lock(&desk.calls) == [3], "one transaction");
    for wanted in ["a1", "a2"] {
        let mark = tokio::time::timeout(PATIENCE, marks.next())
            .await?
            .context("a mark")?;
        ensure!(&mark.payload[..] == wanted.as_bytes());
    }
    Ok(())
}

#[tokio::test]
async fn a_poisonous_batch_is_set_aside_and_blocks_nobody() -> anyhow::Result<()> {
    let (bus, shard) = Bus::with(&["1", "poison", "2"]).await?;
    let desk = Desk::default();
    let round = open(&bus.client, &[shard]).await?.round(&desk).await?;
    let wanted = Round {
        taken: 2,
        set_aside: 1,
        ..Round::default()
    };
    ensure!(round == wanted, "{round:?}");
    ensure!(*lock(&desk.aside) == ["poison"]);
    ensure!(lock(&desk.taken).len() == 2);
    Ok(())
}

#[tokio::test]
async fn a_forged_batch_among_good_ones_is_never_given_out_again() -> anyhow::Result<()> {
    let (bus, shard) = Bus::with(&["1", "forged", "2"]).await?;
    let desk = Desk::default();
    let round = open(&bus.client, &[shard]).await?.round(&desk).await?;
    let wanted = Round {
        taken: 2,
        set_aside: 1,
        ..Round::default()
    };
    ensure!(round == wanted, "{round:?}");
    ensure!(*lock(&desk.calls) == [3], "it spoils nothing");
    bus.client.flush().await?;
    let management = management(&bus.client);
    let left = async {
        while waiting(&management, shard).await? > 0 {}
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, left).await??;
    Ok(())
}

#[tokio::test]
async fn what_was_gathered_and_not_taken_is_given_to_the_next_at_once() -> anyhow::Result<()> {
    let (bus, shard) = Bus::with(&["1", "2"]).await?;
    let mut leaving = open(&bus.client, &[shard]).await?;
    leaving.gather().await?;
    leaving.close(shard).await;
    ensure!(leaving.shards().next().is_none());
    let mut next = open(&bus.client, &[shard]).await?;
    until_taken(&mut next, &Desk::default(), 2).await
}

#[tokio::test]
async fn what_a_desk_that_is_away_could_not_take_comes_again() -> anyhow::Result<()> {
    let (bus, shard) = Bus::with(&["1", "2"]).await?;
    let desk = Desk::default();
    desk.away.store(true, Ordering::SeqCst);
    let mut intake = open(&bus.client, &[shard]).await?;
    ensure!(matches!(intake.round(&desk).await, Err(FlowError::Desk(_))));
    ensure!(lock(&desk.taken).is_empty());
    desk.away.store(false, Ordering::SeqCst);
    until_taken(&mut intake, &desk, 2).await
}

#[tokio::test]
async fn batches_of_a_shard_that_is_not_held_are_given_back_and_the_others_are_taken() -> anyhow::Result<()> {
    let bus = Bus::start().await?;
    let (ours, theirs) = (
        Shard::new(5).context("a shard")?,
        Shard::new(6).context("a shard")?,
    );
    for (shard, body) in [(ours, "ours"), (theirs, "theirs")] {
        let pair = neighbours(shard, 1).pop().context("a key")?;
        send(&bus.server, &bus.server.agent_with(pair, None)?, &[body]).await?;
    }
    let desk = Desk::default();
    lock(&desk.unheld).insert(theirs);
    let mut intake = open(&bus.client, &[ours, theirs]).await?;
    let (mut taken, mut unheld) = (0, 0);
    while taken == 0 || unheld == 0 {
        let round = tokio::time::timeout(PATIENCE, intake.round(&desk)).await??;
        (taken, unheld) = (taken + round.taken, unheld + round.unheld);
    }
    ensure!(*lock(&desk.taken) == BTreeSet::from([Bytes::from("ours")]));
    // Whoever holds that shard has the batch long before the server would give it out again.
    intake.close(theirs).await;
    lock(&desk.unheld).clear();
    let mut other = open(&bus.client, &[theirs]).await?;
    until_taken(&mut other, &desk, 2).await
}

#[tokio::test]
async fn a_shard_whose_consumer_is_gone_is_named_and_the_others_go_on() -> anyhow::Result<()> {
    let (bus, shard) = Bus::with(&["1"]).await?;
    let other = Shard::new((shard.number() + 1) % 16).context("a shard")?;
    let mut intake = open(&bus.client, &[other, shard]).await?;
    let (person, _person_events) = bus.server.connect(&bus.server.administrator()?).await?;
    management(&person)
        .delete_consumer_from_stream(subject::ingest_consumer(other), subject::EVENTS_STREAM)
        .await?;
    let desk = Desk::default();
    let mut named = None;
    while named.is_none() || lock(&desk.taken).is_empty() {
        match tokio::time::timeout(PATIENCE, intake.round(&desk)).await? {
            Err(FlowError::Consumer { shard, .. }) => named = Some(shard),
            other => drop(other?),
        }
    }
    ensure!(named == Some(other));
    ensure!(intake.shards().eq([shard]), "it is to be opened anew");
    Ok(())
}

#[tokio::test]
async fn a_batch_under_another_shard_never_reaches_the_desk() -> anyhow::Result<()> {
    let bus = Bus::start().await?;
    let login = bus.server.agent(None)?;
    let own = Shard::of(&login.key());
    let wrong = Shard::new((own.number() + 1) % 16).context("a shard")?;
    let (agent, _agent_events) = bus.server.connect(&login).await?;
    // The server lets an agent choose the shard's token, so this is for the controller to refuse.
    let subject = subject::events(&login.key()).replacen(&own.token(), &wrong.token(), 1);
    publish_acked(&agent, subject, HeaderMap::new(), "x".into(), PATIENCE).await?;
    let desk = Desk::default();
    let round = open(&bus.client, &[wrong]).await?.round(&desk).await?;
    let wanted = Round {
        strange: 1,
        ..Round::default()
    };
    ensure!(round == wanted, "{round:?}");
    ensure!(lock(&desk.calls).is_empty());
    Ok(())
}

#[derive(Default)]
struct Ledger {
    places: Vec<Place>,
    dirty: Mutex<Vec<AgentId>>,
}

impl Walk for Ledger {
    async fn places(&self, after: Option<AgentId>, limit: usize) -> Result<Vec<Place>, DeskError> {
        let later = self
            .places
            .iter()
            .filter(|place| after.is_none_or(|after| place.agent > after));
        Ok(later.take(limit).cloned().collect())
    }

    async fn mark_dirty(&self, agents: &[AgentId]) -> Result<(), DeskError> {
        lock(&self.dirty).extend_from_slice(agents);
        Ok(())
    }
}

#[tokio::test]
async fn a_walk_finds_what_is_missing_behind_and_ahead_on_the_bus() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = NatsServer::start(dir.path())?;
    let login = server.controller()?;
    let (client, _events) = server.connect(&login).await?;
    ensure_streams(&management(&client), &StreamSizes::default()).await?;
    let mut ledger = Ledger::default();
    let mut parcels = Vec::new();
    // The bus is at 5. The ledger says 5, 6 (behind), 4 (ahead) in turn, and every tenth agent is missing on the bus.
    for number in 0..u32::try_from(reconcile::PAGE + 20)? {
        let key = user(number).user_key()?;
        let generation = [5, 6, 4][usize::try_from(number % 3)?];
        if number % 10 != 0 {
            parcels.push(parcel(&key, 5)?);
        }
        let agent = AgentId::from_uuid(uuid::Uuid::from_u128(u128::from(number) + 1));
        let at = Generation { epoch: 1, generation };
        ledger.places.push(Place { agent, key, at });
    }
    for outcome in writ_controller::bus::deliver::manifests(&client, &parcels).await {
        outcome?;
    }
    let first = reconcile::page(&client, &ledger, None).await?;
    let second = reconcile::page(&client, &ledger, first.next).await?;
    ensure!(first.compared == reconcile::PAGE && first.unanswered == 0 && !first.bus_is_empty);
    ensure!(second.compared == 20 && second.next.is_none(), "{second:?}");
    let wanted: Vec<AgentId> = (0_u32..)
        .zip(&ledger.places)
        .filter(|(number, _)| number % 10 == 0 || number % 3 == 1)
        .map(|(_, place)| place.agent)
        .collect();
    ensure!(*lock(&ledger.dirty) == wanted);
    ensure!(first.behind + second.behind == wanted.len());
    ensure!(first.ahead > 0, "and what is ahead is counted, not repaired");

    server.wipe()?;
    let (client, _events) = server.connect(&login).await?;
    let seen = reconcile::page(&client, &ledger, None).await?;
    ensure!(seen.bus_is_empty && seen.compared == 0, "{seen:?}");
    Ok(())
}
