//! Wiring: one task owns the rules' state, hears everything, and carries effects out in order. Requests run beside it and report back, so
//! that nothing ever waits inside the loop but the journal.

mod ahead;
mod carry;
mod door;
mod drift;
mod meter;
mod post;
mod renewal;
mod start;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use writ_chassis::backoff::{Backoff, BackoffPolicy};
use writ_chassis::clock::{self, BootInstant, Clock};
use writ_chassis::ids::{IdSource, named_rng, seed_from};
use writ_chassis::lifecycle::{BlockingError, LifecycleHandle};
use writ_protocol::bundle::Bundle;
use writ_protocol::id::{OrderId, SessionId};
use writ_protocol::manifest::Generation;
use writ_protocol::record::{Difference, OrderOutcome};
use writ_protocol::trace::TraceContext;

use crate::core::{AgentCore, Failure, Input, Now};
use crate::drift::Noticed;
use crate::executor::Executor;
use crate::executor::bundles::BundleCache;
use crate::identity::Identity;
use crate::intake::Asked;
use crate::journal::disk::Disk;
use crate::journal::{Journal, JournalError};
use crate::link::{Incoming, Link, LinkError, Transport};
use crate::metrics::AgentMetrics;
use crate::trust::Trust;
use crate::uplink::Uplink;

/// Reports of requests and steps waiting for the loop; whoever reports waits for room.
const EVENTS_MAX: usize = 64;
/// Inputs taken together before the journal is flushed.
const GATHER_MAX: usize = 32;
/// A wake-up during a read is answered by another read after at most this.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Longest wait, at a stop, for the bus to take everything.
const FAREWELL: Duration = Duration::from_secs(3);
/// Shortest wait between hellos that ask for a lease.
const LEASE_HELLO_MIN: Duration = Duration::from_secs(1);
/// Shortest time between hellos that hints cause: a flood of them is not a flood of hellos.
const HINTED_HELLO_MIN: Duration = Duration::from_secs(5);
/// Over how much the hellos of a fleet that is given hints at once are spread.
const HINT_SPREAD: Duration = Duration::from_millis(250);
/// After this a look is told of once more that the ledger does not have yet.
const RETELL: Duration = Duration::from_secs(1);
/// After a pause this long in sending, what comes first goes almost at once: somebody waits for the acceptance of an order.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the first records after a pause wait for company.
const FIRST_LINGER: Duration = Duration::from_millis(2);
/// Waits after a failed request.
const RETRY: BackoffPolicy = BackoffPolicy::new(Duration::from_millis(500), Duration::from_secs(15));

/// Why an agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The journal. The process must end and recover from disk.
    #[error("the journal failed")]
    Journal(#[from] JournalError),
    /// The pinned root or the trust policy.
    #[error("the trust that enrolment brought does not verify; enrol again")]
    Trust(#[from] writ_protocol::trust::TrustError),
    /// A thread for blocking work.
    #[error("blocking work was lost")]
    Blocking(#[from] BlockingError),
    /// A statement of our own cannot be made.
    #[error("a statement cannot be signed")]
    Statement(#[from] writ_protocol::statement::StatementError),
    /// The ledger has records that this journal lost.
    #[error("the ledger has records that this journal lost; it is set aside at the next start")]
    Condemned,
    /// A disk beside the journal.
    #[error("the state directory cannot be used")]
    Disk(#[from] std::io::Error),
}

/// How this agent behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Bounds of the journal.
    pub journal: crate::config::JournalConfig,
    /// Between hellos, instead of what the controller says.
    pub hello_interval: Option<Duration>,
    /// The host's environment.
    pub environment: Option<String>,
    /// How long a stop waits for the running step.
    pub drain: Duration,
    /// Where metrics are written.
    pub metrics_file: Option<PathBuf>,
    /// The host's name in statements.
    pub hostname: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// How the host is held to the plans that were applied here; not at all where absent.
    pub drift: Option<crate::drift::Settings>,
}

/// What an agent is made of. Swarms bring a disk in memory, an inline executor and a transport of their own.
#[derive(Debug)]
pub struct Parts {
    /// Who it is.
    pub identity: Identity,
    /// Where its journal lies.
    pub disk: Arc<dyn Disk>,
    /// Bundles kept.
    pub bundles: BundleCache,
    /// The bus.
    pub transport: Arc<dyn Transport>,
    /// What comes from the bus unasked.
    pub incoming: mpsc::Receiver<Incoming>,
    /// Carries steps out.
    pub executor: Arc<dyn Executor>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids and chance.
    pub ids: Arc<dyn IdSource>,
    /// Spawns.
    pub lifecycle: LifecycleHandle,
    /// Numbers.
    pub metrics: AgentMetrics,
    /// Behaviour.
    pub options: Options,
}

/// A running agent; one task.
#[derive(Debug)]
pub struct Agent {
    me: Arc<Identity>,
    core: AgentCore,
    trust: Trust,
    journal: Arc<Mutex<Journal>>,
    uplink: Uplink,
    link: Link,
    executor: Arc<dyn Executor>,
    bundles: BundleCache,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    lifecycle: LifecycleHandle,
    metrics: AgentMetrics,
    options: Options,
    session_id: SessionId,
    incoming: mpsc::Receiver<Incoming>,
    events: mpsc::Receiver<Event>,
    report: mpsc::Sender<Event>,
    work: Work,
    drift: Option<Box<drift::Watch>>,
    timers: Timers,
    is_connected: bool,
    is_in_memory: bool,
}

/// Orders under way.
#[derive(Debug, Default)]
struct Work {
    bundles: BTreeMap<OrderId, Arc<Bundle>>,
    first_seq: BTreeMap<OrderId, u64>,
    /// What logs name beside the order: nobody signed it. Only of orders that the last manifest listed.
    traces: BTreeMap<OrderId, TraceContext>,
    /// What was seen of steps before they were asked for.
    ahead: Option<ahead::Looks>,
    /// The journal's memory is to be kept when nothing more urgent is to be done.
    owes_memory: bool,
}

/// When to do what, and what is under way.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says that one kind of request is under way"
)]
struct Timers {
    hello_at: BootInstant,
    /// When the ledger is asked to renew leases; none while no order is held.
    lease_at: Option<BootInstant>,
    hello_interval: Duration,
    is_greeting: bool,
    hello_again: bool,
    /// When a hello is due because of a hint, and when the last one was said.
    hinted_at: Option<BootInstant>,
    hint_taken: Option<BootInstant>,
    hello_retry: Backoff,
    read_at: Option<BootInstant>,
    is_reading: bool,
    read_again: bool,
    wanted: Generation,
    tries: u32,
    read_retry: Backoff,
    send_at: Option<BootInstant>,
    sent_at: BootInstant,
    send_retry: Backoff,
    renew_at: Option<BootInstant>,
    is_renewing: bool,
    renew_retry: Backoff,
    expires_at: Option<BootInstant>,
    /// When what the step under way uses is looked at next; none while nothing runs.
    meter_at: Option<BootInstant>,
}

/// What a request or a step reports.
#[derive(Debug)]
enum Event {
    Input(Input),
    /// What was read, and whether it was asked of the ledger instead of the bus.
    Manifest {
        from_ledger: bool,
        read: Result<Option<Bytes>, LinkError>,
    },
    Hello(Asked, Result<Bytes, LinkError>),
    Renewed(Result<Bytes, LinkError>),
    Batch {
        first: u64,
        last: u64,
        taken: bool,
    },
    Bundle(OrderId, Result<Box<Bundle>, Failure>),
    /// A step was looked at, and with it some that follow.
    Observed(ahead::Looks),
    /// A step was carried out, and what follows it was looked at.
    Applied(Input, ahead::Looks),
    /// Plans that are wanted on this host since before the start.
    Loaded(Vec<drift::Loaded>),
    Noticed(Noticed),
    Looked {
        turn: u64,
        found: Vec<(usize, Option<Difference>)>,
    },
}

impl Agent {
    /// The agent's core state, for those who watch.
    pub const fn core(&self) -> &AgentCore {
        &self.core
    }

    /// Both clocks.
    fn now(&self) -> Now {
        Now {
            wall: self.clock.now(),
            boot: self.clock.boot(),
        }
    }

    /// Works until the process stops: then the running step is waited for, and what is owed is sent as far as there is somebody to take it.
    ///
    /// # Errors
    /// [`AppError`]: the process must end.
    pub async fn run(mut self) -> Result<(), AppError> {
        while !self.lifecycle.is_stopping() {
            self.turn().await?;
        }
        self.drain().await
    }

    /// Waits for one thing to happen and deals with it, and with what happened meanwhile.
    async fn turn(&mut self) -> Result<(), AppError> {
        let deadline = self.deadline();
        let clock = Arc::clone(&self.clock);
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => self.hear_events(event).await?,
            Some(incoming) = self.incoming.recv() => self.hear(incoming).await?,
            () = self.lifecycle.stopping() => {}
            () = clock::sleep_until(clock.as_ref(), deadline) => self.feed(vec![Input::Tick]).await?,
        }
        self.meter().await?;
        self.attend().await
    }

    /// The earliest moment at which something is due.
    fn deadline(&self) -> BootInstant {
        let now = self.now();
        let timers = &self.timers;
        let hello = (self.is_connected && !timers.is_greeting).then(|| timers.hello_due());
        let send = timers.send_at.filter(|_| self.is_connected);
        let resend = self
            .uplink
            .resend_at()
            .filter(|_| self.is_connected && timers.send_at.is_none());
        let renew = timers
            .renew_at
            .filter(|_| self.is_connected && !timers.is_renewing);
        let read = timers.read_at.filter(|_| self.is_connected && !timers.is_reading);
        let due = [
            hello,
            send,
            resend,
            renew,
            timers.expires_at,
            read,
            self.core.deadline(now),
            timers.meter_at,
            // Nobody looks any more while the process ends: a time that has come and stays would wake the loop again and again.
            self.drift
                .as_ref()
                .filter(|_| !self.lifecycle.is_stopping())
                .and_then(|drift| drift.deadline()),
        ];
        due.into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| now.boot.plus(Duration::from_secs(3_600)))
    }

    async fn hear_events(&mut self, first: Event) -> Result<(), AppError> {
        let mut inputs = Vec::new();
        let mut next = Some(first);
        while let Some(event) = next {
            self.note(event, &mut inputs).await?;
            next = if inputs.len() < GATHER_MAX {
                self.events.try_recv().ok()
            } else {
                None
            };
        }
        self.feed(inputs).await
    }

    /// Gives inputs to the rules and carries out what they ask for.
    async fn feed(&mut self, inputs: Vec<Input>) -> Result<(), AppError> {
        let (mut inputs, mut effects) = (VecDeque::from(inputs), Vec::new());
        while let Some(input) = inputs.pop_front() {
            let now = self.now();
            let asked = self.core.apply(input, now);
            ahead::answer(&mut self.work.ahead, asked, &mut inputs, &mut effects);
        }
        self.work.ahead = None;
        let (now, before) = (self.clock.boot(), self.timers.lease_at);
        self.timers.lease_at = self.core.lease_until().map(|until| {
            // Asked at half of what is left, so that one lost answer costs no lease.
            let half = now.plus((until.since(now) / 2).max(LEASE_HELLO_MIN));
            before.map_or(half, |at| at.min(half))
        });
        // What changes the host begins in there, and what it left is looked at afterwards.
        let is_held = self.core.is_changing();
        if is_held {
            self.hold_watch(true);
        }
        self.carry(effects).await?;
        if !is_held {
            self.hold_watch(false);
        }
        Ok(())
    }

    /// Runs `work` on the journal: on a blocking thread, unless its disk is in memory.
    async fn with_journal<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut Journal) -> T + Send + 'static,
    ) -> Result<T, AppError> {
        let journal = Arc::clone(&self.journal);
        let locked = move || work(&mut journal.lock().unwrap_or_else(PoisonError::into_inner));
        if self.is_in_memory {
            return Ok(locked());
        }
        Ok(self.lifecycle.run_blocking(name, locked).await?)
    }

    async fn drain(mut self) -> Result<(), AppError> {
        self.feed(vec![Input::Drain]).await?;
        let give_up = self.now().boot.plus(self.options.drain);
        while !self.core.is_idle() && self.now().boot < give_up {
            self.wind_down(give_up).await?;
        }
        if let Some(order_id) = self.core.running() {
            self.executor
                .stop(order_id, true, "the agent stops and its patience is over");
            let give_up = self.now().boot.plus(FAREWELL);
            while !self.core.is_idle() && self.now().boot < give_up {
                self.wind_down(give_up).await?;
            }
        }
        self.greet().await?;
        let give_up = self.now().boot.plus(FAREWELL);
        while self.is_connected && !self.uplink.is_handed_over() && self.now().boot < give_up {
            if let Some(at) = self.uplink.due(self.clock.boot()) {
                self.timers.send_at.get_or_insert(at);
            }
            self.wind_down(give_up).await?;
        }
        self.with_journal("journal.close", Journal::close).await??;
        Ok(())
    }

    async fn wind_down(&mut self, give_up: BootInstant) -> Result<(), AppError> {
        let deadline = self.deadline().min(give_up);
        let clock = Arc::clone(&self.clock);
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => self.hear_events(event).await?,
            Some(incoming) = self.incoming.recv() => self.hear(incoming).await?,
            () = clock::sleep_until(clock.as_ref(), deadline) => self.feed(vec![Input::Tick]).await?,
        }
        self.meter().await?;
        self.attend().await
    }

    /// A wait drawn evenly from zero to `longest`.
    fn spread(&self, longest: Duration) -> Duration {
        let mut drawn = [0; 2];
        self.ids.random(&mut drawn);
        longest.mul_f64(f64::from(u16::from_le_bytes(drawn)) / f64::from(u16::MAX))
    }
}

impl Timers {
    /// When the next hello is due: by the clock, before a lease runs out, or after a hint.
    fn hello_due(&self) -> BootInstant {
        let sooner = self.lease_at.into_iter().chain(self.hinted_at);
        sooner.fold(self.hello_at, BootInstant::min)
    }

    fn new(now: BootInstant, ids: &dyn IdSource) -> Self {
        let retry = |name| Backoff::new(RETRY, named_rng(seed_from(ids), name));
        Self {
            hello_at: now,
            lease_at: None,
            hello_interval: writ_protocol::limits::HELLO_INTERVAL,
            is_greeting: false,
            hello_again: false,
            hinted_at: None,
            hint_taken: None,
            hello_retry: retry("agent.hello"),
            read_at: None,
            is_reading: false,
            read_again: false,
            wanted: Generation::default(),
            tries: 0,
            read_retry: retry("agent.read"),
            send_at: None,
            sent_at: BootInstant::default(),
            send_retry: retry("agent.send"),
            renew_at: None,
            is_renewing: false,
            renew_retry: Backoff::new(renewal::RETRY, named_rng(seed_from(ids), "agent.renew")),
            expires_at: None,
            meter_at: None,
        }
    }
}

/// How an order's end is logged.
fn outcome_name(outcome: OrderOutcome) -> &'static str {
    outcome.name()
}

#[cfg(test)]
mod tests;
