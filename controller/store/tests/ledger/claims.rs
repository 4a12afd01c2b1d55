//! Claims under real concurrency: leases, idempotency keys, and the feed's and the keys' upkeep.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use writ_protocol::digest::Digest;
use writ_protocol::id::ControllerId;
use writ_store::testing::fresh_database;
use writ_store::{Store, Tx, audit, idempotency, lease};

use super::fixture::{NOW, later, seconds, until_held_up};

fn controller(n: u8) -> ControllerId {
    ControllerId::from_uuid(Uuid::from_u128(n.into()))
}

async fn acquire(store: &Store, holder: u8, ttl: Duration) -> Option<lease::Fence> {
    let mut tx = store.begin("acquire").await.unwrap();
    let fence = lease::acquire(&mut tx, "shard", controller(holder), ttl)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    fence
}

#[tokio::test]
async fn of_many_that_want_a_free_lease_one_gets_it() {
    let (store, _) = fresh_database().await.unwrap();
    for round in 1..=3 {
        let tries: Vec<_> = (1..=8)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { acquire(&store, n, seconds(600)).await })
            })
            .collect();
        let mut got = Vec::new();
        for one in tries {
            got.extend(one.await.unwrap());
        }
        assert_eq!(got.len(), 1, "round {round}: {got:?}");
        assert_eq!(got[0].token, round);
        let mut tx = store.begin("release").await.unwrap();
        lease::release(&mut tx, got[0].holder).await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn guard(tx: &mut Tx, fence: &lease::Fence) -> bool {
    let held = lease::guard(tx, std::slice::from_ref(fence)).await.unwrap();
    held == [fence.name.as_str()]
}

#[tokio::test]
async fn of_several_leases_those_are_named_that_are_held() {
    let store = fresh_database().await.unwrap().0;
    let mut tx = store.begin("test").await.unwrap();
    let mut fences = Vec::new();
    for (name, ttl) in [("c", seconds(600)), ("a", seconds(600)), ("b", Duration::ZERO)] {
        let fence = lease::acquire(&mut tx, name, controller(1), ttl).await.unwrap();
        fences.push(fence.unwrap());
    }
    assert_eq!(lease::guard(&mut tx, &fences).await.unwrap(), ["a", "c"]);
    fences[0].token += 1;
    assert_eq!(lease::guard(&mut tx, &fences).await.unwrap(), ["a"]);
    assert!(lease::guard(&mut tx, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stale_token_is_refused_even_to_the_same_holder() {
    let (store, _) = fresh_database().await.unwrap();
    let old = acquire(&store, 1, Duration::ZERO).await.unwrap();
    let mut tx = store.begin("test").await.unwrap();
    assert!(!guard(&mut tx, &old).await, "it has run out");
    let new = acquire(&store, 1, seconds(600)).await.unwrap();
    assert!(new.token > old.token, "a lease that ran out is a new lease");
    assert!(!guard(&mut tx, &old).await);
    assert!(guard(&mut tx, &new).await);
    let other = lease::Fence {
        holder: controller(2),
        ..new.clone()
    };
    assert!(!guard(&mut tx, &other).await);
    let elsewhere = lease::Fence {
        name: "other".to_owned(),
        ..new
    };
    assert!(!guard(&mut tx, &elsewhere).await);
}

#[tokio::test]
async fn releasing_gives_up_ones_own_leases_only() {
    let (store, _) = fresh_database().await.unwrap();
    let held = acquire(&store, 1, seconds(600)).await.unwrap();
    let mut tx = store.begin("test").await.unwrap();
    assert_eq!(lease::release(&mut tx, controller(2)).await.unwrap(), 0);
    assert!(guard(&mut tx, &held).await);
}

#[tokio::test]
async fn a_key_is_claimed_by_one_of_two_at_once_and_free_again_when_that_one_fails() {
    let (store, _) = fresh_database().await.unwrap();
    let claim = |key: &'static str, name: &'static str| {
        let store = store.clone();
        async move {
            let mut tx = store.begin(name).await.unwrap();
            let mine = idempotency::begin(&mut tx, "me", key, &Digest::of(b"r"), NOW)
                .await
                .unwrap();
            (tx, mine)
        }
    };
    for (key, commits) in [("kept", true), ("undone", false)] {
        let (first, mine) = claim(key, "first").await;
        assert!(mine);
        let second = tokio::spawn(claim(key, "second"));
        until_held_up(&store, &second).await;
        if commits {
            first.commit().await.unwrap();
        } else {
            drop(first);
        }
        assert_eq!(second.await.unwrap().1, !commits, "{key}");
    }
}

#[tokio::test]
async fn old_keys_and_changes_are_forgotten_and_young_ones_are_not() {
    let (store, _) = fresh_database().await.unwrap();
    let mut tx = store.begin("write").await.unwrap();
    for (key, at) in [("old", NOW), ("young", later(10))] {
        idempotency::begin(&mut tx, "me", key, &Digest::of(b"r"), at)
            .await
            .unwrap();
        audit::tell(
            &mut tx,
            at,
            key,
            vec![("t".to_owned(), json!(1)), ("u".to_owned(), json!(2))],
        )
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    let mut tx = store.begin("prune").await.unwrap();
    audit::tell(&mut tx, NOW, "none", vec![]).await.unwrap();
    assert_eq!(idempotency::prune(&mut tx, later(10)).await.unwrap(), 1);
    assert_eq!(idempotency::read(&mut tx, "me", "old").await.unwrap(), None);
    assert!(idempotency::read(&mut tx, "me", "young").await.unwrap().is_some());
    assert_eq!(audit::prune(&mut tx, later(10)).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let mut tx = store.begin("read").await.unwrap();
    let begin = audit::Place::default();
    let left = audit::after(&mut tx, begin, &[], 9).await.unwrap();
    assert_eq!(
        left.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(),
        ["young", "young"]
    );
    assert_eq!(audit::after(&mut tx, begin, &[], 1).await.unwrap().len(), 1);
    assert_eq!(
        audit::after(&mut tx, begin, &["u".to_owned()], 9).await.unwrap(),
        left[1..]
    );
}
