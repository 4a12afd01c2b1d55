//! The offline verifier: from a pack's bytes and a pinned root to a report in words, with no network, clock or database.
//!
//! It trusts nothing in the pack but what follows from the fingerprint: root → policy → roles → seal, registry, director, plan; registry →
//! agent keys → batches → records → execution statement. Every byte of the pack is covered by the seal or by the archive's canonical form.
//! A failure is either [`Fault::Invalid`] (something was changed or is signed by the wrong key) or [`Fault::Incomplete`] (something is missing).

mod order;

use std::collections::BTreeSet;

use serde::Serialize;

use super::archive::{self, ArchiveError, Files};
use super::{Execution, PackOrder, PackSeal, pack};
use crate::digest::Digest;
use crate::envelope::{Envelope, Verified};
use crate::id::RunId;
use crate::key::KeyId;
use crate::reason::Code;
use crate::record::{ArtefactRef, StepResult};
use crate::statement::{self, Statement};
use crate::time::Timestamp;
use crate::trust::Keyring;

/// Why a pack is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something was changed, or is signed by a key without the role.
    #[error("signature invalid: {0}")]
    Invalid(String),
    /// Something is missing.
    #[error("evidence incomplete: {0}")]
    Incomplete(String),
}

impl Fault {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::SignatureInvalid,
            Self::Incomplete(_) => Code::EvidenceIncomplete,
        }
    }
}

/// What a verified pack says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The tenant.
    pub tenant: String,
    /// The run.
    pub run_id: RunId,
    /// How it ended.
    pub state: String,
    /// Who asked for it.
    pub ordered_by: String,
    /// Who exported the pack.
    pub exported_by: String,
    /// When.
    pub exported_at: Timestamp,
    /// Fingerprint of the root that all of it follows from.
    pub root: Digest,
    /// Keys that signed the seal.
    pub sealed_by: Vec<KeyId>,
    /// Every order of the run.
    pub orders: Vec<OrderReport>,
    /// What the run cost, micro-units.
    pub cost_micros: u64,
}

/// What is proven about one order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderReport {
    /// The order as the ledger lists it.
    pub order: PackOrder,
    /// The agent's signed statement, when it carried the order out.
    pub execution: Option<Execution>,
    /// Every step's record.
    pub steps: Vec<StepResult>,
    /// Records checked.
    pub records: u64,
    /// Batches whose signatures were checked.
    pub batches: u64,
    /// Artefacts whose bytes are in the pack.
    pub artefacts: Vec<ArtefactRef>,
    /// Why the agent refused, when it did.
    pub refusal: Option<(Code, String)>,
}

/// Verifies a pack against a pinned root fingerprint.
///
/// # Errors
/// [`Fault`], with what and where in words.
pub fn verify(bytes: &[u8], root: &Digest) -> Result<Report, Fault> {
    let pack = Pack::open(bytes, root)?;
    let seal = &pack.seal.predicate;
    let orders = seal
        .orders
        .iter()
        .map(|order| order::check(&pack, order))
        .collect::<Result<Vec<_>, _>>()?;
    let cost = orders
        .iter()
        .filter_map(|o| o.execution.as_ref())
        .map(|e| e.cost_micros);
    Ok(Report {
        tenant: seal.tenant.clone(),
        run_id: seal.run_id,
        state: seal.state.clone(),
        ordered_by: seal.ordered_by.clone(),
        exported_by: seal.exported_by.clone(),
        exported_at: seal.exported_at,
        root: *root,
        sealed_by: pack.seal.signers().to_vec(),
        cost_micros: cost.fold(0, u64::saturating_add),
        orders,
    })
}

/// Verifies a pack and hands out the bytes of every artefact: path on its host, host name, bytes.
///
/// # Errors
/// [`Fault`].
pub fn artefacts(bytes: &[u8], root: &Digest) -> Result<Vec<(PackOrder, ArtefactRef, Vec<u8>)>, Fault> {
    let pack = Pack::open(bytes, root)?;
    let mut all = Vec::new();
    for order in &pack.seal.predicate.orders {
        let report = order::check(&pack, order)?;
        for artefact in report.artefacts {
            let content = order::blob(&pack, order, &artefact)?;
            all.push((order.clone(), artefact, content));
        }
    }
    Ok(all)
}

/// A pack whose seal holds and whose files are exactly those that the seal names.
struct Pack<'a> {
    files: Files<'a>,
    keyring: Keyring,
    seal: Verified<Statement<PackSeal>>,
}

impl<'a> Pack<'a> {
    fn open(bytes: &'a [u8], root: &Digest) -> Result<Self, Fault> {
        let files = archive::read(bytes).map_err(|error| match error {
            ArchiveError::Short { .. } => Fault::Incomplete(error.to_string()),
            ArchiveError::NotCanonical { .. } | ArchiveError::Name { .. } | ArchiveError::TooLarge => {
                Fault::Invalid(error.to_string())
            }
        })?;
        let sealed = find(&files, pack::SEAL)?;
        let envelope = Envelope::parse_canonical(sealed).map_err(|e| invalid(pack::SEAL, &e))?;
        // Only the instant is taken from the unverified seal: the keys must have been valid then, and the seal itself is checked next.
        let claimed = statement::peek::<PackSeal>(&envelope).map_err(|e| invalid(pack::SEAL, &e))?;
        let at = claimed.predicate.exported_at;
        let (root_file, policy) = (find(&files, pack::ROOT)?, find(&files, pack::POLICY)?);
        let keyring =
            Keyring::from_pinned(root_file, root, policy, at).map_err(|e| invalid(pack::ROOT, &e))?;
        let seal = keyring
            .open::<PackSeal>(sealed, at)
            .map_err(|e| invalid(pack::SEAL, &e))?;
        if seal.predicate.tenant != keyring.tenant() {
            return Err(Fault::Invalid("the seal belongs to another tenant".to_owned()));
        }
        check_files(&files, &seal)?;
        check_hints(&envelope, &seal)?;
        Ok(Self { files, keyring, seal })
    }

    fn find(&self, name: &str) -> Result<&'a [u8], Fault> {
        find(&self.files, name)
    }
}

fn find<'a>(files: &Files<'a>, name: &str) -> Result<&'a [u8], Fault> {
    files
        .get(name)
        .copied()
        .ok_or_else(|| Fault::Incomplete(format!("{name} is missing")))
}

fn check_files(files: &Files<'_>, seal: &Statement<PackSeal>) -> Result<(), Fault> {
    let mut named = BTreeSet::from([pack::SEAL]);
    for subject in &seal.subject {
        let bytes = find(files, &subject.name)?;
        if subject.sha256() != Some(Digest::of(bytes)) {
            return Err(Fault::Invalid(format!(
                "{} is not the file that was sealed",
                subject.name
            )));
        }
        named.insert(&subject.name);
    }
    match files.keys().find(|name| !named.contains(name.as_str())) {
        Some(extra) => Err(Fault::Invalid(format!("{extra} was not sealed"))),
        None => Ok(()),
    }
}

/// The key ids in an envelope are not signed; in the seal a wrong one would be a byte that changed unseen.
fn check_hints(envelope: &Envelope, seal: &Verified<Statement<PackSeal>>) -> Result<(), Fault> {
    if envelope
        .key_hints()
        .all(|hint| hint.is_some_and(|id| seal.signers().contains(&id)))
    {
        return Ok(());
    }
    Err(Fault::Invalid(
        "the seal names a key that it does not verify under".to_owned(),
    ))
}

fn invalid(what: &str, error: &dyn std::error::Error) -> Fault {
    let mut text = format!("{what}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Fault::Invalid(text)
}
