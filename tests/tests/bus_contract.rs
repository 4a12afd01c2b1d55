//! The bus is a cache: what the controller puts on it comes back after a wipe and after a rollback, and nothing is remade behind an
//! operator's back.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::Client;
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::StreamExt as _;
use uuid::Uuid;
use writ_chassis::nats::request_with_timeout;
use writ_controller::bus::deliver::{self, Parcel};
use writ_controller::bus::streams::{StreamSizes, declared, ensure, ingest_consumer, management};
use writ_protocol::digest::Digest;
use writ_protocol::id::AgentId;
use writ_protocol::key::SigningKey;
use writ_protocol::limits::BUNDLE_CHUNK_BYTES;
use writ_protocol::manifest::{self, Generation, Manifest};
use writ_protocol::nats::{NkeyKind, NkeyPair, UserKey};
use writ_protocol::subject::{self, Shard};
use writ_protocol::time::Timestamp;
use writ_tests::nats::{Login, NatsServer};

const PATIENCE: Duration = Duration::from_secs(10);

fn parcel(key: &UserKey, generation: u64) -> anyhow::Result<Parcel> {
    let at = Generation { epoch: 1, generation };
    let manifest = Manifest {
        tenant: "acme".to_owned(),
        agent_id: AgentId::from_uuid(Uuid::nil()),
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

fn fleet(size: u16) -> anyhow::Result<Vec<UserKey>> {
    (0..size)
        .map(|number| {
            let mut seed = [0; 32];
            for (place, byte) in seed.iter_mut().zip(number.to_be_bytes()) {
                *place = byte;
            }
            Ok(NkeyPair::from_seed_bytes(NkeyKind::User, &seed).user_key()?)
        })
        .collect()
}

async fn deliver_all(client: &Client, keys: &[UserKey], generation: u64) -> anyhow::Result<()> {
    let parcels: Vec<Parcel> = keys
        .iter()
        .map(|key| parcel(key, generation))
        .collect::<anyhow::Result<_>>()?;
    for outcome in deliver::manifests(client, &parcels).await {
        outcome?;
    }
    Ok(())
}

async fn generations(client: &Client, keys: &[UserKey]) -> anyhow::Result<Vec<Option<u64>>> {
    let held = deliver::held_by(client, keys).await;
    held.into_iter()
        .map(|at| Ok(at?.map(|at| at.generation)))
        .collect()
}

#[tokio::test]
async fn streams_are_made_once_and_a_change_by_hand_is_an_alarm() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = NatsServer::start(dir.path())?;
    let login = server.controller()?;
    let (client, _events) = server.connect(&login).await?;
    let (other, _other_events) = server.connect(&server.controller()?).await?;
    let (bus, beside) = (management(&client), management(&other));
    let sizes = StreamSizes::default();
    let (one, two) = tokio::join!(ensure(&bus, &sizes), ensure(&beside, &sizes));
    ensure!(one?.drift.is_empty() && two?.drift.is_empty(), "two at once");
    let again = ensure(&bus, &sizes).await?;
    ensure!(again.made.is_empty() && again.drift.is_empty(), "{again:?}");

    let [(name, mut config), ..] = declared(&sizes);
    config.max_messages_per_subject = 5;
    bus.update_stream(config).await?;
    let drift = ensure(&bus, &sizes).await?.drift;
    let fields: Vec<_> = drift
        .iter()
        .map(|d| (d.name.as_str(), d.field.as_str()))
        .collect();
    ensure!(fields == [(name, "max_msgs_per_subject")], "{drift:?}");
    let left = bus.get_stream(name).await?.cached_info().config.clone();
    ensure!(left.max_messages_per_subject == 5, "nobody changed it back");

    server.wipe()?;
    let (client, _events) = server.connect(&login).await?;
    let made = ensure(&management(&client), &sizes).await?.made;
    ensure!(made.len() == 3, "{made:?}");
    Ok(())
}

#[tokio::test]
async fn manifests_come_back_after_a_wipe_and_after_a_rollback() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = NatsServer::start(dir.path())?;
    let login = server.controller()?;
    let sizes = StreamSizes::default();
    let keys = fleet(600)?;
    let (client, _events) = server.connect(&login).await?;
    ensure(&management(&client), &sizes).await?;
    ensure!(generations(&client, &keys).await?.iter().all(Option::is_none));
    deliver_all(&client, &keys, 1).await?;
    deliver_all(&client, &keys, 1).await?;
    ensure!(generations(&client, &keys).await?.iter().all(|at| *at == Some(1)));

    server.snapshot("old")?;
    let (client, _events) = server.connect(&login).await?;
    deliver_all(&client, &keys, 2).await?;
    ensure!(generations(&client, &keys).await?.iter().all(|at| *at == Some(2)));

    server.rollback("old")?;
    let (client, _events) = server.connect(&login).await?;
    ensure!(
        generations(&client, &keys).await?.iter().all(|at| *at == Some(1)),
        "the walk sees that the bus went back"
    );
    deliver_all(&client, &keys, 2).await?;
    ensure!(generations(&client, &keys).await?.iter().all(|at| *at == Some(2)));

    server.wipe()?;
    let (client, _events) = server.connect(&login).await?;
    let lost = deliver::manifests(&client, &[parcel(&keys[0], 2)?]).await;
    ensure!(
        lost.iter()
            .all(|o| o.as_ref().is_err_and(deliver::DeliverError::is_no_stream)),
        "a wiped bus is noticed by the first delivery: {lost:?}"
    );
    ensure(&management(&client), &sizes).await?;
    deliver_all(&client, &keys, 2).await?;
    ensure!(generations(&client, &keys).await?.iter().all(|at| *at == Some(2)));
    Ok(())
}

#[tokio::test]
async fn an_id_that_is_remembered_without_its_message_does_not_lose_a_manifest() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let server = NatsServer::start(dir.path())?;
    let (client, _events) = server.connect(&server.controller()?).await?;
    ensure(&management(&client), &StreamSizes::default()).await?;
    let keys = fleet(1)?;
    // Generation 7 goes in, then an older one pushes it out of its only place, again and again, while its id is remembered.
    deliver_all(&client, &keys, 7).await?;
    for older in [6, 5, 4] {
        deliver_all(&client, &keys, older).await?;
        ensure!(generations(&client, &keys).await? == [Some(older)]);
        deliver_all(&client, &keys, 7).await?;
        ensure!(generations(&client, &keys).await? == [Some(7)]);
    }
    Ok(())
}

#[tokio::test]
async fn a_bundle_goes_in_chunks_and_only_once() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let server = NatsServer::start(dir.path())?;
    let (client, _events) = server.connect(&server.controller()?).await?;
    let bus = management(&client);
    ensure(&bus, &StreamSizes::default()).await?;
    let bytes: bytes::Bytes = vec![7; 2 * BUNDLE_CHUNK_BYTES + 1].into();
    let digest = Digest::of(&bytes);
    for _ in 0..2 {
        ensure!(deliver::bundle(&client, &digest, &bytes).await? == 3);
    }
    let state = bus
        .get_stream(subject::BUNDLES_STREAM)
        .await?
        .cached_info()
        .state
        .clone();
    ensure!(state.messages == 3 && state.last_sequence == 3, "stored once");
    let agent = server.agent(None)?;
    let (reader, _reader_events) = server.connect(&agent).await?;
    let mut read = Vec::new();
    for index in 0..3 {
        let chunk = subject::bundle_chunk(&digest, index);
        let get = subject::direct_get(subject::BUNDLES_STREAM, &chunk);
        read.extend_from_slice(
            &request_with_timeout(&reader, get, None, "".into(), PATIENCE)
                .await?
                .payload,
        );
    }
    ensure!(Digest::of(&read) == digest);
    Ok(())
}

#[tokio::test]
async fn a_shard_gives_a_batch_again_until_it_is_acknowledged_also_after_a_crash() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = NatsServer::start(dir.path())?;
    let login = server.controller()?;
    let (client, _events) = server.connect(&login).await?;
    ensure(&management(&client), &StreamSizes::default()).await?;
    let agent = server.agent(None)?;
    let (sender, _sender_events) = server.connect(&agent).await?;
    let events = subject::events(&agent.key());
    let shard = Shard::of(&agent.key());
    for body in ["1", "2", "3"] {
        let headers = async_nats::HeaderMap::new();
        writ_chassis::nats::publish_acked(&sender, events.clone(), headers, body.into(), PATIENCE).await?;
    }
    let mut pull = ingest_consumer(&management(&client), shard).await?;
    let mut batch = pull.fetch().max_messages(2).messages().await?;
    let first = batch
        .next()
        .await
        .context("one")?
        .map_err(anyhow::Error::from_boxed)?;
    first.double_ack().await.map_err(anyhow::Error::from_boxed)?;
    let second = batch
        .next()
        .await
        .context("two")?
        .map_err(anyhow::Error::from_boxed)?;
    ensure!(&second.payload[..] == b"2");
    second
        .ack_with(async_nats::jetstream::AckKind::Nak(None))
        .await
        .map_err(anyhow::Error::from_boxed)?;

    ensure!(
        take(&pull, 2).await? == ["2", "3"],
        "given back, so given out again"
    );

    ensure!(pull.info().await?.num_pending == 0);
    server.restart()?;
    let (client, _events) = server.connect(&login).await?;
    let (sender, _sender_events) = server.connect(&agent).await?;
    let headers = async_nats::HeaderMap::new();
    writ_chassis::nats::publish_acked(&sender, events, headers, "4".into(), PATIENCE).await?;
    let pull = ingest_consumer(&management(&client), shard).await?;
    // The server was killed, so acknowledgements that it had not written are forgotten: repeats may come, and nothing may be missing.
    while take(&pull, 1).await? != ["4"] {}
    Ok(())
}

async fn take(pull: &PullConsumer, count: usize) -> anyhow::Result<Vec<String>> {
    let mut batch = pull
        .batch()
        .max_messages(count)
        .expires(PATIENCE)
        .messages()
        .await?;
    let mut seen = Vec::new();
    while let Some(message) = batch.next().await {
        let message = message.map_err(anyhow::Error::from_boxed)?;
        seen.push(String::from_utf8(message.payload.to_vec())?);
        message.double_ack().await.map_err(anyhow::Error::from_boxed)?;
    }
    seen.sort();
    Ok(seen)
}

#[tokio::test]
async fn an_acknowledgement_of_a_history_that_is_gone_takes_nothing_from_the_new_one() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = NatsServer::start(dir.path())?;
    let (login, agent) = (server.controller()?, server.agent(None)?);
    let (events, shard) = (subject::events(&agent.key()), Shard::of(&agent.key()));
    let (client, _events) = server.connect(&login).await?;
    ensure(&management(&client), &StreamSizes::default()).await?;
    send(&server, &agent, &events, &["old 1"]).await?;
    server.snapshot("old")?;
    send(&server, &agent, &events, &["old 2", "old 3", "old 4"]).await?;
    let (client, _events) = server.connect(&login).await?;
    let pull = ingest_consumer(&management(&client), shard).await?;
    let mut batch = pull.batch().max_messages(4).expires(PATIENCE).messages().await?;
    let mut answers = Vec::new();
    while let Some(message) = batch.next().await {
        let message = message.map_err(anyhow::Error::from_boxed)?;
        answers.push(message.reply.clone().context("wants an answer")?);
    }
    ensure!(answers.len() == 4);

    server.rollback("old")?;
    let (client, _events) = server.connect(&login).await?;
    for answer in answers.into_iter().skip(1) {
        client.publish(answer, "+ACK".into()).await?;
    }
    client.flush().await?;
    send(&server, &agent, &events, &["new 2", "new 3", "new 4", "new 5"]).await?;
    let pull = ingest_consumer(&management(&client), shard).await?;
    ensure!(take(&pull, 5).await? == ["new 2", "new 3", "new 4", "new 5", "old 1"]);
    Ok(())
}

async fn send(
    server: &NatsServer,
    agent: &Login,
    subject: &str,
    bodies: &[&'static str],
) -> anyhow::Result<()> {
    let (sender, _events) = server.connect(agent).await?;
    for body in bodies {
        let headers = async_nats::HeaderMap::new();
        writ_chassis::nats::publish_acked(&sender, subject.to_owned(), headers, (*body).into(), PATIENCE)
            .await?;
    }
    Ok(())
}
