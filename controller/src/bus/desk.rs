//! The desk as the bus sees it: [`App`] behind the ports, with the fence of the shard's lease on every write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Client;
use bytes::Bytes;
use tokio::time::Instant;
use writ_chassis::telemetry::ErrorChain;
use writ_protocol::digest::Digest;
use writ_protocol::id::AgentId;
use writ_protocol::reason::Code;
use writ_protocol::subject::Shard;

use super::deliver::{self, Parcel};
use super::port::{Arrival, DeskError, Inbox, Ingested, Mark, Outbox, Place, Walk};
use crate::app::{App, Error, Fence, Incoming, Outcome, Published};
use crate::lease::Held;
use crate::metrics::ControllerMetrics;

/// Most bundles that are remembered as sent; beyond it they are looked at again.
const SENT_MAX: usize = 10_000;

/// The desk behind the ports of the bus.
#[derive(Clone, Debug)]
pub struct Desk {
    app: Arc<App>,
    client: Client,
    held: Held,
    metrics: ControllerMetrics,
    sent: Arc<Mutex<BTreeSet<Digest>>>,
    /// Agents of the parcels that are on their way.
    carried: Arc<Mutex<BTreeMap<String, Published>>>,
}

impl Desk {
    /// A desk that writes under the leases of `held`.
    pub fn new(app: Arc<App>, client: Client, held: Held, metrics: ControllerMetrics) -> Self {
        Self {
            app,
            client,
            held,
            metrics,
            sent: Arc::default(),
            carried: Arc::default(),
        }
    }

    /// The bus lost what it had: bundles of runs that have not ended are sent again.
    ///
    /// # Errors
    /// When the ledger cannot be read; bundles are sent when something names them.
    pub async fn send_bundles_again(&self) -> Result<(), DeskError> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.send_bundles().await
    }

    fn is_sent(&self, digest: &Digest) -> bool {
        self.sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(digest)
    }

    fn note_sent(&self, digest: Digest) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() >= SENT_MAX {
            sent.clear();
        }
        sent.insert(digest);
    }

    /// Bundles go first: a manifest never names one that is on its way.
    async fn send_bundles(&self) -> Result<(), DeskError> {
        for bundle in self.app.outstanding_bundles().await? {
            if self.is_sent(&bundle.digest) {
                continue;
            }
            let bytes = Bytes::from(self.app.bundle_bytes(&bundle.digest).await?);
            match deliver::bundle(&self.client, &bundle.digest, &bytes).await {
                Ok(_) => {
                    self.metrics.bundles_published.inc();
                    self.note_sent(bundle.digest);
                }
                // Agents can fetch it from the ledger, so orders need not wait.
                Err(error) => {
                    tracing::warn!(bundle = %bundle.digest, error = %ErrorChain(&error), "bundle not published");
                }
            }
        }
        Ok(())
    }
}

impl From<Error> for DeskError {
    fn from(error: Error) -> Self {
        Self {
            retryable: error.is_retryable()
                || matches!(
                    error.code(),
                    Code::LeaseLost | Code::SchemaVersion | Code::EpochNotRaised
                ),
            detail: ErrorChain(&error).to_string(),
        }
    }
}

impl Outbox for Desk {
    async fn dirty(&self, shards: &[Shard], limit: usize) -> Result<Vec<Parcel>, DeskError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let dirty = self.app.dirty_manifests(shards, limit).await?;
        if !dirty.is_empty() {
            self.send_bundles().await?;
        }
        let mut carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        let parcel = |mut m: Published| {
            let parcel = Parcel {
                key: m.user_key.clone(),
                at: m.at,
                envelope: Bytes::from(std::mem::take(&mut m.envelope)),
                trace: m.trace,
            };
            carried.insert(m.user_key.to_string(), m);
            parcel
        };
        Ok(dirty.into_iter().map(parcel).collect())
    }

    async fn published(&self, parcels: &[Parcel]) -> Result<(), DeskError> {
        let arrived: Vec<Published> = {
            let mut carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
            let one = |parcel: &Parcel| carried.remove(parcel.key.as_str());
            parcels.iter().filter_map(one).collect()
        };
        self.app.note_published(&arrived);
        let done: Vec<(AgentId, u64)> = arrived.iter().map(|m| (m.agent_id, m.at.generation)).collect();
        Ok(self.app.mark_published(&done).await?)
    }
}

impl Inbox for Desk {
    async fn ingest(&self, arrivals: &[Arrival]) -> Result<Ingested, DeskError> {
        let shards: BTreeSet<Shard> = arrivals.iter().map(|one| Shard::of(&one.key)).collect();
        let fences: Vec<Fence> = shards
            .into_iter()
            .filter_map(|shard| self.held.fence(shard))
            .collect();
        let incoming: Vec<Incoming> = arrivals.iter().map(incoming).collect();
        let begun = Instant::now();
        let outcomes = self.app.ingest(&incoming, Some(&fences)).await?;
        self.metrics.ingest_seconds.observe(begun.elapsed().as_secs_f64());
        self.metrics.drift.seen(&self.app.take_drift_delays());
        let mark = |(key, envelope)| Mark {
            key,
            envelope: Bytes::from(envelope),
        };
        let places = |wanted: fn(&Outcome) -> bool| {
            let found = outcomes
                .iter()
                .enumerate()
                .filter(|(_, one)| wanted(&one.outcome));
            found.map(|(place, _)| place).collect()
        };
        let refused = places(|one| matches!(one, Outcome::Refused(_) | Outcome::Fork));
        let unheld = places(|one| *one == Outcome::Unheld);
        let marks = outcomes
            .into_iter()
            .filter_map(|outcome| outcome.watermark.map(mark))
            .collect();
        Ok(Ingested {
            marks,
            refused,
            unheld,
        })
    }

    async fn set_aside(&self, arrival: &Arrival, why: &DeskError) -> Result<(), DeskError> {
        Ok(self.app.set_aside(&incoming(arrival), &why.detail).await?)
    }
}

fn incoming(arrival: &Arrival) -> Incoming {
    Incoming {
        user_key: arrival.key.clone(),
        message: arrival.message.clone(),
    }
}

impl Walk for Desk {
    async fn places(&self, after: Option<AgentId>, limit: usize) -> Result<Vec<Place>, DeskError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let page = self.app.reconcile_page(after, limit).await?;
        Ok(page
            .into_iter()
            .map(|(agent, key, at)| Place { agent, key, at })
            .collect())
    }

    async fn mark_dirty(&self, agents: &[AgentId]) -> Result<(), DeskError> {
        Ok(self.app.mark_dirty(agents).await?)
    }
}
