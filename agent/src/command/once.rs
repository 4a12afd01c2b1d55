//! `writ-agent once`: an agent for as long as somebody sits at the other end of a pipe. The same intake, rules, journal, executor and evidence as
//! on the bus; only the carrier of the words differs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;
use writ_chassis::clock::{Clock, SystemClock};
use writ_chassis::ids::{IdSource, SystemIds};
use writ_chassis::lifecycle::{Lifecycle, LifecycleHandle};
use writ_chassis::telemetry::{self, LogConfig, LogFormat, LogLevel};
use writ_protocol::enrol::JoinToken;
use writ_protocol::subject;
use writ_protocol::time::Timestamp;
use writ_protocol::trust::{Keyring, TrustError};

use super::{Carrier, Error, GRACE, INCOMING_MAX, Joining, assemble, live};
use crate::app::Agent;
use crate::config::AgentConfig;
use crate::identity::Identity;
use crate::link::pipe::{self, PipeTransport, Welcome};
use crate::link::{RPC_WAIT, Transport as _};
use crate::machine;

/// Seconds that a stop waits for the running step: somebody sits there and waits.
const DRAIN_SECONDS: u64 = 5;
/// Length of a segment of the journal: the last one stays, and is read again by the next run.
const SEGMENT_BYTES: u64 = 1 << 20;

/// Where, and as whom.
#[derive(Debug, Args)]
pub struct Once {
    /// The state directory.
    #[arg(long)]
    state: PathBuf,
    /// The host's name, where it is not the kernel's.
    #[arg(long)]
    name: Option<String>,
    /// A cgroup version 2 directory for steps, `discover` or `off`.
    #[arg(long, default_value = "discover")]
    cgroup: String,
    /// End when the desk says nothing for so many seconds; 0 for a desk whose end is seen at once.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    silence: u64,
}

pub(super) async fn serve(once: Once) -> Result<(), Error> {
    // Standard output is the pipe; what is said to people goes to standard error, and only what they must know.
    telemetry::init(LogConfig {
        format: LogFormat::Text,
        level: LogLevel::Warn,
    })?;
    let mut config = AgentConfig {
        state_dir: std::path::absolute(&once.state)?,
        drain_seconds: DRAIN_SECONDS,
        ..AgentConfig::default()
    };
    config.steps.cgroup = once.cgroup;
    // What was carried out here is nobody's to watch: the desk goes, and the agent with it.
    config.drift.enabled = false;
    // Every start reads the journal whole, and here each run is a start: what the desk has acknowledged is on its disk, in the state that this
    // one lies in, and nobody asks for it once more. Its bundles are there as well.
    config.journal.retain_bytes = 0;
    config.journal.retain_hours = 0;
    config.journal.segment_bytes = SEGMENT_BYTES;
    config.steps.bundle_cache_bytes = 0;
    config.validate()?;
    let lifecycle = Lifecycle::with_signals(config.drain() + GRACE)?;
    let agent = Box::pin(open(config, (once.name, once.silence), lifecycle.handle())).await?;
    live(agent, lifecycle).await
}

async fn open(
    config: AgentConfig,
    (name, silence): (Option<String>, u64),
    lifecycle: LifecycleHandle,
) -> Result<Agent, Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new(Arc::clone(&clock))?);
    let (transport, pump, writer, welcome) = pipe::open(tokio::io::stdin(), tokio::io::stdout()).await?;
    let pump = match silence {
        0 => pump,
        seconds => pump.quiet_for(Duration::from_secs(seconds)),
    };
    let (to, incoming) = mpsc::channel(INCOMING_MAX);
    lifecycle.spawn_contained("agent.words", writer.run());
    let until = lifecycle.clone();
    lifecycle.spawn_contained("agent.pump", async move {
        pump.run(to).await;
        // Nobody is left who could order anything, or take what happened.
        until.stop();
    });
    if !config.identity_dir().exists() {
        let token = JoinToken::parse(&welcome.token)?;
        let key = token.seed().login().user_key()?;
        let begun = Joining::begin(token, &config.state_dir, name, (clock.as_ref(), ids.as_ref()))?;
        let answer = ask(&transport, subject::enrol(&key), &begun.request).await?;
        begun.finish(&answer, clock.now())?;
    }
    let mut identity = Identity::load(&config.identity_dir(), &machine::fingerprint())?;
    take_policy(&mut identity, &welcome, clock.now())?;
    let carrier = Carrier { transport, incoming };
    Box::pin(assemble(config, identity, carrier, (clock, ids), lifecycle)).await
}

async fn ask(transport: &Arc<PipeTransport>, subject: String, request: &[u8]) -> Result<Vec<u8>, Error> {
    let reply = transport
        .request(subject, request.to_vec().into(), RPC_WAIT)
        .await?;
    match reply.refusal {
        None => Ok(reply.payload.to_vec()),
        Some(code) => Err(format!("{code}: the desk does not enrol this host").into()),
    }
}

/// Keeps the policy that the desk has, where the pinned root signed it and it is no older than the one known.
fn take_policy(identity: &mut Identity, welcome: &Welcome, now: Timestamp) -> Result<(), Error> {
    let offered = welcome.policy.as_bytes();
    if offered.is_empty() || offered == identity.trust_policy {
        return Ok(());
    }
    let pinned = |policy: &[u8]| Keyring::from_pinned(&identity.root, &identity.card.root, policy, now);
    match pinned(&identity.trust_policy) {
        Ok(known) => known.with_policy(offered, now)?,
        // One whose days are over says no more about what may follow it.
        Err(TrustError::NotValidNow { .. }) => pinned(offered)?,
        Err(error) => return Err(error.into()),
    };
    identity.keep_policy(offered)?;
    identity.trust_policy = offered.to_vec();
    Ok(())
}
