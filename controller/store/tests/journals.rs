//! Journals and manifests: marks, frames, signed batches, and which manifests the bus has yet to get.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

use std::collections::BTreeMap;

use uuid::Uuid;
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, JournalId};
use writ_protocol::key::SigningKey;
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::subject::Shard;
use writ_protocol::time::Timestamp;
use writ_store::testing::fresh_database;
use writ_store::{Store, agent, evidence, ingest, manifest};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn an_agent() -> agent::NewAgent {
    agent::NewAgent {
        agent_id: AgentId::from_uuid(Uuid::from_u128(1)),
        name: "host-1".to_owned(),
        user_key: NkeyPair::from_seed_bytes(NkeyKind::User, &[1; 32])
            .user_key()
            .unwrap(),
        artefact_key: SigningKey::from_seed(&[2; 32]).public(),
        machine: Digest::of(b"machine"),
        hostname: "host-1".to_owned(),
        labels: BTreeMap::new(),
        facts: BTreeMap::new(),
        keys: b"statement".to_vec(),
        created_at: NOW,
    }
}

async fn with_agent() -> (Store, agent::NewAgent) {
    let (store, _) = fresh_database().await.unwrap();
    let agent = an_agent();
    let mut tx = store.begin("enrol").await.unwrap();
    agent::create(&mut tx, &agent).await.unwrap();
    tx.commit().await.unwrap();
    (store, agent)
}

fn an_event((agent_id, journal_id): (AgentId, JournalId), seq: u64, raw: &[u8]) -> ingest::Event<'_> {
    ingest::Event {
        journal_id,
        seq,
        agent_id,
        kind: 3,
        order_id: None,
        wall: NOW,
        raw,
    }
}

#[tokio::test]
async fn frames_come_back_as_they_went_in() {
    let (store, agent) = with_agent().await;
    let (id, journal) = (agent.agent_id, JournalId::from_uuid(Uuid::from_u128(5)));
    let mut tx = store.begin("ingest").await.unwrap();
    let mut marks = ingest::lock(&mut tx, &[(id, journal)], NOW).await.unwrap();
    assert_eq!((marks[0].next_seq, marks[0].last_hash), (1, Digest::ZERO));
    let frames: Vec<Vec<u8>> = (0..12_u8).map(|n| vec![n; usize::from(n) + 1]).collect();
    let event = |(seq, raw)| an_event((id, journal), seq, raw);
    // Stored newest first: the order of reading must come from the numbers.
    let events: Vec<_> = (0..12_usize)
        .rev()
        .map(|n| event((n as u64 + 1, frames[n].as_slice())))
        .collect();
    ingest::store_events(&mut tx, &events, NOW).await.unwrap();
    let batch = |first_seq, last_seq, envelope| ingest::BatchEnvelope {
        journal_id: journal,
        first_seq,
        last_seq,
        agent_id: id,
        envelope,
    };
    ingest::store_batches(
        &mut tx,
        // The first two begin alike, as when an agent sends again with more in it.
        &[
            batch(1, 4, b"early".as_slice()),
            batch(1, 9, b"one"),
            batch(10, 12, b"two"),
        ],
        NOW,
    )
    .await
    .unwrap();
    // A shorter one never replaces a longer one.
    ingest::store_batches(&mut tx, &[batch(1, 3, b"short".as_slice())], NOW)
        .await
        .unwrap();
    marks[0].next_seq = 13;
    marks[0].last_hash = Digest::of(b"chain");
    ingest::advance(&mut tx, &marks, NOW).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = store.begin("read").await.unwrap();
    assert_eq!(ingest::read(&mut tx, id, journal).await.unwrap(), Some(marks[0]));
    assert_eq!(
        ingest::lock(&mut tx, &[(id, journal)], NOW).await.unwrap(),
        marks,
        "locking again starts nothing anew"
    );
    assert_eq!(marks[0].upto(), 12);
    let all = evidence::batches(&mut tx, (id, journal), (1, 12)).await.unwrap();
    let got: Vec<_> = all
        .iter()
        .map(|b| (b.first_seq, b.envelope.as_slice(), b.frames.clone()))
        .collect();
    assert_eq!(
        got,
        [
            (1, b"one".as_slice(), frames[..9].concat()),
            (10, b"two", frames[9..].concat())
        ]
    );
    let part = evidence::batches(&mut tx, (id, journal), (10, 11)).await.unwrap();
    assert_eq!(part.len(), 1);
    let at = |seq| (id, journal, seq);
    let mut raw = ingest::raw_at(&mut tx, &[at(4), at(99), at(2)]).await.unwrap();
    raw.sort();
    assert_eq!(raw, [(at(2), frames[1].clone()), (at(4), frames[3].clone())]);
}

#[tokio::test]
async fn a_change_during_publishing_stays_on_the_list() {
    let (store, agent) = with_agent().await;
    let (id, shard) = (agent.agent_id, Shard::of(&agent.user_key));
    let mut tx = store.begin("test").await.unwrap();
    agent::bump(&mut tx, &[id], NOW).await.unwrap();
    assert_eq!(
        manifest::dirty(&mut tx, &[shard], NOW, 10).await.unwrap(),
        [(id, agent.user_key.clone(), 2)]
    );
    agent::bump(&mut tx, &[id], NOW).await.unwrap();
    manifest::clean(&mut tx, &[(id, 2)]).await.unwrap();
    assert_eq!(
        manifest::dirty(&mut tx, &[shard], NOW, 10).await.unwrap(),
        [(id, agent.user_key.clone(), 3)]
    );
    manifest::clean(&mut tx, &[(id, 3)]).await.unwrap();
    assert_eq!(manifest::dirty(&mut tx, &[shard], NOW, 10).await.unwrap(), []);
}
