//! Manifests: one for each place for ever, and which of them the bus lacks.

use writ_domain::agent::AgentState;
use writ_protocol::digest::Digest;
use writ_protocol::manifest::Generation;
use writ_protocol::subject::Shard;
use writ_protocol::time::Timestamp;
use writ_store::{Store, agent, manifest};

use super::fixture::{NOW, agent_id, later, new_agent, until_held_up, with_agents};

fn at(epoch: u32, generation: u64) -> Generation {
    Generation { epoch, generation }
}

fn signed(n: u8, place: (u32, u64), orders: u32, bytes: &[u8]) -> manifest::ToStore {
    manifest::ToStore {
        signed: manifest::Signed {
            agent_id: agent_id(n),
            at: at(place.0, place.1),
            envelope: bytes.to_vec(),
            digest: Digest::of(bytes),
            expires_at: later(60),
        },
        orders,
        signed_at: NOW,
    }
}

async fn store_one(store: &Store, one: manifest::ToStore) {
    let mut tx = store.begin("store").await.unwrap();
    manifest::store(&mut tx, &[one]).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn of_two_signed_at_once_for_one_place_the_second_waits_and_hands_out_the_first() {
    let store = with_agents(&[1]).await;
    let mut first = store.begin("first").await.unwrap();
    manifest::store(&mut first, &[signed(1, (1, 2), 1, b"first")])
        .await
        .unwrap();
    let other = store.clone();
    let second = tokio::spawn(async move {
        let mut tx = other.begin("second").await.unwrap();
        manifest::store(&mut tx, &[signed(1, (1, 2), 1, b"second")])
            .await
            .unwrap();
        let newest = manifest::newest(&mut tx, &[agent_id(1)]).await.unwrap();
        tx.commit().await.unwrap();
        newest
    });
    until_held_up(&store, &second).await;
    first.commit().await.unwrap();
    let handed: Vec<_> = second.await.unwrap().into_iter().map(|m| m.envelope).collect();
    assert_eq!(handed, [b"first"], "both controllers publish the same bytes");
    let mut tx = store.begin("read").await.unwrap();
    let kept = manifest::at(&mut tx, agent_id(1), at(1, 2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (kept.envelope, kept.digest),
        (b"first".to_vec(), Digest::of(b"first"))
    );
}

#[tokio::test]
async fn the_newest_is_that_of_the_highest_epoch_then_generation() {
    let store = with_agents(&[1, 2, 3]).await;
    for (n, place) in [(1, (1, 9)), (1, (2, 3)), (1, (2, 4)), (2, (1, 1))] {
        store_one(&store, signed(n, place, 1, format!("{place:?}").as_bytes())).await;
    }
    let mut tx = store.begin("read").await.unwrap();
    let mut newest = manifest::newest(&mut tx, &[agent_id(3), agent_id(2), agent_id(1)])
        .await
        .unwrap();
    newest.sort_by_key(|m| m.agent_id);
    let got: Vec<_> = newest.iter().map(|m| (m.agent_id, m.at)).collect();
    assert_eq!(got, [(agent_id(1), at(2, 4)), (agent_id(2), at(1, 1))]);
    let older = manifest::at(&mut tx, agent_id(1), at(1, 9))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((older.at, older.expires_at), (at(1, 9), later(60)));
    assert!(
        manifest::at(&mut tx, agent_id(1), at(1, 4))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn what_ordered_something_is_kept_and_the_rest_makes_room() {
    let store = with_agents(&[1, 2]).await;
    for (n, place, orders) in [
        (1, (1, 9), 0),
        (1, (2, 1), 1),
        (1, (2, 2), 0),
        (2, (1, 1), 0),
        (1, (2, 3), 0),
    ] {
        store_one(&store, signed(n, place, orders, b"x")).await;
    }
    let mut tx = store.begin("read").await.unwrap();
    let mut kept = Vec::new();
    for (n, place) in [(1, (1, 9)), (1, (2, 1)), (1, (2, 2)), (1, (2, 3)), (2, (1, 1))] {
        let found = manifest::at(&mut tx, agent_id(n), at(place.0, place.1))
            .await
            .unwrap();
        kept.push(found.is_some());
    }
    assert_eq!(kept, [false, true, false, true, true]);
}

#[tokio::test]
async fn marking_keeps_who_waits_longest_first_and_a_removed_agent_is_never_published() {
    let store = with_agents(&[1, 2, 3]).await;
    let mut tx = store.begin("test").await.unwrap();
    // All in one shard, so that their order shows.
    sqlx::query("UPDATE agent SET shard = 0")
        .execute(store.pool())
        .await
        .unwrap();
    manifest::mark(&mut tx, &[agent_id(2)], NOW).await.unwrap();
    manifest::mark(&mut tx, &[agent_id(1), agent_id(3)], later(1))
        .await
        .unwrap();
    agent::bump(&mut tx, &[agent_id(2)], later(5)).await.unwrap();
    manifest::mark(&mut tx, &[agent_id(2)], later(6)).await.unwrap();
    let shard = Shard::new(0).unwrap();
    let dirty = manifest::dirty(&mut tx, &[shard], NOW, 1).await.unwrap();
    assert_eq!(dirty, [(agent_id(2), new_agent(2).user_key, 2)]);
    let other = Shard::new(1).unwrap();
    assert!(
        manifest::dirty(&mut tx, &[other], NOW, 9)
            .await
            .unwrap()
            .is_empty()
    );
    let both = manifest::dirty(&mut tx, &[other, shard], NOW, 1).await.unwrap();
    assert_eq!(both, dirty, "one look at several of them says the same");
    agent::set_state(&mut tx, agent_id(2), AgentState::Removed, "gone", NOW)
        .await
        .unwrap();
    let ids = |all: Vec<(_, _, u64)>| all.into_iter().map(|d| d.0).collect::<Vec<_>>();
    let mut left = ids(manifest::dirty(&mut tx, &[shard], NOW, 9).await.unwrap());
    left.sort_unstable();
    assert_eq!(
        left,
        [agent_id(1), agent_id(3)],
        "the relay would publish it for ever"
    );
    manifest::clean(&mut tx, &[(agent_id(1), 1), (agent_id(3), 1)])
        .await
        .unwrap();
    assert_eq!(manifest::mark_all(&mut tx, NOW).await.unwrap(), 2);
    assert_eq!(
        manifest::mark_all(&mut tx, NOW).await.unwrap(),
        0,
        "they are marked"
    );
    manifest::mark(&mut tx, &[agent_id(2)], NOW).await.unwrap();
    assert_eq!(manifest::dirty(&mut tx, &[shard], NOW, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_can_wait_waits_until_it_is_due_or_something_comes_that_cannot() {
    let store = with_agents(&[1, 2, 3]).await;
    let shards: Vec<Shard> = Shard::all().collect();
    let mut tx = store.begin("test").await.unwrap();
    let all = manifest::dirty(&mut tx, &shards, NOW, 9).await.unwrap();
    let places: Vec<_> = all.iter().map(|d| (d.0, d.2)).collect();
    manifest::clean(&mut tx, &places).await.unwrap();
    let unhurried = [agent_id(1), agent_id(2)];
    let counted = agent::bump_unhurried(&mut tx, &unhurried, later(1)).await;
    assert_eq!(counted.unwrap(), 2);
    agent::bump(&mut tx, &[agent_id(3)], later(2)).await.unwrap();
    let ids = |all: Vec<(_, _, u64)>| all.into_iter().map(|d| d.0).collect::<Vec<_>>();
    let early = manifest::dirty(&mut tx, &shards, NOW, 9).await.unwrap();
    assert_eq!(ids(early), [agent_id(3)]);
    let due = ids(manifest::dirty(&mut tx, &shards, later(1), 9).await.unwrap());
    assert_eq!(due.first(), Some(&agent_id(3)), "what cannot wait comes first");
    assert_eq!(due.len(), 3);
    // An order for the first, and a bus that lost what it had of the second.
    agent::bump(&mut tx, &[agent_id(1)], later(3)).await.unwrap();
    agent::bump_unhurried(&mut tx, &[agent_id(1)], later(3))
        .await
        .unwrap();
    manifest::mark(&mut tx, &[agent_id(2)], later(3)).await.unwrap();
    let now = manifest::dirty(&mut tx, &shards, NOW, 9).await.unwrap();
    assert_eq!(now.len(), 3, "none of them waits any more");
}

#[tokio::test]
async fn a_manifest_is_renewed_when_the_newest_of_its_agent_expires() {
    let store = with_agents(&[1, 2, 3]).await;
    let ends = |n: u8, place: (u32, u64), expires_at: Timestamp| {
        let mut one = signed(n, place, 1, b"x");
        one.signed.expires_at = expires_at;
        one
    };
    for one in [
        ends(1, (1, 8), later(10)),
        ends(1, (2, 1), later(100)),
        ends(2, (1, 1), later(20)),
        ends(3, (1, 1), later(20)),
    ] {
        store_one(&store, one).await;
    }
    let mut tx = store.begin("test").await.unwrap();
    agent::set_state(&mut tx, agent_id(3), AgentState::Removed, "gone", NOW)
        .await
        .unwrap();
    let mut found = Vec::new();
    for (before, limit) in [(20, 9), (21, 9), (200, 9), (200, 1)] {
        found.push(
            manifest::expiring(&mut tx, later(before), limit)
                .await
                .unwrap()
                .len(),
        );
    }
    assert_eq!(found, [0, 1, 2, 1]);
    assert_eq!(
        manifest::expiring(&mut tx, later(21), 9).await.unwrap(),
        [agent_id(2)]
    );
}
