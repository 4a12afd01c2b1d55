//! What the tests of the ledger begin with: agents, bundles, runs and orders whose ids count, and waiting for a lock that another holds.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinHandle;
use uuid::Uuid;
use writ_domain::run::RunState;
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, JournalId, OrderId, RunId};
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::{BundleRef, OrderKind};
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::time::Timestamp;
use writ_protocol::trace::TraceContext;
use writ_store::testing::fresh_database;
use writ_store::{Store, Tx, agent, order, run};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

pub(crate) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn later(n: u64) -> Timestamp {
    NOW.plus(seconds(n))
}

pub(crate) fn agent_id(n: u8) -> AgentId {
    AgentId::from_uuid(Uuid::from_u128(n.into()))
}

pub(crate) fn run_id(n: u8) -> RunId {
    RunId::from_uuid(Uuid::from_u128(n.into()))
}

pub(crate) fn order_id(n: u8) -> OrderId {
    OrderId::from_uuid(Uuid::from_u128(n.into()))
}

pub(crate) fn journal_id(n: u8) -> JournalId {
    JournalId::from_uuid(Uuid::from_u128(n.into()))
}

pub(crate) fn labels(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

pub(crate) fn new_agent(n: u8) -> agent::NewAgent {
    agent::NewAgent {
        agent_id: agent_id(n),
        name: format!("host-{n}"),
        user_key: NkeyPair::from_seed_bytes(NkeyKind::User, &[n; 32])
            .user_key()
            .unwrap(),
        artefact_key: SigningKey::from_seed(&[n; 32]).public(),
        machine: Digest::of(&[n]),
        hostname: format!("h{n}"),
        labels: labels(&[("env", "prod")]),
        facts: labels(&[("os", "debian")]),
        keys: vec![n],
        created_at: NOW,
    }
}

/// A ledger with agents, created in this order.
pub(crate) async fn with_agents(numbers: &[u8]) -> Store {
    let (store, _) = fresh_database().await.unwrap();
    let mut tx = store.begin("agents").await.unwrap();
    for n in numbers {
        agent::create(&mut tx, &new_agent(*n)).await.unwrap();
    }
    tx.commit().await.unwrap();
    store
}

pub(crate) fn bundle(bytes: &[u8]) -> run::Bundle {
    run::Bundle {
        name: BundleRef {
            digest: Digest::of(bytes),
            length: bytes.len() as u64,
        },
        bytes: bytes.to_vec(),
        project: "web".to_owned(),
        config_digest: Digest::of(b"config"),
        graph_digest: Digest::of(b"graph"),
        budget: Some((500_000, "USD".to_owned())),
        rollout: None,
        targets: Some(agent::Selector::of_host("web-1")),
    }
}

pub(crate) fn new_run(n: u8) -> run::Run {
    run::Run {
        run_id: run_id(n),
        kind: OrderKind::Apply,
        project: "web".to_owned(),
        state: RunState::Queued,
        bundle: bundle(b"bundle").name,
        plan_digest: Some(Digest::of(b"plan")),
        traceparent: Some(TraceContext::new(u128::from(n), 7, true)),
        ordered_by: "me".to_owned(),
        reason: Some("because".to_owned()),
        created_at: NOW,
        ended_at: None,
        deadline_at: Some(later(u64::from(n))),
        rollout: None,
    }
}

pub(crate) async fn add_run(tx: &mut Tx, run: &run::Run) {
    run::store_bundle(tx, &bundle(b"bundle"), "me", NOW)
        .await
        .unwrap();
    run::create(tx, run).await.unwrap();
}

pub(crate) fn new_orders(n: u8) -> order::NewOrders {
    order::NewOrders {
        run_id: run_id(n),
        control_epoch: 4,
        lease_ms: 180_000,
        issued_at: NOW,
        expires_at: later(60),
        grant_micros: 77,
        rate_card: 1,
        held: false,
    }
}

/// A ledger with agents 1 to `agents`, and run 1 with one order for each: the order of agent `n` is order `n`. The rows lie the other way round
/// than their ids count.
pub(crate) async fn with_orders(agents: u8) -> Store {
    let numbers: Vec<u8> = (1..=agents).collect();
    let store = with_agents(&numbers).await;
    let mut tx = store.begin("orders").await.unwrap();
    add_run(&mut tx, &new_run(1)).await;
    let orders: Vec<_> = numbers
        .iter()
        .rev()
        .map(|n| (order_id(*n), agent_id(*n)))
        .collect();
    order::create(&mut tx, &new_orders(1), &orders).await.unwrap();
    tx.commit().await.unwrap();
    store
}

/// Waits until somebody waits for a lock.
pub(crate) async fn until_held_up<T>(store: &Store, work: &JoinHandle<T>) {
    writ_store::testing::until_held_up(store, work).await.unwrap();
}

/// Has the server of a test read tables from end to end on connections made from now on: without it, an index hands rows out in the order of
/// their ids, and a lock that does not ask for that order would seem to.
pub(crate) async fn read_tables_as_they_lie(store: &Store) {
    let settings = "DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET enable_indexscan = off', current_database());
        EXECUTE format('ALTER DATABASE %I SET enable_bitmapscan = off', current_database());
        EXECUTE format('ALTER DATABASE %I SET enable_mergejoin = off', current_database());
    END $$";
    sqlx::raw_sql(settings).execute(store.pool()).await.unwrap();
}
