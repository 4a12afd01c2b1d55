//! What must happen once: leases, join tokens, idempotency keys, epochs.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, ControllerId, JoinTokenId};
use writ_protocol::key::SigningKey;
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::time::Timestamp;
use writ_store::testing::fresh_database;
use writ_store::{Store, idempotency, join, lease, meta};

/// Most looks at the server's locks, each a question to the server.
const LOOKS_MAX: u32 = 100_000;
const LONG: Duration = Duration::from_secs(600);
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn controller(n: u128) -> ControllerId {
    ControllerId::from_uuid(Uuid::from_u128(n))
}

async fn acquire(store: &Store, holder: ControllerId, ttl: Duration) -> Option<lease::Fence> {
    let mut tx = store.begin("test").await.unwrap();
    let fence = lease::acquire(&mut tx, "shard", holder, ttl).await.unwrap();
    tx.commit().await.unwrap();
    fence
}

async fn guard(store: &Store, fence: &lease::Fence) -> bool {
    let mut tx = store.begin("test").await.unwrap();
    let held = lease::guard(&mut tx, std::slice::from_ref(fence)).await.unwrap();
    held == [fence.name.as_str()]
}

#[tokio::test]
async fn a_lease_has_one_holder_and_a_growing_token() {
    let (store, _) = fresh_database().await.unwrap();
    let (a, b) = (controller(1), controller(2));
    let first = acquire(&store, a, LONG).await.unwrap();
    assert_eq!(acquire(&store, b, LONG).await, None);
    assert_eq!(
        acquire(&store, a, LONG).await.as_ref(),
        Some(&first),
        "renewing keeps the token"
    );
    assert!(guard(&store, &first).await);

    let mut tx = store.begin("test").await.unwrap();
    assert_eq!(lease::release(&mut tx, a).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert!(!guard(&store, &first).await, "released");
    let second = acquire(&store, b, LONG).await.unwrap();
    assert!(second.token > first.token);
    assert!(!guard(&store, &first).await, "taken over");
    assert!(guard(&store, &second).await);
}

#[tokio::test]
async fn a_guard_holds_a_takeover_until_its_transaction_ends() {
    let (store, _) = fresh_database().await.unwrap();
    let fence = acquire(&store, controller(1), Duration::from_secs(4))
        .await
        .unwrap();
    let mut writing = store.begin("writing").await.unwrap();
    assert_eq!(
        lease::guard(&mut writing, std::slice::from_ref(&fence))
            .await
            .unwrap(),
        [fence.name.as_str()]
    );
    // The server's own clock says when the lease has run out.
    sqlx::query("SELECT pg_sleep_until(expires_at + interval '1 ms') FROM lease WHERE name = $1")
        .bind(&fence.name)
        .execute(store.pool())
        .await
        .unwrap();
    let other = store.clone();
    let takeover = tokio::spawn(async move { acquire(&other, controller(2), LONG).await });
    // The server names the waiting one: it is held by a lock, not slow.
    let mut looks = 0;
    loop {
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_locks WHERE NOT granted")
            .fetch_one(store.pool())
            .await
            .unwrap();
        if waiting > 0 {
            break;
        }
        assert!(!takeover.is_finished(), "the takeover did not wait");
        looks += 1;
        assert!(looks < LOOKS_MAX, "the takeover neither waits nor ends");
        tokio::task::yield_now().await;
    }
    writing.commit().await.unwrap();
    assert!(takeover.await.unwrap().unwrap().token > fence.token);
}

#[tokio::test]
async fn a_join_token_is_used_once() {
    let (store, _) = fresh_database().await.unwrap();
    let login = NkeyPair::from_seed_bytes(NkeyKind::User, &[7; 32])
        .user_key()
        .unwrap();
    let token = join::JoinTokenRow {
        token_id: JoinTokenId::from_uuid(Uuid::from_u128(1)),
        public_key: SigningKey::from_seed(&[8; 32]).public(),
        agent_name: None,
        labels: BTreeMap::new(),
        created_by: "me".to_owned(),
        created_at: NOW,
        expires_at: NOW.plus(LONG),
        used_by: None,
    };
    let mut tx = store.begin("test").await.unwrap();
    join::create(&mut tx, &token, &login).await.unwrap();
    tx.commit().await.unwrap();
    let tries: Vec<_> = (0..8_u128)
        .map(|n| {
            let (store, login) = (store.clone(), login.clone());
            tokio::spawn(async move {
                let mut tx = store.begin("use").await.unwrap();
                let found = join::lock(&mut tx, &login).await.unwrap().unwrap();
                if found.used_by.is_some() {
                    return false;
                }
                let agent = AgentId::from_uuid(Uuid::from_u128(n));
                let won = join::mark_used(&mut tx, found.token_id, agent, NOW)
                    .await
                    .unwrap();
                tx.commit().await.unwrap();
                // Whoever saw it free under the lock must be the one that gets it.
                assert!(won);
                won
            })
        })
        .collect();
    let mut winners = 0;
    for one in tries {
        winners += u32::from(one.await.unwrap());
    }
    assert_eq!(winners, 1);
    let mut tx = store.begin("again").await.unwrap();
    let again = join::mark_used(
        &mut tx,
        token.token_id,
        AgentId::from_uuid(Uuid::from_u128(9)),
        NOW,
    )
    .await;
    assert!(!again.unwrap(), "a used token stays used even without the lock");
}

#[tokio::test]
async fn a_key_is_claimed_once_and_keeps_its_answer() {
    let (store, _) = fresh_database().await.unwrap();
    let mut tx = store.begin("test").await.unwrap();
    let request = Digest::of(b"request");
    assert!(
        idempotency::begin(&mut tx, "me", "k", &request, NOW)
            .await
            .unwrap()
    );
    assert!(
        !idempotency::begin(&mut tx, "me", "k", &Digest::of(b"other"), NOW)
            .await
            .unwrap()
    );
    assert!(
        idempotency::begin(&mut tx, "you", "k", &request, NOW)
            .await
            .unwrap(),
        "keys are each principal's own"
    );
    assert_eq!(
        idempotency::read(&mut tx, "me", "k")
            .await
            .unwrap()
            .unwrap()
            .answer,
        None
    );
    idempotency::finish(&mut tx, "me", "k", 201, b"made")
        .await
        .unwrap();
    idempotency::finish(&mut tx, "me", "k", 500, b"late")
        .await
        .unwrap();
    let known = idempotency::read(&mut tx, "me", "k").await.unwrap().unwrap();
    assert_eq!(known.request, request);
    assert_eq!(known.answer, Some((201, b"made".to_vec())));
    assert_eq!(idempotency::read(&mut tx, "they", "k").await.unwrap(), None);
    assert_eq!(idempotency::prune(&mut tx, NOW).await.unwrap(), 0);
    assert_eq!(idempotency::prune(&mut tx, NOW.plus(LONG)).await.unwrap(), 2);
}

#[tokio::test]
async fn a_restored_database_is_another_life() {
    let (store, _) = fresh_database().await.unwrap();
    let mut tx = store.begin("test").await.unwrap();
    assert_eq!(meta::read(&mut tx).await.unwrap(), None);
    meta::init(&mut tx, "acme").await.unwrap();
    meta::init(&mut tx, "other").await.unwrap();
    let begun = meta::read(&mut tx).await.unwrap().unwrap();
    assert_eq!(
        (begun.tenant.as_str(), begun.epoch, begun.same_life),
        ("acme", 1, true)
    );
    tx.commit().await.unwrap();
    sqlx::raw_sql("UPDATE meta SET timeline = timeline + 1")
        .execute(store.pool())
        .await
        .unwrap();
    let mut tx = store.begin("test").await.unwrap();
    assert!(!meta::read(&mut tx).await.unwrap().unwrap().same_life);
    let first = meta::raise_epoch(&mut tx).await.unwrap();
    assert!(meta::raise_epoch(&mut tx).await.unwrap() > first);
    let elapsed: i32 =
        sqlx::query_scalar("SELECT floor(extract(epoch FROM clock_timestamp()))::integer - 1767225600")
            .fetch_one(store.pool())
            .await
            .unwrap();
    assert!(
        first.abs_diff(elapsed.unsigned_abs()) < 60,
        "the hour is in it, so that a second restore of one backup takes another: {first}"
    );
    assert!(meta::read(&mut tx).await.unwrap().unwrap().same_life);
    assert_eq!(meta::next_control_epoch(&mut tx).await.unwrap(), 1);
    assert_eq!(meta::next_control_epoch(&mut tx).await.unwrap(), 2);
}
