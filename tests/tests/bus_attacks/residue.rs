//! What the server lets through or holds back of a loud agent: its bounced answers on live subscriptions of others, and a quota per subject.

use anyhow::ensure;
use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;
use writ_chassis::nats::{PublishError, publish_acked};
use writ_protocol::subject;

use super::world::{PATIENCE, SILENCE, World};

/// Answers that are bounced until one arrives: which of the victim's connections gets it, the server decides each time.
const ROUNDS: usize = 50;
/// Messages that a subject may hold under the quota.
const QUOTA: i64 = 3;
/// The server's own number for "maximum messages per subject exceeded".
const PER_SUBJECT_EXCEEDED: u64 = 10_077;

/// T5b: the answer to a question of the attacker, sent to the other's wake. A wake carries nothing that is acted on, so all that the attacker
/// gains is a look that the victim takes at its own manifest.
#[tokio::test]
async fn a_bounced_answer_reaches_a_live_wake_and_nothing_that_is_kept() -> anyhow::Result<()> {
    let world = World::new().await?;
    let own_order = subject::order(&world.a);
    world.put(&own_order, "my manifest").await?;
    world
        .put(&subject::order(&world.b), "the other's manifest")
        .await?;
    let theirs = subject::wake(&world.b);
    let mut wake = world.victim.subscribe(theirs.clone()).await?;
    world.victim.flush().await?;
    let question = subject::direct_get(subject::ORDERS_STREAM, &own_order);
    let mut arrived = None;
    for _ in 0..ROUNDS {
        world
            .attacker
            .publish_with_reply(question.clone(), theirs.clone(), "".into())
            .await?;
        world.settled().await?;
        if let Ok(Some(message)) = tokio::time::timeout(SILENCE, wake.next()).await {
            arrived = Some(message);
            break;
        }
    }
    let Some(message) = arrived else {
        anyhow::bail!(
            "the server keeps bounced answers from live subscriptions now: docs/threat-model.md may say so"
        );
    };
    ensure!(
        &message.payload[..] == b"my manifest",
        "the attacker's own, and no other's"
    );
    let orders = jetstream::new(world.controller.clone())
        .get_stream(subject::ORDERS_STREAM)
        .await?;
    let kept = orders
        .get_last_raw_message_by_subject(&subject::order(&world.b))
        .await?;
    ensure!(&kept.payload[..] == b"the other's manifest");
    ensure!(
        world.stored(subject::ORDERS_STREAM).await? == 2,
        "nothing was added"
    );
    ensure!(world.stored(subject::EVENTS_STREAM).await? == 0);
    Ok(())
}

#[tokio::test]
async fn a_quota_per_subject_stops_the_loud_and_nobody_else() -> anyhow::Result<()> {
    let world = World::new().await?;
    jetstream::new(world.controller.clone())
        .update_stream(stream::Config {
            name: subject::EVENTS_STREAM.to_owned(),
            subjects: vec![subject::EVENTS_FILTER.to_owned()],
            max_bytes: 8 << 20,
            allow_direct: true,
            max_messages_per_subject: QUOTA,
            discard: stream::DiscardPolicy::New,
            discard_new_per_subject: true,
            ..stream::Config::default()
        })
        .await?;
    let send = async |client, key| {
        publish_acked(
            client,
            subject::events(key),
            HeaderMap::new(),
            "batch".into(),
            PATIENCE,
        )
        .await
    };
    for _ in 0..QUOTA {
        send(&world.attacker, &world.a).await?;
    }
    for _ in 0..2 {
        let answer = send(&world.attacker, &world.a).await;
        ensure!(
            matches!(&answer, Err(PublishError::Rejected { code, .. }) if *code == PER_SUBJECT_EXCEEDED),
            "{answer:?}"
        );
        send(&world.victim, &world.b).await?;
    }
    ensure!(world.stored(subject::EVENTS_STREAM).await? == 5, "three and two");
    Ok(())
}
