//! What an agent does about the bundle of an order: it is fetched, must be of the mode that was ordered, and is not waited for at a stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use writ_chassis::lifecycle::Lifecycle;
use writ_protocol::bundle::{self, BundleStatement};
use writ_protocol::digest::Digest;
use writ_protocol::exec::RunMode;
use writ_protocol::graph::{GRAPH_VERSION, Graph};
use writ_protocol::id::OrderId;
use writ_protocol::manifest::{BundleRef, OrderKind};
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderDone, OrderOutcome};

use super::{done, eventually};
use crate::core::{Failure, Ran, Seen};
use crate::executor::{Executor, Job, OnOutput};
use crate::link::{Answer, Link, LinkError, Reply, Transport};
use crate::tests::host::FakeHost;
use crate::tests::scene::{FakeBus, TENANT, World, key, manifest, name, now, order};

/// A bus that has one bundle of one part, or none.
#[derive(Debug)]
struct Stocked {
    bus: FakeBus,
    bundle: Option<Vec<u8>>,
    asked: tokio::sync::Notify,
}

impl Transport for Stocked {
    fn request(
        &self,
        subject: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<Reply, LinkError>> {
        if !subject.contains("bundle") {
            return self.bus.request(subject, payload, wait);
        }
        self.asked.notify_one();
        let reply = self.bundle.clone().map(|bytes| Reply {
            payload: bytes.into(),
            ..Reply::default()
        });
        Box::pin(async move { reply.ok_or_else(|| LinkError::Unavailable("no bundle".into())) })
    }

    fn publish_acked(
        &self,
        subject: String,
        id: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<(), LinkError>> {
        self.bus.publish_acked(subject, id, payload, wait)
    }

    fn publish_lossy(&self, subject: String, payload: Bytes) -> Answer<'_, ()> {
        self.bus.publish_lossy(subject, payload)
    }
}

/// A host that learns its steps from bundles, as real ones do.
#[derive(Debug)]
struct Unplanned(Arc<FakeHost>);

impl Executor for Unplanned {
    fn observe(&self, job: &Job) -> Result<Seen, Failure> {
        self.0.observe(job)
    }

    fn apply(&self, job: &Job, on_output: &mut OnOutput<'_>) -> Ran {
        self.0.apply(job, on_output)
    }

    fn stop(&self, order_id: OrderId, hard: bool, reason: &str) {
        self.0.stop(order_id, hard, reason);
    }
}

fn packed(mode: RunMode) -> (Vec<u8>, BundleRef) {
    let graph = Graph {
        version: GRAPH_VERSION,
        project: "web".to_owned(),
        resources: Vec::new(),
        selection: None,
        mode,
    };
    let statement = BundleStatement {
        tenant: TENANT.to_owned(),
        project: "web".to_owned(),
        config_digest: Digest::of(b"config"),
        graph_digest: Digest::ZERO,
        author: "ada".to_owned(),
        issued_at: now().wall,
    };
    bundle::build(statement, &graph, BTreeMap::new(), &key(5)).expect("packs")
}

/// Orders `ordered` of a bundle that was compiled as `found`, and gives the end of it.
async fn end(ordered: RunMode, found: RunMode) -> OrderDone {
    let world = World::new(Vec::new());
    let (bytes, bundle) = packed(found);
    let mut what = order(1, OrderKind::Apply);
    (what.mode, what.bundle) = (ordered, bundle);
    world.bus.publish(manifest(1, vec![what]));
    let lifecycle = Lifecycle::new(Duration::from_secs(10));
    let handle = lifecycle.handle();
    let (mut agent, _bus) = world.agent(&handle).await;
    stock(&mut agent, &world, Some(bytes));
    handle.spawn("agent", Box::pin(agent.run()));
    let end = eventually(|| done(&world)).await;
    handle.stop();
    lifecycle.run().await.expect("ends well");
    end
}

fn stock(agent: &mut super::super::Agent, world: &World, bundle: Option<Vec<u8>>) -> Arc<Stocked> {
    let stocked = Arc::new(Stocked {
        bus: world.bus.clone(),
        bundle,
        asked: tokio::sync::Notify::new(),
    });
    let transport = Arc::<Stocked>::clone(&stocked);
    agent.link = Link::new(transport, name().user_key);
    agent.executor = Arc::new(Unplanned(Arc::clone(&world.host)));
    stocked
}

#[tokio::test]
async fn an_order_of_another_mode_than_its_bundle_is_not_carried_out() {
    use RunMode::{DevFast, Strict};
    for (ordered, found) in [(Strict, DevFast), (DevFast, Strict)] {
        let end = end(ordered, found).await;
        assert_eq!(
            (end.outcome, end.code),
            (OrderOutcome::Failed, Some(Code::InputNotStrict)),
            "{ordered:?} of {found:?}: {}",
            end.detail
        );
    }
    for mode in [Strict, DevFast] {
        let end = end(mode, mode).await;
        assert_eq!(end.outcome, OrderOutcome::Succeeded, "{mode:?}: {}", end.detail);
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_bundle_that_nobody_has() {
    let world = World::new(Vec::new());
    let mut what = order(1, OrderKind::Apply);
    what.bundle = packed(RunMode::Strict).1;
    world.bus.publish(manifest(1, vec![what]));
    // The tries would take longer than that; what still runs then is named as an error.
    let lifecycle = Lifecycle::new(Duration::from_secs(4));
    let handle = lifecycle.handle();
    let (mut agent, _bus) = world.agent(&handle).await;
    let stocked = stock(&mut agent, &world, None);
    handle.spawn("agent", Box::pin(agent.run()));
    stocked.asked.notified().await;
    handle.stop();
    lifecycle.run().await.expect("nothing is left running");
    let end = done(&world).expect("the end reached the ledger");
    assert_eq!(
        (end.outcome, end.code),
        (OrderOutcome::Stopped, Some(Code::Draining))
    );
}
