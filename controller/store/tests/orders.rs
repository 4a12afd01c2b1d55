//! Orders: made many at a time, handed out by age, saved whole.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

use std::time::Duration;

use uuid::Uuid;
use writ_domain::order::OrderState;
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, JournalId, OrderId, RunId};
use writ_protocol::manifest::Generation;
use writ_protocol::time::Timestamp;
use writ_store::testing::fresh_database;
use writ_store::{Store, order};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const RUNS: u128 = 70;

/// Runs 1 to `RUNS` and `agents` agents, with ids that count.
async fn with_runs(agents: i64) -> Store {
    let (store, _) = fresh_database().await.unwrap();
    let text = format!(
        "INSERT INTO bundle SELECT '\\x01', 1, '\\x01', 'p', '\\x01', '\\x01', NULL, 'me', now();
         INSERT INTO run (run_id, kind, project, state, bundle_digest, ordered_by, created_at, updated_at, deadline_at)
         SELECT lpad(to_hex(n), 32, '0')::uuid, 'apply', 'p', 'running', '\\x01', 'me', now(), now(), now() FROM generate_series(1, {RUNS}) n;
         INSERT INTO agent SELECT lpad(to_hex(n), 32, '0')::uuid, 'host-' || lpad(n::text, 6, '0'), 'U' || n, '\\x01', '\\x01', 'h', 1, '{{}}',
             '{{}}', 'active', NULL, '\\x01', 1, now(), now() FROM generate_series(1, {agents}) n;"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(text))
        .execute(store.pool())
        .await
        .unwrap();
    store
}

fn agent(n: u128) -> AgentId {
    AgentId::from_uuid(Uuid::from_u128(n))
}

fn id(n: u128) -> OrderId {
    OrderId::from_uuid(Uuid::from_u128(n))
}

fn new(run: u128, issued_at: Timestamp) -> order::NewOrders {
    order::NewOrders {
        run_id: RunId::from_uuid(Uuid::from_u128(run)),
        control_epoch: 4,
        lease_ms: 180_000,
        issued_at,
        expires_at: issued_at.plus(Duration::from_secs(60)),
        grant_micros: 77,
        rate_card: 1,
        held: false,
    }
}

#[tokio::test]
async fn ten_thousand_orders_are_one_call() {
    let store = with_runs(10_000).await;
    let all: Vec<_> = (1..=10_000).map(|n| (id(n), agent(n))).collect();
    let mut tx = store.begin("test").await.unwrap();
    order::create(&mut tx, &new(1, NOW), &all).await.unwrap();
    let counts = order::counts(&mut tx, &[new(1, NOW).run_id]).await.unwrap();
    assert_eq!(counts.len(), 1);
    assert_eq!((counts[0].state, counts[0].orders), (OrderState::Pending, 10_000));
}

#[tokio::test]
async fn the_oldest_sixty_four_are_handed_out_in_order_of_age() {
    let store = with_runs(2).await;
    let mut tx = store.begin("test").await.unwrap();
    for n in 1..=RUNS {
        // The later the run, the older the order: neither ids nor insertion give the order away.
        let issued = NOW.minus(Duration::from_secs(u64::try_from(n).unwrap()));
        order::create(&mut tx, &new(n, issued), &[(id(n), agent(1))])
            .await
            .unwrap();
    }
    order::create(&mut tx, &new(1, NOW), &[(id(1_000), agent(2))])
        .await
        .unwrap();
    let got = order::outstanding(&mut tx, &[agent(2), agent(1)], 64)
        .await
        .unwrap();
    let ids: Vec<_> = got.iter().map(|o| o.order_id).collect();
    let wanted: Vec<_> = (7..=70).rev().map(id).chain([id(1_000)]).collect();
    assert_eq!(ids, wanted);
}

#[tokio::test]
async fn every_column_that_may_change_is_saved() {
    let store = with_runs(2).await;
    let mut tx = store.begin("test").await.unwrap();
    order::create(&mut tx, &new(1, NOW), &[(id(1), agent(1)), (id(2), agent(2))])
        .await
        .unwrap();
    let untouched = order::read(&mut tx, id(2)).await.unwrap().unwrap();
    let mut one = order::read(&mut tx, id(1)).await.unwrap().unwrap();
    let at = |n| Some(NOW.plus(Duration::from_secs(n)));
    one.state = OrderState::Accepted;
    (one.cancel_requested, one.late) = (true, true);
    (one.deadline_at, one.heard_at, one.accepted_at, one.ended_at) = (at(1), at(2), at(3), at(4));
    (one.code, one.detail) = (Some("W1".to_owned()), Some("why".to_owned()));
    one.steps = Some([1, 2, 3, 4]);
    (one.cost_micros, one.first_seq, one.last_seq) = (Some(5), Some(6), Some(7));
    one.statement = Some(Digest::of(b"statement"));
    one.journal_id = Some(JournalId::from_uuid(Uuid::from_u128(8)));
    one.at = Some(Generation {
        epoch: 9,
        generation: 10,
    });
    order::save(&mut tx, std::slice::from_ref(&one), NOW)
        .await
        .unwrap();
    let got = order::read(&mut tx, id(1)).await.unwrap().unwrap();
    assert_eq!(format!("{got:?}"), format!("{one:?}"));
    let other = order::read(&mut tx, id(2)).await.unwrap().unwrap();
    assert_eq!(format!("{other:?}"), format!("{untouched:?}"));
}

#[tokio::test]
async fn what_waits_has_a_deadline() {
    let store = with_runs(1).await;
    let mut tx = store.begin("test").await.unwrap();
    order::create(&mut tx, &new(1, NOW), &[(id(1), agent(1))])
        .await
        .unwrap();
    let mut one = order::read(&mut tx, id(1)).await.unwrap().unwrap();
    one.deadline_at = None;
    let error = order::save(&mut tx, &[one], NOW).await.unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains("run_order_waiting_has_deadline"), "{said}");
}
