//! What stands where in an evidence pack, and how one is sealed.
//!
//! ```text
//! seal.json                                    PackSeal, signed by the evidence role; every other file is a subject of it
//! trust/root.json  trust/policy.json           the root (pinned by fingerprint) and the trust policy
//! bundle/<sha256>                              the bundle that the run carried out
//! plan.json                                    the reviewed plan, where there is one
//! agents/<agent>/keys.json                     the registry's word on the agent's keys
//! agents/<agent>/manifest-<epoch>-<gen>.json   the manifest that ordered it
//! agents/<agent>/batches/<first seq>.batch     every signed batch of records that touches the order
//! ```

use std::collections::BTreeMap;

use super::archive::{self, ArchiveError, Files};
use super::{PackSeal, Predicate};
use crate::digest::Digest;
use crate::envelope::EnvelopeError;
use crate::id::AgentId;
use crate::key::SigningKey;
use crate::manifest::Generation;
use crate::statement::{self, StatementError, Subject};

/// Name of the seal.
pub const SEAL: &str = "seal.json";
/// Name of the root.
pub const ROOT: &str = "trust/root.json";
/// Name of the trust policy.
pub const POLICY: &str = "trust/policy.json";
/// Name of the plan.
pub const PLAN: &str = "plan.json";

/// Name of a bundle.
pub fn bundle_name(digest: &Digest) -> String {
    format!("bundle/{digest}")
}

/// Name of an agent's keys.
pub fn keys_name(agent: AgentId) -> String {
    format!("agents/{agent}/keys.json")
}

/// Name of a manifest.
pub fn manifest_name(agent: AgentId, at: Generation) -> String {
    format!("agents/{agent}/manifest-{}-{}.json", at.epoch, at.generation)
}

/// Name of a batch.
pub fn batch_name(agent: AgentId, first_seq: u64) -> String {
    format!("{}{first_seq:020}.batch", batch_prefix(agent))
}

pub(super) fn batch_prefix(agent: AgentId) -> String {
    format!("agents/{agent}/batches/")
}

/// Why a pack could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The seal.
    #[error("the pack cannot be sealed")]
    Statement(#[from] StatementError),
    /// The seal's envelope.
    #[error("the seal cannot be written")]
    Envelope(#[from] EnvelopeError),
    /// The container.
    #[error("the pack cannot be written")]
    Archive(#[from] ArchiveError),
}

/// Seals files and writes the pack. `files` holds everything but the seal.
///
/// # Errors
/// [`PackError`].
pub fn build(
    files: &BTreeMap<String, Vec<u8>>,
    seal: PackSeal,
    key: &SigningKey,
) -> Result<Vec<u8>, PackError> {
    let subject = files
        .iter()
        .map(|(name, bytes)| Subject::new(name, &Digest::of(bytes)))
        .collect();
    let envelope = statement::sign(subject, seal, &[key])?.to_json()?;
    let mut all: Files<'_> = files
        .iter()
        .map(|(name, bytes)| (name.clone(), bytes.as_slice()))
        .collect();
    all.insert(SEAL.to_owned(), &envelope);
    Ok(archive::write(&all)?)
}

/// Longest seal accepted, bytes of payload.
pub const SEAL_BYTES_MAX: usize = PackSeal::BYTES_MAX;
