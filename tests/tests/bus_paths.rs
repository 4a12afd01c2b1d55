//! Every path of the protocol over the real server, with exactly the claims that the product issues: what must work, works.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{self, consumer, stream};
use async_nats::{Client, HeaderMap, Message, Subscriber};
use futures_util::StreamExt as _;
use writ_chassis::clock::{Clock as _, SystemClock};
use writ_chassis::nats::{NatsEvent, publish_acked, request_with_timeout};
use writ_protocol::digest::Digest;
use writ_protocol::nats::{access, claims};
use writ_protocol::subject::{self, Rpc, Shard};
use writ_protocol::trace;
use writ_tests::nats::NatsServer;

const PATIENCE: Duration = Duration::from_secs(10);

async fn next(subscriber: &mut Subscriber) -> anyhow::Result<Message> {
    let message = tokio::time::timeout(PATIENCE, subscriber.next()).await;
    message.context("nothing came")?.context("the subscription ended")
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn publish(client: &Client, subject: String, id: &str, body: &'static str) -> anyhow::Result<bool> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id);
    headers.insert(trace::HEADER, TRACE);
    let ack = publish_acked(client, subject, headers, body.into(), PATIENCE).await?;
    Ok(ack.duplicate)
}

async fn get(client: &Client, subject: String) -> anyhow::Result<Message> {
    Ok(request_with_timeout(client, subject, None, "".into(), PATIENCE).await?)
}

fn small(name: &str, filter: &str) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: vec![filter.to_owned()],
        max_bytes: 1 << 20,
        allow_direct: true,
        ..stream::Config::default()
    }
}

async fn streams(client: &Client) -> anyhow::Result<()> {
    let js = jetstream::new(client.clone());
    js.create_stream(stream::Config {
        max_messages_per_subject: 1,
        republish: Some(stream::Republish {
            source: subject::ORDERS_FILTER.to_owned(),
            destination: subject::WAKE_REPUBLISH.to_owned(),
            headers_only: false,
        }),
        ..small(subject::ORDERS_STREAM, subject::ORDERS_FILTER)
    })
    .await?;
    js.create_stream(small(subject::EVENTS_STREAM, subject::EVENTS_FILTER))
        .await?;
    js.create_stream(small(subject::BUNDLES_STREAM, subject::BUNDLES_FILTER))
        .await?;
    Ok(())
}

#[tokio::test]
async fn orders_go_down_and_events_come_up() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let server = NatsServer::start(dir.path())?;
    let (controller, _events) = server.connect(&server.controller()?).await?;
    streams(&controller).await?;

    let login = server.agent(None)?;
    let key = login.key();
    let (agent, _agent_events) = server.connect(&login).await?;
    let mut wake = agent.subscribe(subject::wake(&key)).await?;
    let mut mark = agent.subscribe(subject::mark(&key)).await?;
    let mut control = agent.subscribe(subject::control(&key)).await?;
    let mut all = agent.subscribe(subject::CONTROL_ALL).await?;

    // An order: stored, a wake-up with its content, and a direct get.
    let order = subject::order(&key);
    let nothing = get(&agent, subject::direct_get(subject::ORDERS_STREAM, &order)).await?;
    ensure!(nothing.status.is_some_and(|status| status.as_u16() == 404));
    ensure!(!publish(&controller, order.clone(), "m:1", "manifest 1").await?);
    let woken = next(&mut wake).await?;
    ensure!(&woken.payload[..] == b"manifest 1", "a wake-up brings what woke");
    let named = woken
        .headers
        .as_ref()
        .and_then(|headers| headers.get(trace::HEADER));
    ensure!(
        named.is_some_and(|value| value.as_str() == TRACE),
        "and its trace: {:?}",
        woken.headers
    );
    let read = get(&agent, subject::direct_get(subject::ORDERS_STREAM, &order)).await?;
    ensure!(&read.payload[..] == b"manifest 1");
    ensure!(
        publish(&controller, order, "m:1", "manifest 1").await?,
        "recognised"
    );

    // A bundle's chunk.
    let chunk = subject::bundle_chunk(&Digest::of(b"bundle"), 0);
    publish(&controller, chunk.clone(), "b:1", "chunk").await?;
    let read = get(&agent, subject::direct_get(subject::BUNDLES_STREAM, &chunk)).await?;
    ensure!(&read.payload[..] == b"chunk");

    // Events: acknowledged by the stream, pulled and acknowledged by a controller.
    ensure!(!publish(&agent, subject::events(&key), "e:1", "batch 1").await?);
    let shard = Shard::of(&key);
    let js = jetstream::new(controller.clone());
    let events = js.get_stream(subject::EVENTS_STREAM).await?;
    let config = consumer::pull::Config {
        durable_name: Some(subject::ingest_consumer(shard)),
        filter_subject: subject::events_of(shard),
        ..consumer::pull::Config::default()
    };
    let mut pull = events.create_consumer(config).await?;
    let mut batch = pull.fetch().max_messages(10).expires(PATIENCE).messages().await?;
    let message = batch
        .next()
        .await
        .context("nothing pulled")?
        .map_err(anyhow::Error::from_boxed)?;
    ensure!(&message.payload[..] == b"batch 1" && subject::agent_of(&message.subject) == Some(key.clone()));
    message.double_ack().await.map_err(anyhow::Error::from_boxed)?;
    ensure!(pull.info().await?.ack_floor.stream_sequence == 1);

    // Watermarks and control.
    for (subject, subscriber) in [
        (subject::mark(&key), &mut mark),
        (subject::control(&key), &mut control),
        (subject::CONTROL_ALL.to_owned(), &mut all),
    ] {
        controller.publish(subject, "x".into()).await?;
        ensure!(&next(subscriber).await?.payload[..] == b"x");
    }
    Ok(())
}

#[tokio::test]
async fn requests_and_live_logs_cross_the_accounts() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let server = NatsServer::start(dir.path())?;
    let (controller, _events) = server.connect(&server.controller()?).await?;
    let mut logs = controller.subscribe(subject::LOG_FILTER).await?;
    let mut requests = Vec::new();
    for filter in Rpc::ALL
        .map(Rpc::filter)
        .into_iter()
        .chain([subject::ENROL_FILTER.to_owned()])
    {
        requests.push(
            controller
                .queue_subscribe(filter, subject::QUEUE.to_owned())
                .await?,
        );
    }
    get(&controller, "$JS.API.INFO".to_owned()).await?;
    let answering = controller.clone();
    let desk = tokio::spawn(async move {
        let mut requests = futures_util::stream::select_all(requests);
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                answering.publish(reply, request.payload).await?;
            }
        }
        anyhow::Ok(())
    });
    let login = server.agent(None)?;
    let (agent, _agent_events) = server.connect(&login).await?;
    for rpc in Rpc::ALL {
        let subject = rpc.subject(&login.key());
        let answer = request_with_timeout(&agent, subject, None, "question".into(), PATIENCE).await?;
        ensure!(&answer.payload[..] == b"question", "{rpc:?}");
    }
    agent.publish(subject::log(&login.key()), "line".into()).await?;
    let line = next(&mut logs).await?;
    ensure!(&line.payload[..] == b"line" && subject::agent_of(&line.subject) == Some(login.key()));

    let joiner = server.joiner()?;
    let (client, _joiner_events) = server.connect(&joiner).await?;
    let subject = subject::enrol(&joiner.key());
    let answer = request_with_timeout(&client, subject, None, "enrol".into(), PATIENCE).await?;
    ensure!(&answer.payload[..] == b"enrol");
    desk.abort();
    Ok(())
}

#[tokio::test]
async fn a_revoked_agent_is_cut_off_and_stays_out() -> anyhow::Result<()> {
    for memory in [false, true] {
        let dir = tempfile::tempdir()?;
        let mut server = NatsServer::start_with(dir.path(), memory)?;
        let (login, other) = (server.agent(None)?, server.agent(None)?);
        let (agent, mut events) = server.connect(&login).await?;
        let (kept, _kept_events) = server.connect(&other).await?;
        ensure!(events.next().await == Some(NatsEvent::Connected));
        kept.flush().await?;
        agent.flush().await?;

        let now = SystemClock.now();
        let mut account = access::agents(&server.keys().public());
        account.revocations = BTreeMap::from([(login.key().to_string(), now.as_secs() + 1)]);
        let jwt = claims::account(&account, &server.keys().operator_signer, now)?;
        if memory {
            server.reload(&[(account.key.to_string(), jwt)])?;
        } else {
            let (system, _system_events) = server.connect(&server.system()?).await?;
            let push = "$SYS.REQ.CLAIMS.UPDATE".to_owned();
            let answer = request_with_timeout(&system, push, None, jwt.into(), PATIENCE).await?;
            let answer: serde_json::Value = serde_json::from_slice(&answer.payload)?;
            ensure!(answer["data"]["code"] == 200, "{answer}");
        }
        let cut = async {
            loop {
                match events.next().await {
                    Some(NatsEvent::Refused(why)) => break anyhow::Ok(why),
                    Some(_) => {}
                    None => anyhow::bail!("the events ended"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, cut).await??;
        ensure!(server.connect(&login).await.is_err(), "it does not come back");
        let rpc = Rpc::Hello.subject(&other.key());
        let others = request_with_timeout(&kept, rpc, None, "".into(), PATIENCE).await;
        ensure!(others.is_err(), "nobody answers, but the question is permitted");
        ensure!(
            server.connect(&server.agent(None)?).await.is_ok(),
            "others come in"
        );
    }
    Ok(())
}
