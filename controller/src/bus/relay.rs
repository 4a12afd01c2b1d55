//! From the ledger to the bus: what is dirty in the shards held is published, acknowledged, and only then clean. A crash anywhere repeats it.

use async_nats::Client;

use super::deliver;
use super::port::{DeskError, Outbox};
use writ_protocol::subject::Shard;

/// Most manifests of one pass.
pub const PASS_MAX: usize = 500;

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Manifests that are on the bus now.
    pub published: usize,
    /// Manifests that are not; they stay dirty.
    pub failed: usize,
    /// The bus has no stream for them: make the streams and mark everything dirty.
    pub bus_is_empty: bool,
}

impl Pass {
    /// Whether there may be more at once.
    pub const fn is_full(&self) -> bool {
        self.published == PASS_MAX
    }
}

/// Publishes what is dirty in some shards, once. The caller holds their leases; two at once would only do the work twice.
///
/// # Errors
/// When the desk fails; what was published stays dirty and is published again.
pub async fn pass(client: &Client, desk: &impl Outbox, shards: &[Shard]) -> Result<Pass, DeskError> {
    let parcels = desk.dirty(shards, PASS_MAX).await?;
    let outcomes = deliver::manifests(client, &parcels).await;
    let mut done = Pass::default();
    let mut clean = Vec::with_capacity(parcels.len());
    for (parcel, outcome) in parcels.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => clean.push(parcel),
            Err(error) => {
                done.failed += 1;
                done.bus_is_empty |= error.is_no_stream();
                if done.failed == 1 {
                    tracing::warn!(agent = %parcel.key, error = %error, "manifest not published; it stays dirty");
                }
            }
        }
    }
    done.published = clean.len();
    if !clean.is_empty() {
        desk.published(&clean).await?;
    }
    Ok(done)
}
