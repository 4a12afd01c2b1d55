//! Every number that the agent keeps for operators.

use std::path::Path;

use prometheus::{IntCounter, IntGauge};
use writ_chassis::metrics::{Catalogue, Metrics, MetricsError};

/// The agent's metrics.
#[derive(Clone, Debug)]
pub struct AgentMetrics {
    registry: Metrics,
    /// Newer manifests taken.
    pub manifests: IntCounter,
    /// Manifests refused.
    pub manifests_refused: IntCounter,
    /// Orders ended.
    pub orders_done: IntCounter,
    /// Steps stopped while under way, because the grant was used up.
    pub steps_stopped_at_grant: IntCounter,
    /// Connections out of steps that were allowed.
    pub connections_allowed: IntCounter,
    /// Connections out of steps that were refused.
    pub connections_denied: IntCounter,
    /// Connections that the host's policy allowed.
    pub policy_allowed: IntCounter,
    /// Connections that the host's policy refused.
    pub policy_denied: IntCounter,
    /// Connections that were refused because the host's policy did not decide.
    pub policy_failed: IntCounter,
    /// Looks at what plans want here.
    pub drift_looks: IntCounter,
    /// Resources that are looked at.
    pub drift_watched: IntGauge,
    /// Resources that are not as their plan wants them, or that nobody can see.
    pub drift_differing: IntGauge,
    /// Frames written.
    pub frames: IntCounter,
    /// Batches handed to the bus.
    pub batches: IntCounter,
    /// Batches that the bus did not acknowledge.
    pub batches_failed: IntCounter,
    /// Hellos answered.
    pub hellos: IntCounter,
    /// Durable frames that the ledger does not have yet.
    pub unacknowledged: IntGauge,
    /// Orders held.
    pub orders_held: IntGauge,
    /// Times that the credentials of the bus were renewed.
    pub credentials_renewed: IntCounter,
    /// 1 when they ended before a controller renewed them.
    pub credentials_expired: IntGauge,
}

impl AgentMetrics {
    /// Declares them.
    ///
    /// # Errors
    /// [`MetricsError`], when a name is taken or not in the house form.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Metrics::new("agent")?;
        let counter = |name, help| registry.counter(name, help);
        Ok(Self {
            manifests: counter("manifests_total", "Newer manifests taken.")?,
            manifests_refused: counter("manifests_refused_total", "Manifests refused.")?,
            orders_done: counter("orders_done_total", "Orders ended.")?,
            steps_stopped_at_grant: counter(
                "steps_stopped_at_grant_total",
                "Steps stopped while under way because the grant of their order was used up.",
            )?,
            connections_allowed: counter(
                "egress_connections_allowed_total",
                "Connections out of steps that the plan allowed.",
            )?,
            connections_denied: counter(
                "egress_connections_denied_total",
                "Connections out of steps that were refused or came to nothing.",
            )?,
            policy_allowed: counter(
                "egress_policy_allowed_total",
                "Connections out of steps that the host's policy allowed.",
            )?,
            policy_denied: counter(
                "egress_policy_denied_total",
                "Connections out of steps that the host's policy refused.",
            )?,
            policy_failed: counter(
                "egress_policy_failed_total",
                "Connections out of steps that were refused because the host's policy did not decide.",
            )?,
            drift_looks: counter(
                "drift_looks_total",
                "Looks at what applied plans want on this host.",
            )?,
            drift_watched: registry
                .gauge("drift_watched", "Resources of applied plans that are looked at.")?,
            drift_differing: registry.gauge(
                "drift_differing",
                "Resources that are not as their applied plan wants them, or that cannot be seen.",
            )?,
            frames: counter("frames_total", "Frames written to the journal.")?,
            batches: counter("batches_total", "Event batches handed to the bus.")?,
            batches_failed: counter(
                "batches_failed_total",
                "Event batches that the bus did not acknowledge.",
            )?,
            hellos: counter("hellos_total", "Hellos answered by a controller.")?,
            unacknowledged: registry.gauge(
                "frames_unacknowledged",
                "Durable frames that the ledger does not have yet.",
            )?,
            orders_held: registry.gauge("orders_held", "Orders accepted and not done.")?,
            credentials_renewed: counter(
                "credentials_renewed_total",
                "Times that the credentials of the bus were renewed.",
            )?,
            credentials_expired: registry.gauge(
                "credentials_expired",
                "1 when the credentials of the bus ended before a controller renewed them.",
            )?,
            registry,
        })
    }

    /// What is declared here, for pages, rules and dashboards.
    pub fn catalogue(&self) -> Catalogue {
        self.registry.catalogue()
    }

    /// Writes them where a node exporter reads them.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        let text = self.registry.encode().map_err(std::io::Error::other)?;
        let next = file.with_extension("next");
        std::fs::write(&next, text)?;
        std::fs::rename(next, file)
    }
}
