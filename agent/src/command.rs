//! What can be asked of the binary: `run`, `once`, `enroll`, `status`, `verify-journal`, `policy`,
//! `provider`, `check-config`.

mod once;
mod policy;
mod provider;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;
use writ_chassis::clock::{Clock, SystemClock};
use writ_chassis::ids::{IdSource, SystemIds, seed_from};
use writ_chassis::lifecycle::{Lifecycle, LifecycleHandle};
use writ_chassis::telemetry;
use writ_protocol::codec;
use writ_protocol::enrol::{JoinToken, TOKEN_BYTES_MAX};
use writ_protocol::id::JournalId;
use writ_protocol::time::Timestamp;
use writ_providers::Host as ProviderHost;
use writ_sandbox::{CgroupBase, Sandbox};

use crate::app::{Agent, AppError, Options, Parts};
use crate::config::AgentConfig;
use crate::egress::policy::Asker;
use crate::executor::bundles::BundleCache;
use crate::executor::host::HostExecutor;
use crate::identity::{Card, Enrolment, Host, Identity};
use crate::journal::Journal;
use crate::journal::disk::{Disk, RealDisk};
use crate::link::nats::{self, Place};
use crate::link::{Incoming, Transport};
use crate::metrics::AgentMetrics;
use crate::{drift, journal, machine};

/// Commands not yet fetched by the loop.
const INCOMING_MAX: usize = 64;
/// Time for the last words after the drain.
const GRACE: Duration = Duration::from_secs(15);

/// Any failure of a command, for people.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carry out orders until stopped.
    Run {
        /// The configuration file; defaults and WRIT_AGENT_ variables where there is none.
        #[arg(long, env = "WRIT_AGENT_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Carry out what the desk at standard input and output orders, until it goes; `writ run` starts this.
    Once(once::Once),
    /// Make keys on this host and ask to join with a token.
    Enroll {
        /// The file that holds the join token; - for standard input.
        #[arg(long)]
        token: String,
        /// The state directory.
        #[arg(long)]
        state: PathBuf,
        /// The host's name, where it is not the kernel's.
        #[arg(long)]
        name: Option<String>,
        /// The bus begins TLS before it speaks.
        #[arg(long)]
        tls_first: bool,
    },
    /// Say who this agent is and what its journal holds.
    Status {
        /// The state directory.
        #[arg(long)]
        state: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read the whole journal and say whether it is sound; changes nothing.
    VerifyJournal {
        /// The state directory.
        #[arg(long)]
        state: PathBuf,
    },
    /// Test the egress policy of this host.
    #[command(subcommand)]
    Policy(policy::Command),
    /// The built-in providers as a program of their own.
    #[command(subcommand)]
    Provider(provider::Command),
    /// Read the configuration and say what is wrong with it.
    CheckConfig {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
}

/// Runs a command.
///
/// # Errors
/// Whatever kept it from its end, with causes.
pub async fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Run { config } => serve(config.as_deref()).await,
        Command::Once(once) => once::serve(once).await,
        Command::Enroll {
            token,
            state,
            name,
            tls_first,
        } => enroll(&token, &state, name, tls_first).await,
        Command::Policy(command) => policy::run(&command),
        Command::Provider(command) => provider::run(&command),
        Command::Status { state, json } => status(&state, json),
        Command::VerifyJournal { state } => verify(&state),
        Command::CheckConfig { config } => {
            let loaded = AgentConfig::load(Some(&config))?;
            if let Some(path) = &loaded.egress.policy {
                say(&policy::described(path)?)?;
            }
            say(&format!(
                "{} is well; state lies in {}",
                config.display(),
                loaded.state_dir.display()
            ))
        }
    }
}

/// Says a failure on standard error.
pub fn complain(text: &str) {
    let _closed = writeln!(std::io::stderr(), "writ-agent: {text}");
}

fn say(text: &str) -> Result<(), Error> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

async fn serve(file: Option<&Path>) -> Result<(), Error> {
    let config = AgentConfig::load(file)?;
    telemetry::init(config.log)?;
    let lifecycle = Lifecycle::with_signals(config.drain() + GRACE)?;
    let agent = build(config, lifecycle.handle()).await?;
    tracing::info!("agent is up");
    live(agent, lifecycle).await
}

/// Runs an agent to its end, which is the end of the process.
async fn live(agent: Agent, lifecycle: Lifecycle) -> Result<(), Error> {
    let handle = lifecycle.handle();
    let until = handle.clone();
    handle.spawn("agent", async move {
        let outcome = Box::pin(agent.run()).await;
        until.stop();
        outcome
    });
    lifecycle.run().await?;
    Ok(())
}

/// An agent of this host from its configuration: its identity, its journal, its executor and its connection.
///
/// # Errors
/// What kept it from starting, with what to do.
pub async fn build(config: AgentConfig, lifecycle: LifecycleHandle) -> Result<Agent, Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new(Arc::clone(&clock))?);
    let identity = Identity::load(&config.identity_dir(), &machine::fingerprint())?;
    let card = &identity.card;
    let place = Place {
        servers: if config.bus.servers.is_empty() {
            card.servers.clone()
        } else {
            config.bus.servers.clone()
        },
        ca_pem: Some(card.ca_pem.clone()),
        ca_file: config.bus.ca_file.clone(),
        tls_first: config.bus.tls_first,
        reconnect_window: Duration::from_millis(config.bus.reconnect_window_ms.unwrap_or(5_000)),
        name: format!("writ-agent {}", card.name),
    };
    let login = Arc::clone(&identity.login);
    let (transport, pump) =
        nats::open(place, login, &card.identity.user_key, seed_from(ids.as_ref())).await?;
    let (to, incoming) = tokio::sync::mpsc::channel(INCOMING_MAX);
    // Ends with the agent, which drops the receiver: the bus stays up while the last words are said.
    lifecycle.spawn_contained("agent.pump", pump.run(to));
    let carrier = Carrier { transport, incoming };
    Box::pin(assemble(config, identity, carrier, (clock, ids), lifecycle)).await
}

/// What carries an agent's words.
struct Carrier {
    transport: Arc<dyn Transport>,
    incoming: tokio::sync::mpsc::Receiver<Incoming>,
}

/// An agent from its identity and whatever carries its words.
async fn assemble(
    config: AgentConfig,
    identity: Identity,
    carrier: Carrier,
    (clock, ids): (Arc<dyn Clock>, Arc<dyn IdSource>),
    lifecycle: LifecycleHandle,
) -> Result<Agent, Error> {
    let disk: Arc<dyn Disk> = Arc::new(open_disk(&config.journal_dir())?);
    let bundles: Arc<dyn Disk> = Arc::new(open_disk(&config.bundle_dir())?);
    let cgroup = match config.steps.cgroup.as_str() {
        "discover" => CgroupBase::Discover,
        "off" => CgroupBase::Off,
        base => CgroupBase::At(base.into()),
    };
    // Ends what an earlier life of this agent left running, before anything is taken up again.
    let sandbox = Sandbox::new(writ_sandbox::Config {
        cgroup,
        closed: vec![config.state_dir.clone()],
        ..writ_sandbox::Config::default()
    })?;
    if let Some(why) = sandbox.lacks_cgroups_because() {
        tracing::warn!(
            why,
            "steps get no cgroup: what daemonised processes use is a lower bound"
        );
    }
    let who = Asker {
        tenant: identity.card.identity.tenant.clone(),
        agent: identity.card.identity.agent_id.to_string(),
        agent_name: identity.card.name.clone(),
        ..Asker::default()
    };
    let executor = HostExecutor::new(sandbox, ProviderHost::new(Path::new("/"))?, Arc::clone(&clock))
        .knowing(machine::known)
        .keeping(config.program_dir())
        .guarded(policy::guard(config.egress.policy.as_deref()), who);
    let options = Options {
        journal: config.journal,
        hello_interval: config.hello_interval_ms.map(Duration::from_millis),
        environment: config.environment.clone(),
        drain: config.drain(),
        metrics_file: config.metrics_file.clone(),
        hostname: machine::hostname(),
        boot_id: machine::boot_id(),
        drift: config.drift.enabled.then(|| drift::Settings {
            interval: Duration::from_secs(config.drift.interval_seconds),
            events: config.drift.events,
        }),
    };
    let parts = Parts {
        identity,
        disk,
        bundles: BundleCache::new(bundles, config.steps.bundle_cache_bytes),
        transport: carrier.transport,
        incoming: carrier.incoming,
        executor: Arc::new(executor),
        clock,
        ids,
        lifecycle,
        metrics: AgentMetrics::new()?,
        options,
    };
    Ok(Box::pin(Agent::open(parts)).await.map_err(explain)?)
}

fn explain(error: AppError) -> AppError {
    tracing::error!(error = %crate::intake::chain(&error), "the agent cannot start");
    error
}

fn open_disk(dir: &Path) -> Result<RealDisk, Error> {
    RealDisk::open(dir).map_err(|source| {
        let why = match source.kind() {
            std::io::ErrorKind::WouldBlock => "another agent is running on it".to_owned(),
            _ => source.to_string(),
        };
        format!("cannot use {}: {why}", dir.display()).into()
    })
}

async fn enroll(token: &str, state: &Path, name: Option<String>, tls_first: bool) -> Result<(), Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = SystemIds::new(Arc::clone(&clock))?;
    let token = JoinToken::parse(&read_token(token)?)?;
    let begun = Joining::begin(token.clone(), state, name, (clock.as_ref(), &ids))?;
    let answer = nats::ask_to_enrol(&token, tls_first, begun.request.clone(), seed_from(&ids)).await?;
    let card = begun.finish(&answer, clock.now())?;
    say(&format!(
        "enrolled as {} ({}) in tenant {}",
        card.name, card.identity.agent_id, card.identity.tenant
    ))
}

/// A host on its way to become an agent: its keys are made, and its request waits for an answer.
struct Joining {
    enrolment: Enrolment,
    request: Vec<u8>,
    journal_id: JournalId,
    journal: RealDisk,
    identity_dir: PathBuf,
}

impl Joining {
    /// Makes keys and the request, where the state directory holds neither an identity nor somebody's journal.
    fn begin(
        token: JoinToken,
        state: &Path,
        name: Option<String>,
        (clock, ids): (&dyn Clock, &dyn IdSource),
    ) -> Result<Self, Error> {
        let identity_dir = state.join("identity");
        if identity_dir.exists() {
            return Err(crate::identity::IdentityError::AlreadyEnrolled {
                dir: identity_dir.display().to_string(),
            }
            .into());
        }
        std::fs::create_dir_all(state)?;
        let journal = open_disk(&state.join("journal"))?;
        if journal
            .list()?
            .iter()
            .any(|file| journal::segment::index_of(file).is_some())
        {
            let code = writ_protocol::reason::Code::JournalForeign;
            let dir = state.join("journal");
            return Err(format!(
                "{code}: {} holds the journal of another identity; move it away first",
                dir.display()
            )
            .into());
        }
        let journal_id = JournalId::from_uuid(ids.uuid());
        let host = Host {
            machine: machine::fingerprint(),
            hostname: name.unwrap_or_else(machine::hostname),
            facts: machine::facts(),
        };
        let enrolment = Enrolment::begin(token, host, journal_id, clock.now())?;
        Ok(Self {
            request: enrolment.request(clock.now())?,
            enrolment,
            journal_id,
            journal,
            identity_dir,
        })
    }

    /// Checks the answer and becomes an agent.
    fn finish(self, answer: &[u8], now: Timestamp) -> Result<Card, Error> {
        // Before the identity appears: with an identity, a journal that is missing is a loss.
        Journal::create(&self.journal, self.journal_id)?;
        Ok(self.enrolment.finish(answer, &self.identity_dir, now)?)
    }
}

fn read_token(from: &str) -> Result<String, Error> {
    if from != "-" {
        let limit = u64::try_from(TOKEN_BYTES_MAX)?;
        return Ok(writ_chassis::config::read_bounded(Path::new(from), limit)?
            .trim()
            .to_owned());
    }
    let mut text = String::new();
    std::io::stdin()
        .take(u64::try_from(TOKEN_BYTES_MAX)? + 1)
        .read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// What `status` says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    agent_id: String,
    name: String,
    tenant: String,
    user_key: String,
    enrolled_at: String,
    is_this_machine: bool,
    credentials_until: Option<String>,
    journal: journal::inspect::Inspection,
}

fn status(state: &Path, json: bool) -> Result<(), Error> {
    let dir = state.join("identity");
    if !dir.exists() {
        return Err(crate::identity::IdentityError::NotEnrolled {
            dir: dir.display().to_string(),
        }
        .into());
    }
    let card = Identity::card(&dir)?;
    let jwt = writ_chassis::config::read_bounded(&dir.join("bus.jwt"), 1 << 20).unwrap_or_default();
    let status = Status {
        agent_id: card.identity.agent_id.to_string(),
        name: card.name.clone(),
        tenant: card.identity.tenant.clone(),
        user_key: card.identity.user_key.to_string(),
        enrolled_at: card.enrolled_at.to_string(),
        is_this_machine: card.machine == machine::fingerprint(),
        credentials_until: writ_protocol::nats::claims::expiry(&jwt).map(|at| at.to_string()),
        journal: journal::inspect::inspect(&state.join("journal"))?,
    };
    if json {
        return say(&String::from_utf8(codec::to_json("status", &status)?)?);
    }
    let journal = &status.journal;
    say(&format!("agent        {} ({})", status.name, status.agent_id))?;
    say(&format!("tenant       {}", status.tenant))?;
    say(&format!(
        "enrolled     {}{}",
        status.enrolled_at,
        if status.is_this_machine {
            ""
        } else {
            ", on ANOTHER machine"
        }
    ))?;
    say(&format!(
        "credentials  until {}",
        status.credentials_until.as_deref().unwrap_or("further notice")
    ))?;
    say(&format!(
        "journal      {}, {} records, {} of them acknowledged",
        journal.journal_id, journal.records, journal.acknowledged
    ))?;
    say(&format!(
        "orders       {} done, {} open",
        journal.orders_done, journal.orders_open
    ))?;
    say(&format!("condition    {}", journal.condition))
}

fn verify(state: &Path) -> Result<(), Error> {
    let seen = journal::inspect::inspect(&state.join("journal"))?;
    if seen.is_sound {
        return say(&format!(
            "sound: {} records in journal {}, chain ends in {}",
            seen.records, seen.journal_id, seen.chain
        ));
    }
    Err(format!("journal {}: {}", seen.journal_id, seen.condition).into())
}
