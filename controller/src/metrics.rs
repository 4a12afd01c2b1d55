//! Every number that a controller shows, declared in one place. Labels come from closed sets; `docs/metrics.md` is
//! written from what is declared, and rules and dashboards are held to it (`tests/src/observability`).

mod alerts;
mod budgets;
mod clock;
mod drift;
mod incidents;
mod leases;
mod orders;
mod remediations;
mod schedules;
mod shards;
mod slos;
mod traces;
mod triggers;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use writ_chassis::metrics::{Catalogue, Metrics, MetricsError};
use writ_protocol::subject::{Rpc, Shard};

pub use alerts::AlertMetrics;
pub use budgets::{BudgetMetrics, BudgetSums};
pub use clock::ClockMetrics;
pub use drift::DriftMetrics;
pub use incidents::IncidentMetrics;
pub use leases::LeaseMetrics;
pub use orders::OrderMetrics;
pub use remediations::RemediationMetrics;
pub use schedules::{ScheduleCounts, ScheduleMetrics};
pub use shards::ShardMetrics;
pub use slos::SloMetrics;
pub use traces::{SpanLoss, TraceMetrics};
pub use triggers::{TriggerCounts, TriggerMetrics};

/// Upper bounds of durations, seconds.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// A request that is no [`Rpc`]: it comes from whoever holds a join token.
const ENROL: &str = "enrol";

/// What happened to an event batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFate {
    /// The ledger took it, or had it.
    Taken,
    /// It could not be taken even alone and stands among the dead letters.
    SetAside,
    /// It named no agent of its shard and was dropped.
    Strange,
    /// Its shard is another controller's by now; it was given back.
    Unheld,
}

impl BatchFate {
    const ALL: [Self; 4] = [Self::Taken, Self::SetAside, Self::Strange, Self::Unheld];

    const fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::SetAside => "set_aside",
            Self::Strange => "strange",
            Self::Unheld => "unheld",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As asked.
    Fine,
    /// The asker's fault.
    Refused,
    /// Ours.
    Failed,
}

impl Answer {
    const ALL: [Self; 3] = [Self::Fine, Self::Refused, Self::Failed];

    const fn label(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// By the status of an HTTP answer.
    pub const fn of_status(status: u16) -> Self {
        match status {
            ..400 => Self::Fine,
            400..500 => Self::Refused,
            500.. => Self::Failed,
        }
    }
}

/// The controller's numbers. Cheap to clone: every clone counts into the same.
#[derive(Clone, Debug)]
pub struct ControllerMetrics {
    registry: Metrics,
    /// Manifests that the bus acknowledged.
    pub manifests_published: IntCounter,
    /// Manifests that it did not take; they stay dirty.
    pub manifests_failed: IntCounter,
    /// Bundles put on the bus.
    pub bundles_published: IntCounter,
    batches: IntCounterVec,
    /// How long the ledger took for one round of ingest.
    pub ingest_seconds: Histogram,
    requests: IntCounterVec,
    http: IntCounterVec,
    /// How long an HTTP request took until its answer began.
    pub http_seconds: Histogram,
    /// What waits, shard by shard.
    pub shards: ShardMetrics,
    /// What budgets hold.
    pub budgets: BudgetMetrics,
    /// What nobody has closed.
    pub incidents: IncidentMetrics,
    /// Where hosts are not as they should be.
    pub drift: DriftMetrics,
    /// What became of notifications.
    pub alerts: AlertMetrics,
    /// What became of remediations.
    pub remediations: RemediationMetrics,
    /// What became of the times of schedules.
    pub schedules: ScheduleMetrics,
    /// What alerts of other programs led to.
    pub triggers: TriggerMetrics,
    /// What promises are about.
    pub slos: SloMetrics,
    /// What became of spans.
    pub traces: TraceMetrics,
    /// What controllers share among them.
    pub leases: LeaseMetrics,
    /// How far this machine's clock is from the ledger's.
    pub clock: ClockMetrics,
    /// Agents whose manifest on the bus was behind the ledger when reconciled.
    pub bus_diverged: IntCounter,
    /// Removed agents that the bus was told to refuse.
    pub agents_revoked: IntCounter,
    /// Streams that were missing and were made.
    pub streams_made: IntCounter,
    /// Values of streams and consumers that are not as declared.
    pub bus_drift: IntGauge,
    /// What became of orders without a word of their agents.
    pub orders: OrderMetrics,
    /// Alarms that were kept long enough.
    pub alarms_forgotten: IntCounter,
    /// Dead letters that were kept long enough.
    pub dead_letters_forgotten: IntCounter,
    /// Rounds of a background task that failed and are tried again.
    pub rounds_failed: IntCounter,
    /// Open streams of changes.
    pub streams_open: IntGauge,
}

impl ControllerMetrics {
    /// Declares all of them.
    ///
    /// # Errors
    /// [`MetricsError`] when a name breaks the house form.
    pub fn new() -> Result<Self, MetricsError> {
        let m = labelled(Metrics::new("controller")?);
        Ok(Self {
            manifests_published: m.counter(
                "manifests_published_total",
                "Manifests that the bus acknowledged.",
            )?,
            manifests_failed: m.counter(
                "manifests_failed_total",
                "Manifests that the bus did not take; they stay dirty.",
            )?,
            bundles_published: m.counter("bundles_published_total", "Bundles put on the bus.")?,
            batches: m.counters(
                "event_batches_total",
                "Event batches by what became of them.",
                &["fate"],
            )?,
            ingest_seconds: m.histogram("ingest_seconds", "Duration of a round of ingest.", SECONDS)?,
            requests: m.counters(
                "bus_requests_total",
                "Requests of agents by kind and answer.",
                &["request", "answer"],
            )?,
            http: m.counters("http_requests_total", "HTTP requests by answer.", &["answer"])?,
            http_seconds: http_seconds(&m)?,
            shards: ShardMetrics::new(&m)?,
            budgets: BudgetMetrics::new(&m)?,
            incidents: IncidentMetrics::new(&m)?,
            drift: DriftMetrics::new(&m)?,
            alerts: AlertMetrics::new(&m)?,
            remediations: RemediationMetrics::new(&m)?,
            schedules: ScheduleMetrics::new(&m)?,
            triggers: TriggerMetrics::new(&m)?,
            slos: SloMetrics::new(&m)?,
            traces: TraceMetrics::new(&m)?,
            leases: LeaseMetrics::new(&m)?,
            clock: ClockMetrics::new(&m)?,
            bus_diverged: m.counter(
                "bus_diverged_total",
                "Agents whose manifest on the bus was behind the ledger.",
            )?,
            agents_revoked: m.counter(
                "agents_revoked_total",
                "Removed agents that the bus was told to refuse.",
            )?,
            streams_made: m.counter("streams_made_total", "Streams that were missing and were made.")?,
            bus_drift: m.gauge(
                "bus_drift_count",
                "Values of streams and consumers that are not as declared.",
            )?,
            orders: OrderMetrics::new(&m)?,
            alarms_forgotten: m.counter("alarms_forgotten_total", "Alarms that were kept long enough.")?,
            dead_letters_forgotten: m
                .counter("dead_letters_forgotten_total", "Dead letters kept long enough.")?,
            rounds_failed: m.counter(
                "rounds_failed_total",
                "Rounds of background tasks that failed and are tried again.",
            )?,
            streams_open: m.gauge("feed_streams_open_count", "Open streams of changes.")?,
            registry: m,
        })
    }

    /// Counts event batches.
    pub fn batches(&self, fate: BatchFate, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.batches.with_label_values(&[fate.label()]).inc_by(count);
    }

    /// Counts a request that came over the bus; `request` is the token of an [`writ_protocol::subject::Rpc`], or `enrol`.
    pub fn request(&self, request: &'static str, answer: Answer) {
        self.requests.with_label_values(&[request, answer.label()]).inc();
    }

    /// Counts an HTTP request.
    pub fn http(&self, answer: Answer) {
        self.http.with_label_values(&[answer.label()]).inc();
    }

    /// What is declared here, for pages, rules and dashboards.
    pub fn catalogue(&self) -> Catalogue {
        self.registry.catalogue()
    }

    /// All of them as text.
    ///
    /// # Errors
    /// [`MetricsError::Encode`].
    pub fn encode(&self) -> Result<String, MetricsError> {
        self.registry.encode()
    }
}

fn http_seconds(m: &Metrics) -> Result<Histogram, MetricsError> {
    let help = "Duration of an HTTP request until its answer began.";
    m.histogram("http_request_seconds", help, SECONDS)
}

/// With the closed sets of the labels that stand here.
fn labelled(m: Metrics) -> Metrics {
    m.label("fate", BatchFate::ALL.map(BatchFate::label));
    m.label("answer", Answer::ALL.map(Answer::label));
    m.label("request", Rpc::ALL.map(Rpc::token).into_iter().chain([ENROL]));
    m.label("shard", Shard::all().map(Shard::token));
    m
}
