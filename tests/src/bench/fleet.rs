//! Many agents in one process: the real core over real connections with credentials and TLS of their own. Where a bench says nothing else, on
//! disks in memory and carrying out nothing. Each enrolled through the desk as a host does, so that nothing in the product skips a check.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use writ_agent::app::{Agent, Options, Parts};
use writ_agent::core::{Failure, Ran, Seen, StepPlan};
use writ_agent::drift;
use writ_agent::executor::bundles::BundleCache;
use writ_agent::executor::host::HostExecutor;
use writ_agent::executor::{Executor, Job, OnOutput};
use writ_agent::identity::{Card, Identity, Login};
use writ_agent::journal::Journal;
use writ_agent::journal::disk::sim::SimDisk;
use writ_agent::journal::disk::{Disk, RealDisk};
use writ_agent::link::nats::{self, Place};
use writ_agent::metrics::AgentMetrics;
use writ_chassis::clock::{Clock, SystemClock};
use writ_chassis::ids::{IdSource, SystemIds, seed_from};
use writ_chassis::lifecycle::LifecycleHandle;
use writ_cli::dev::programs::{Programs, Wanted};
use writ_cli::exit::Exit;
use writ_cli::fault;
use writ_controller::app::{App, Caller, NewJoinToken, OperatorRole};
use writ_protocol::digest::Digest;
use writ_protocol::enrol::{AgentKeys, EnrolRequest, JoinToken, sign_request};
use writ_protocol::exec::{Limits, Meter, StepMode, Usage};
use writ_protocol::id::{JournalId, OrderId};
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::{Identity as Name, Order};
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::trust::Keyring;
use writ_sandbox::{Config, Sandbox};

use super::bed::{Bed, files_told, tell};
use super::witness::{Witness, Witnessed};

/// Bundles that an agent of a host keeps, bytes.
const BUNDLES_BYTES: u64 = 1 << 20;
/// Agents that are enrolled at a time.
const ENROLLING: usize = 16;
/// Agents that are on their way to their first hello at a time.
const ARRIVING: usize = 400;
/// Longest wait until agents are heard. Above a hello's interval with its spread, and above the longest wait between two tries to connect.
pub const HEARING_PATIENCE: Duration = Duration::from_secs(180);
/// Most agents that are named when they are not heard.
const TOLD_MAX: usize = 100;
/// What comes from the bus and waits for an agent.
const INCOMING_MAX: usize = 64;
/// How long a join token holds.
const TOKEN_TTL: Duration = Duration::from_secs(3_600);

/// Agents heard of since an instant.
pub const HEARD_SINCE: &str = "SELECT count(*) FROM agent_liveness WHERE seen_at > $1::text::timestamptz";
/// The instant for those who were heard at any time.
const EVER: &str = "-infinity";

/// Labels of the agent of a number, from 0.
pub type Labels = fn(usize) -> BTreeMap<String, String>;

/// What an agent works with.
#[derive(Debug)]
pub struct Kit {
    /// Where its journal lies.
    pub disk: Arc<dyn Disk>,
    /// Bundles that it keeps.
    pub bundles: BundleCache,
    /// Carries its steps out.
    pub executor: Arc<dyn Executor>,
    /// How it holds its host to what was applied there.
    pub drift: Option<drift::Settings>,
}

impl Kit {
    /// Disks in memory, and steps that find nothing to do.
    ///
    /// # Errors
    /// When there is no chance to be had.
    pub fn idle() -> anyhow::Result<Self> {
        let ids = SystemIds::new(Arc::new(SystemClock))?;
        Ok(Self {
            disk: Arc::new(SimDisk::new(seed_from(&ids))),
            bundles: BundleCache::new(Arc::new(SimDisk::new(1)), 1 << 20),
            executor: Arc::new(Idle),
            drift: None,
        })
    }

    /// What the agent of a real host has: a disk, a sandbox whose shim is this program, providers.
    ///
    /// # Errors
    /// When the folder or the sandbox cannot be made.
    pub fn of_host(folder: &Path, number: usize, shim: &Path) -> anyhow::Result<Self> {
        let own = folder.join(format!("agent-{number}"));
        let disk = |name: &str| {
            let dir = own.join(name);
            fs::create_dir_all(&dir)?;
            RealDisk::open(&dir)
        };
        let sandbox = Sandbox::new(Config {
            shim: shim.to_owned(),
            ..Config::default()
        })?;
        let host = writ_providers::Host::new(Path::new("/"))?;
        Ok(Self {
            disk: Arc::new(disk("journal")?),
            bundles: BundleCache::new(Arc::new(disk("bundles")?), BUNDLES_BYTES),
            executor: Arc::new(HostExecutor::new(sandbox, host, Arc::new(SystemClock))),
            drift: None,
        })
    }
}

/// The program that the product's sandbox starts as its shim.
///
/// # Errors
/// When it is not built.
pub fn agent_program() -> anyhow::Result<PathBuf> {
    let wanted = Wanted {
        no_postgres: true,
        no_nats: true,
        ..Wanted::default()
    };
    Ok(Programs::find(&wanted)?.agent)
}

/// The name of the agent of a number, from 0.
pub fn name(number: usize) -> String {
    format!("bench-{number:05}")
}

/// Agents that run.
#[derive(Debug, Default)]
pub struct Fleet {
    witnesses: Vec<Arc<Witness>>,
}

/// Enrols agents and has them say hello; returns when the controller has heard every one.
///
/// # Errors
/// When one cannot be enrolled or is not heard.
pub fn start(bed: &Bed, count: usize, labels: Labels) -> anyhow::Result<Fleet> {
    start_with(bed, count, labels, |_| Kit::idle())
}

/// As [`start`], each agent with a kit of the bench's: asked for by its number.
///
/// # Errors
/// As [`start`].
pub fn start_with(
    bed: &Bed,
    count: usize,
    labels: Labels,
    kit: impl Fn(usize) -> anyhow::Result<Kit>,
) -> anyhow::Result<Fleet> {
    tell(&format!("enrolling {count} agents"));
    let identities = enrol(bed, count, labels)?;
    tell("connecting them");
    let (life, metrics) = (bed.lifecycle().handle(), AgentMetrics::new()?);
    // One file for all of them: an authority kept as text costs each connection a file of its own.
    let ca_file = bed.authority();
    let _inside = bed.runtime().enter();
    let mut fleet = Fleet::default();
    for (number, identity) in identities.into_iter().enumerate() {
        let (name, id) = (identity.card.name.clone(), identity.card.identity.agent_id);
        let witness = Arc::new(Witness::new(name, id.as_uuid()));
        fleet.witnesses.push(Arc::clone(&witness));
        let agent = open(
            (identity, kit(number)?),
            ca_file.clone(),
            witness,
            (life.clone(), metrics.clone()),
        );
        let agent = bed.block_on(agent)?;
        life.spawn_contained("bench.agent", async move {
            if let Err(error) = Box::pin(agent.run()).await {
                tell(&format!("an agent ended: {error}"));
            }
        });
        let started = fleet.witnesses.len();
        if started.is_multiple_of(ARRIVING / 4) {
            fleet.heard(bed, started.saturating_sub(ARRIVING), EVER)?;
        }
    }
    fleet.heard(bed, fleet.witnesses.len(), EVER)?;
    Ok(fleet)
}

impl Fleet {
    /// Waits until the controller has heard all of them since an instant; how long that took.
    ///
    /// # Errors
    /// When it does not within [`HEARING_PATIENCE`]: those that are not heard are named, with what became of them.
    pub fn all_heard(&self, bed: &Bed, since: &str) -> anyhow::Result<Duration> {
        self.heard(bed, self.witnesses.len(), since)
    }

    fn heard(&self, bed: &Bed, enough: usize, since: &str) -> anyhow::Result<Duration> {
        let enough = u64::try_from(enough)?;
        let heard = bed.until("agents that are heard", HEARING_PATIENCE, enough, |bed| {
            bed.count(HEARD_SINCE, since)
        });
        match heard {
            Err(error) if fault::exit(&error) == Exit::Failed => {
                Err(error.context(self.unheard(bed, since)?))
            }
            heard => heard,
        }
    }

    /// Those that the controller has not heard since an instant, in words.
    fn unheard(&self, bed: &Bed, since: &str) -> anyhow::Result<String> {
        let heard = bed.ids(
            "SELECT agent_id FROM agent_liveness WHERE seen_at > $1::text::timestamptz",
            since,
        )?;
        let unheard = self
            .witnesses
            .iter()
            .filter(|one| !heard.contains(&one.agent_id()));
        let lines: Vec<String> = unheard.map(|one| one.tell()).collect();
        let told = lines.iter().take(TOLD_MAX).map(|line| format!("\n  {line}"));
        let told: String = told.collect();
        Ok(format!(
            "{} agents are not heard, {}:{told}",
            lines.len(),
            files_told()
        ))
    }
}

/// Enrols agents as a host would, but for the way over the bus.
///
/// # Errors
/// When the desk refuses one.
pub fn enrol(bed: &Bed, count: usize, labels: Labels) -> anyhow::Result<Vec<Identity>> {
    let desk = bed.desk();
    let each = (0..count).map(|number| {
        let desk = Arc::clone(&desk);
        async move { enrol_one(&desk, number, labels(number)).await }
    });
    bed.block_on(stream::iter(each).buffered(ENROLLING).try_collect())
}

async fn enrol_one(desk: &App, number: usize, labels: BTreeMap<String, String>) -> anyhow::Result<Identity> {
    let name = name(number);
    let caller = Caller::new("bench".to_owned(), OperatorRole::Admin);
    let new = NewJoinToken {
        name: Some(name.clone()),
        labels,
        ttl: TOKEN_TTL,
    };
    let token = JoinToken::parse(&desk.create_join_token(&caller, new).await?.token)?;
    let (now, seed) = (SystemClock.now(), token.seed());
    let (nkey, artefact_key) = (NkeyPair::generate(NkeyKind::User)?, SigningKey::generate()?);
    let ids = SystemIds::new(Arc::new(SystemClock))?;
    let request = EnrolRequest {
        token_id: token.token_id,
        tenant: token.tenant.clone(),
        user_key: nkey.user_key()?,
        artefact_key: artefact_key.public(),
        journal_id: JournalId::from_uuid(ids.uuid()),
        machine: Digest::of(name.as_bytes()),
        hostname: name,
        facts: BTreeMap::new(),
        sent_at: now,
    };
    let (journal_id, machine) = (request.journal_id, request.machine);
    let envelope = sign_request(request, &seed, &artefact_key)?.to_json()?;
    let reply = desk.enrol(&seed.login().user_key()?, &envelope).await?;
    let (root, policy) = (reply.root.into_bytes(), reply.trust_policy.into_bytes());
    let keyring = Keyring::from_pinned(&root, &token.root, &policy, now)?;
    let word = keyring.open::<AgentKeys>(reply.agent_keys.as_bytes(), now)?;
    let keys = word.into_inner().predicate;
    let card = Card {
        identity: Name {
            tenant: keys.tenant,
            agent_id: keys.agent_id,
            user_key: keys.user_key,
        },
        name: keys.name,
        journal_id,
        machine,
        servers: token.servers.clone(),
        ca_pem: token.ca_pem.clone(),
        root: token.root,
        enrolled_at: now,
    };
    let login = Login::new(nkey, reply.user_jwt);
    Ok(Identity::in_memory(card, artefact_key, login, root, policy))
}

async fn open(
    (identity, kit): (Identity, Kit),
    ca_file: PathBuf,
    witness: Arc<Witness>,
    (lifecycle, metrics): (LifecycleHandle, AgentMetrics),
) -> anyhow::Result<Agent> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new(Arc::clone(&clock))?);
    let card = &identity.card;
    let place = Place {
        servers: card.servers.clone(),
        ca_pem: None,
        ca_file: Some(ca_file),
        tls_first: false,
        reconnect_window: Duration::from_secs(5),
        name: format!("writ-agent {}", card.name),
    };
    let (login, key) = (Arc::clone(&identity.login), card.identity.user_key.clone());
    let (transport, pump) = nats::open(place, login, &key, seed_from(ids.as_ref())).await?;
    let (to, incoming) = mpsc::channel(INCOMING_MAX);
    lifecycle.spawn_contained("bench.pump", pump.run(to));
    Journal::create(kit.disk.as_ref(), card.journal_id)?;
    let hostname = card.name.clone();
    let parts = Parts {
        identity,
        disk: kit.disk,
        bundles: kit.bundles,
        transport: Arc::new(Witnessed { transport, witness }),
        incoming,
        executor: kit.executor,
        clock,
        ids,
        lifecycle,
        metrics,
        options: Options {
            boot_id: "bench".to_owned(),
            hostname,
            drift: kit.drift,
            ..Options::default()
        },
    };
    Box::pin(Agent::open(parts)).await.context("opening an agent")
}

/// Plans one step and finds nothing to do.
#[derive(Debug)]
pub(super) struct Idle;

impl Executor for Idle {
    fn plan(&self, _order: &Order) -> Option<(String, Vec<StepPlan>)> {
        let step = StepPlan {
            id: "file:/nowhere".to_owned(),
            depends_on: Vec::new(),
            notify: Vec::new(),
            mode: StepMode::Idempotent,
            limits: Limits::default(),
            only_when_notified: false,
        };
        Some(("bench".to_owned(), vec![step]))
    }

    fn is_inline(&self) -> bool {
        true
    }

    fn observe(&self, job: &Job) -> Result<Seen, Failure> {
        Ok(Seen {
            digest: Digest::of(job.step.id.as_bytes()),
            changes: Vec::new(),
            usage: Usage::none(Meter::Agent),
        })
    }

    fn apply(&self, _job: &Job, _on_output: &mut OnOutput<'_>) -> Ran {
        Ran::nothing(SystemClock.now())
    }

    fn stop(&self, _order_id: OrderId, _hard: bool, _reason: &str) {}
}
