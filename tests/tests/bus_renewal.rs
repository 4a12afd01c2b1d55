//! Credentials of a few seconds against the real server: an agent gets new ones in time, moves to them before the server cuts the old
//! connection, gets over controllers that refuse or are away, and says so when nobody came.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::HeaderMap;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use writ_agent::app::{Agent, Options, Parts};
use writ_agent::core::{Failure, Ran, Seen};
use writ_agent::executor::bundles::BundleCache;
use writ_agent::executor::{Executor, Job, OnOutput};
use writ_agent::identity::{Identity, Login};
use writ_agent::journal::Journal;
use writ_agent::journal::disk::sim::SimDisk;
use writ_agent::link::Incoming;
use writ_agent::link::nats::{Place, open};
use writ_agent::metrics::AgentMetrics;
use writ_chassis::clock::{Clock, SystemClock};
use writ_chassis::ids::{IdSource, SystemIds};
use writ_chassis::lifecycle::Lifecycle;
use writ_protocol::hello::{ERROR_HEADER, RenewReply};
use writ_protocol::id::OrderId;
use writ_protocol::nats::claims::expiry;
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::reason::Code;
use writ_protocol::subject::Rpc;
use writ_protocol::time::Timestamp;
use writ_tests::nats::NatsServer;
use writ_tests::sim::keys::AGENTS;

const PATIENCE: Duration = Duration::from_secs(60);

/// No step is ever ordered here.
#[derive(Debug)]
struct Nobody;

fn none() -> Failure {
    Failure {
        code: Code::Internal,
        detail: "nothing was ordered".to_owned(),
    }
}

impl Executor for Nobody {
    fn observe(&self, _job: &Job) -> Result<Seen, Failure> {
        Err(none())
    }
    fn apply(&self, _job: &Job, _on_output: &mut OnOutput<'_>) -> Ran {
        Ran::failed(none(), SystemClock.now())
    }
    fn stop(&self, _order_id: OrderId, _hard: bool, _reason: &str) {}
}

fn nkey() -> NkeyPair {
    // The user key of the first agent of `AGENTS`.
    NkeyPair::from_seed_bytes(NkeyKind::User, &[200; 32])
}

fn claims(server: &NatsServer, life: Duration) -> anyhow::Result<String> {
    Ok(server.agent_with(nkey(), Some(SystemClock.now().plus(life)))?.jwt)
}

fn identity(server: &NatsServer, life: Duration) -> anyhow::Result<Identity> {
    let mut identity = AGENTS.first().context("an agent")?.identity();
    ensure!(identity.card.identity.user_key == nkey().user_key()?);
    identity.login = Arc::new(Login::new(nkey(), claims(server, life)?));
    Ok(identity)
}

/// What happened to the connection: when it was lost, and until when the claims held with which it had been made.
type Losses = Arc<Mutex<Vec<(Timestamp, Timestamp)>>>;

struct Stage {
    lifecycle: Lifecycle,
    metrics: AgentMetrics,
    login: Arc<Login>,
    losses: Losses,
}

async fn stage(server: &NatsServer, identity: Identity) -> anyhow::Result<Stage> {
    let lifecycle = Lifecycle::new(Duration::from_secs(5));
    let handle = lifecycle.handle();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let place = Place {
        servers: vec![server.url()],
        ca_pem: Some(server.ca_pem().to_owned()),
        ca_file: None,
        tls_first: false,
        reconnect_window: Duration::from_millis(50),
        name: "renewal".to_owned(),
    };
    let login = Arc::clone(&identity.login);
    let (transport, pump) = open(place, Arc::clone(&login), &identity.card.identity.user_key, 7).await?;
    let (to, mut heard) = mpsc::channel(64);
    let (tell, incoming) = mpsc::channel(64);
    handle.spawn_contained("pump", pump.run(to));
    let losses = Losses::default();
    let (seen, used) = (Arc::clone(&losses), Arc::clone(&login));
    handle.spawn_contained("listen", async move {
        let mut holds_until = None;
        loop {
            let next = tokio::select! {
                // The agent has gone: so must what feeds it.
                () = tell.closed() => return,
                next = heard.recv() => next,
            };
            let Some(incoming) = next else { return };
            match (&incoming, holds_until) {
                (Incoming::Connected, _) => holds_until = expiry(&used.jwt()),
                (Incoming::Disconnected, Some(until)) => {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.push((SystemClock.now(), until));
                    holds_until = None;
                }
                _ => {}
            }
            if tell.send(incoming).await.is_err() {
                return;
            }
        }
    });
    let disk = SimDisk::new(1);
    Journal::create(&disk, identity.card.journal_id)?;
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new(Arc::clone(&clock))?);
    let metrics = AgentMetrics::new()?;
    let parts = Parts {
        identity,
        disk: Arc::new(disk),
        bundles: BundleCache::new(Arc::new(SimDisk::new(2)), 1 << 20),
        transport,
        incoming,
        executor: Arc::new(Nobody),
        clock,
        ids,
        lifecycle: handle.clone(),
        metrics: metrics.clone(),
        options: Options::default(),
    };
    let agent = Agent::open(parts).await?;
    handle.spawn("agent", Box::pin(agent.run()));
    Ok(Stage {
        lifecycle,
        metrics,
        login,
        losses,
    })
}

/// Pause between two looks at a number that tells nobody of its change.
const LOOK: Duration = Duration::from_millis(20);

async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> anyhow::Result<()> {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .with_context(|| format!("waiting until {what}"))
}

impl Stage {
    async fn end(self) -> anyhow::Result<()> {
        self.lifecycle.handle().stop();
        Ok(self.lifecycle.run().await?)
    }
}

#[tokio::test]
async fn credentials_are_renewed_and_used_before_the_server_cuts_the_old_ones() -> anyhow::Result<()> {
    const LIFE: Duration = Duration::from_secs(8);
    let dir = tempfile::tempdir()?;
    let server = Arc::new(NatsServer::start(dir.path())?);
    let identity = identity(&server, LIFE)?;
    let policy = String::from_utf8(identity.trust_policy.clone())?;
    let first = expiry(&identity.login.jwt()).context("they end")?;

    // A controller that refuses every other time: the agent asks again.
    let (controller, _events) = server.connect(&server.controller()?).await?;
    let mut asked = controller.subscribe(Rpc::Renew.filter()).await?;
    controller.flush().await?;
    let (times, bus) = (Arc::new(AtomicU64::new(0)), Arc::clone(&server));
    let count = Arc::clone(&times);
    let desk = tokio::spawn(async move {
        while let Some(request) = asked.next().await {
            let reply = request.reply.context("an answer is wanted")?;
            if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                let mut headers = HeaderMap::new();
                headers.insert(ERROR_HEADER, "W0900");
                controller.publish_with_headers(reply, headers, "".into()).await?;
                continue;
            }
            let answer = RenewReply {
                user_jwt: claims(&bus, LIFE)?,
                trust_policy: policy.clone(),
            };
            controller
                .publish(reply, serde_json::to_vec(&answer)?.into())
                .await?;
        }
        anyhow::Ok(())
    });

    let stage = stage(&server, identity).await?;
    let renewed = stage.metrics.credentials_renewed.clone();
    until("three renewals", || renewed.get() >= 3).await?;
    let losses = Arc::clone(&stage.losses);
    let count = || losses.lock().unwrap_or_else(PoisonError::into_inner).len();
    until("three new connections", || count() >= 3).await?;
    for (lost, held_until) in losses.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        ensure!(
            lost < held_until,
            "the connection ended at {lost}, its claims at {held_until}: the server cut it"
        );
    }
    ensure!(expiry(&stage.login.jwt()).context("they end")? > first);
    ensure!(stage.metrics.credentials_expired.get() == 0);
    ensure!(
        times.load(Ordering::SeqCst) >= 6,
        "it was refused and asked again"
    );
    stage.end().await?;
    desk.abort();
    Ok(())
}

#[tokio::test]
async fn without_a_controller_the_agent_asks_until_the_end_and_then_says_so() -> anyhow::Result<()> {
    const LIFE: Duration = Duration::from_secs(6);
    let dir = tempfile::tempdir()?;
    let server = NatsServer::start(dir.path())?;
    let identity = identity(&server, LIFE)?;
    let end = expiry(&identity.login.jwt()).context("they end")?;
    let stage = stage(&server, identity).await?;
    let expired = stage.metrics.credentials_expired.clone();
    until("it says so", || expired.get() == 1).await?;
    ensure!(SystemClock.now() >= end, "not before they are over");
    let losses = Arc::clone(&stage.losses);
    let cut = || {
        losses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .first()
            .copied()
    };
    until("the server cuts it", || cut().is_some()).await?;
    ensure!(
        cut().is_some_and(|(lost, held_until)| lost >= held_until),
        "nothing else ended the connection"
    );
    ensure!(stage.metrics.credentials_renewed.get() == 0);
    stage.end().await
}
