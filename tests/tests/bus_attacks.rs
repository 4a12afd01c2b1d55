//! What a compromised agent tries on the real server: the table of docs/threat-model.md. Each attack is judged by what arrives, not by what is said.

#[path = "bus_attacks/logins.rs"]
mod logins;
#[path = "bus_attacks/residue.rs"]
mod residue;
#[path = "bus_attacks/world.rs"]
mod world;

use anyhow::ensure;
use async_nats::{Client, HeaderMap, jetstream};
use futures_util::StreamExt as _;
use writ_chassis::nats::{NatsEvent, publish_acked, request_with_timeout};
use writ_protocol::digest::Digest;
use writ_protocol::nats::UserKey;
use writ_protocol::subject::{self, Rpc};

use world::{PATIENCE, SILENCE, World};

#[tokio::test]
async fn bounced_replies_never_reach_a_stored_subject() -> anyhow::Result<()> {
    let world = World::new().await?;
    let chunk = subject::bundle_chunk(&Digest::of(b"bundle"), 0);
    world.put(&chunk, "signed by the controller").await?;
    let theirs = subject::events(&world.b);
    // T4: an acknowledgement bounced into the other's events. T5: a bundle, and an order, bounced there.
    let own_order = subject::order(&world.a);
    world.put(&own_order, "my manifest").await?;
    for (subject, rounds) in [
        (subject::events(&world.a), 5),
        (subject::direct_get(subject::BUNDLES_STREAM, &chunk), 5),
        (subject::direct_get(subject::ORDERS_STREAM, &own_order), 5),
    ] {
        for _ in 0..rounds {
            world
                .attacker
                .publish_with_reply(subject.clone(), theirs.clone(), "".into())
                .await?;
        }
    }
    world.settled().await?;
    let (own, last) = (subject::events(&world.a), HeaderMap::new());
    let ack = publish_acked(&world.attacker, own, last, "sixth".into(), PATIENCE).await?;
    let stored = world.stored(subject::EVENTS_STREAM).await?;
    ensure!(
        ack.sequence == 6 && stored == 6,
        "only the attacker's own six events, not {stored}"
    );
    let js = jetstream::new(world.controller.clone());
    let events = js.get_stream(subject::EVENTS_STREAM).await?;
    ensure!(
        events.get_last_raw_message_by_subject(&theirs).await.is_err(),
        "nothing is stored for the other"
    );
    Ok(())
}

#[tokio::test]
async fn a_message_id_that_names_its_content_cannot_be_taken_before() -> anyhow::Result<()> {
    let world = World::new().await?;
    let send = async |client: &Client, key: &UserKey, id: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        publish_acked(client, subject::events(key), headers, "batch".into(), PATIENCE).await
    };
    // T6: the hole is real on the server, so ids must not be guessable.
    send(&world.attacker, &world.a, "e:journal:1").await?;
    ensure!(
        send(&world.victim, &world.b, "e:journal:1").await?.duplicate,
        "the server's memory of ids is shared by the stream"
    );
    let id = Digest::of(b"the signed batch").to_hex();
    ensure!(!send(&world.victim, &world.b, &id).await?.duplicate);
    ensure!(world.stored(subject::EVENTS_STREAM).await? == 2);
    Ok(())
}

#[tokio::test]
async fn an_agent_speaks_for_nobody_else() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let (a, b) = (world.a.clone(), world.b.clone());
    let mut heard = world.controller.subscribe(subject::LOG_FILTER).await?;
    let mut wake = world.victim.subscribe(subject::wake(&b)).await?;
    let mut control = world.victim.subscribe(subject::CONTROL_ALL).await?;
    world.victim.flush().await?;
    let mut forbidden = vec![
        subject::events(&b),
        subject::order(&a),
        subject::order(&b),
        subject::wake(&b),
        subject::mark(&b),
        subject::mark(&a),
        subject::control(&b),
        subject::CONTROL_ALL.to_owned(),
        subject::log(&b),
        subject::bundle_chunk(&Digest::of(b"x"), 0),
        subject::dirty(subject::Shard::of(&a)),
        subject::enrol(&a),
        format!("_INBOX.{b}.x"),
    ];
    forbidden.extend(Rpc::ALL.map(|rpc| rpc.subject(&b)));
    for subject in forbidden {
        world.attacker.publish(subject.clone(), "lie".into()).await?;
        world.refused(&format!("publish {subject}")).await?;
    }
    ensure!(world.stored(subject::EVENTS_STREAM).await? == 0);
    ensure!(world.stored(subject::ORDERS_STREAM).await? == 0);
    ensure!(world.stored(subject::BUNDLES_STREAM).await? == 0);
    for subscriber in [&mut heard, &mut wake, &mut control] {
        ensure!(
            tokio::time::timeout(SILENCE, subscriber.next()).await.is_err(),
            "nothing was delivered"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_hears_nothing_meant_for_others() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let b = world.b.clone();
    for subject in [
        subject::wake(&b),
        subject::WAKE_FILTER.to_owned(),
        subject::mark(&b),
        subject::MARK_FILTER.to_owned(),
        subject::control(&b),
        subject::CONTROL_FILTER.to_owned(),
        subject::RPC_FILTER.to_owned(),
        subject::EVENTS_FILTER.to_owned(),
        subject::LOG_FILTER.to_owned(),
        subject::ENROL_FILTER.to_owned(),
        "_INBOX.>".to_owned(),
        format!("{}.>", subject::inbox(&b)),
        "$JS.>".to_owned(),
        "$SYS.>".to_owned(),
        ">".to_owned(),
    ] {
        let _kept = world.attacker.subscribe(subject.clone()).await?;
        world.refused(&format!("subscribe {subject}")).await?;
        let _grouped = world
            .attacker
            .queue_subscribe(subject.clone(), subject::QUEUE.to_owned())
            .await?;
        world
            .refused(&format!("subscribe {subject} in the controllers' group"))
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_reads_its_own_order_and_bundles_it_can_name() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let (a, b) = (world.a.clone(), world.b.clone());
    let chunk = subject::bundle_chunk(&Digest::of(b"bundle"), 0);
    world.put(&subject::order(&b), "their manifest").await?;
    world.put(&subject::order(&a), "my manifest").await?;
    world.put(&chunk, "chunk").await?;
    let orders = subject::ORDERS_STREAM;
    let own = subject::direct_get(orders, &subject::order(&a));
    ensure!(&world.asks(&own, "").await?.payload[..] == b"my manifest");
    let bundle = subject::direct_get(subject::BUNDLES_STREAM, &chunk);
    ensure!(&world.asks(&bundle, "").await?.payload[..] == b"chunk");

    let forbidden = [
        (subject::direct_get(orders, &subject::order(&b)), ""),
        (subject::direct_get(orders, subject::ORDERS_FILTER), ""),
        (subject::direct_get(orders, "writ.v1.order.>"), ""),
        (format!("$JS.API.DIRECT.GET.{orders}"), r#"{"seq":1}"#),
        (
            format!("$JS.API.DIRECT.GET.{orders}"),
            r#"{"multi_last":[">"],"batch":9}"#,
        ),
        (format!("$JS.API.STREAM.MSG.GET.{orders}"), r#"{"seq":1}"#),
        (
            subject::direct_get(subject::EVENTS_STREAM, &subject::events(&b)),
            "",
        ),
    ];
    for (subject, body) in forbidden {
        let answer = world.asks(&subject, body).await;
        ensure!(answer.is_err(), "{subject} {body} was answered");
        world.refused(&format!("{subject} {body}")).await?;
    }
    // The body of a permitted question does not widen it.
    for body in [
        r#"{"seq":1}"#,
        r#"{"multi_last":[">"],"batch":9}"#,
        r#"{"last_by_subj":">"}"#,
    ] {
        if let Ok(answer) = world.asks(&own, body).await {
            ensure!(&answer.payload[..] != b"their manifest", "{body}");
        }
    }
    Ok(())
}

/// A residue, kept here so that a change of it is noticed: the server takes a literal `*` in a direct get as a wildcard, and no permission
/// can tell the two apart. So bundles are no secret among the agents of a tenant, and a secret never goes into one.
#[tokio::test]
async fn a_wildcard_reads_the_newest_chunk_and_nothing_but_bundles() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let (older, newer) = (Digest::of(b"older"), Digest::of(b"newer"));
    world.put(&subject::bundle_chunk(&older, 0), "older").await?;
    world.put(&subject::bundle_chunk(&newer, 0), "newer").await?;
    world.put(&subject::order(&world.b), "their manifest").await?;
    let bundles = subject::BUNDLES_STREAM;
    for pattern in ["writ.v1.bundle.*.*", "writ.v1.bundle.*.0"] {
        let subject = subject::direct_get(bundles, pattern);
        for body in ["", r#"{"seq":1}"#, r#"{"multi_last":[">"],"batch":9}"#] {
            if let Ok(answer) = world.asks(&subject, body).await {
                ensure!(
                    &answer.payload[..] != b"older",
                    "{pattern} {body} walks through the stream"
                );
            }
        }
    }
    let orders = subject::ORDERS_STREAM;
    let a = world.a.clone();
    for pattern in [
        "writ.v1.order.*.*".to_owned(),
        "writ.v1.order.*.>".to_owned(),
        ">".to_owned(),
    ] {
        let answer = world.asks(&subject::direct_get(orders, &pattern), "").await;
        ensure!(answer.is_err(), "{pattern} was answered");
        world.refused(&pattern).await?;
    }
    let own = subject::direct_get(orders, &format!("writ.v1.order.*.{a}"));
    let answer = world.asks(&own, "").await?;
    ensure!(
        answer.status.is_some_and(|status| status.as_u16() == 404),
        "a wildcard for the shard still names only the agent"
    );
    Ok(())
}

#[tokio::test]
async fn the_management_of_streams_and_server_is_closed() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let victim = subject::events(&world.b);
    let (orders, events) = (subject::ORDERS_STREAM, subject::EVENTS_STREAM);
    let create = format!("$JS.API.CONSUMER.CREATE.{events}.x.{}", subject::events(&world.a));
    let before = world.stored(events).await?;
    for subject in [
        create.as_str(),
        &format!("$JS.API.CONSUMER.CREATE.{orders}"),
        &format!("$JS.API.CONSUMER.DURABLE.CREATE.{events}.x"),
        &format!("$JS.API.CONSUMER.MSG.NEXT.{events}.ingest-00"),
        &format!("$JS.API.CONSUMER.DELETE.{events}.ingest-00"),
        &format!("$JS.API.STREAM.PURGE.{orders}"),
        &format!("$JS.API.STREAM.DELETE.{orders}"),
        &format!("$JS.API.STREAM.UPDATE.{orders}"),
        &format!("$JS.API.STREAM.INFO.{orders}"),
        &format!("$JS.API.STREAM.SNAPSHOT.{orders}"),
        &format!("$JS.ACK.{events}.ingest-00.1.1.1.1.0"),
        "$JS.API.STREAM.NAMES",
        "$JS.API.INFO",
        "$SYS.REQ.USER.INFO",
        "$SYS.REQ.CLAIMS.UPDATE",
        "$SYS.REQ.SERVER.PING",
    ] {
        let answer = request_with_timeout(
            &world.attacker,
            subject.to_owned(),
            None,
            format!(r#"{{"stream_name":"{events}","config":{{"deliver_subject":"{victim}","ack_policy":"none"}}}}"#).into(),
            SILENCE,
        )
        .await;
        ensure!(answer.is_err(), "{subject} was answered");
        world.refused(subject).await?;
    }
    ensure!(world.stored(events).await? == before);
    Ok(())
}

#[tokio::test]
async fn headers_that_order_the_server_about_do_nothing() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let own = subject::events(&world.a);
    let mut wake = world.victim.subscribe(subject::wake(&world.b)).await?;
    world.victim.flush().await?;
    publish_acked(
        &world.attacker,
        own.clone(),
        HeaderMap::new(),
        "1".into(),
        PATIENCE,
    )
    .await?;
    for (name, value) in [
        ("Nats-Rollup", "all"),
        ("Nats-Rollup", "sub"),
        ("Nats-TTL", "1s"),
        ("Nats-Schedule", "@at 2020-01-01T00:00:00Z"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, value);
        let answer = publish_acked(&world.attacker, own.clone(), headers, "2".into(), PATIENCE).await;
        ensure!(answer.is_err(), "{name} was taken");
    }
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Trace-Dest", subject::wake(&world.b));
    let sent = world
        .attacker
        .publish_with_headers(own, headers, "3".into())
        .await;
    ensure!(sent.is_ok());
    world.refused("a trace to the other's wake").await?;
    ensure!(
        tokio::time::timeout(SILENCE, wake.next()).await.is_err(),
        "no trace arrived"
    );
    ensure!(world.stored(subject::EVENTS_STREAM).await? == 1);
    Ok(())
}

#[tokio::test]
async fn a_payload_over_the_limit_ends_the_connection_and_is_not_stored() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let large = vec![0_u8; writ_protocol::limits::AGENT_PAYLOAD_MAX + 1];
    world
        .attacker
        .publish(subject::events(&world.a), large.into())
        .await?;
    let wait = async {
        while let Some(event) = world.events.next().await {
            if event == NatsEvent::Disconnected {
                return true;
            }
        }
        false
    };
    ensure!(tokio::time::timeout(PATIENCE, wait).await == Ok(true));
    ensure!(world.stored(subject::EVENTS_STREAM).await? == 0);
    Ok(())
}
