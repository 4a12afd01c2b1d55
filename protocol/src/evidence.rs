//! Evidence: the agent's statement about an order it carried out, the statement that seals a pack, the pack's form and its offline verifier.

pub mod archive;
pub mod pack;
pub mod verify;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::envelope::Envelope;
use crate::exec::{EffectiveLimit, Exit, Isolation, RunMode, Usage};
use crate::id::{JournalId, OrderId, RunId};
use crate::key::SigningKey;
use crate::limits::FRAME_PAYLOAD_MAX;
use crate::manifest::{BundleRef, Generation, Identity, OrderKind};
use crate::reason::Code;
use crate::record::{ArtefactRef, OrderOutcome, StepOutcome};
use crate::statement::{self, Predicate, StatementError, Subject};
use crate::time::Timestamp;
use crate::trust::Role;

/// Most steps spelled out in one execution statement; all of them are in the journal's records.
pub const STEPS_MAX: usize = 64;

/// What an agent says about an order it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Execution {
    /// Who says it.
    pub identity: Identity,
    /// The host's name.
    pub hostname: String,
    /// The order.
    pub order_id: OrderId,
    /// Its run.
    pub run_id: RunId,
    /// What was asked for.
    pub kind: OrderKind,
    /// Who ordered it.
    pub ordered_by: String,
    /// The manifest that ordered it: its place.
    pub at: Generation,
    /// The manifest that ordered it: SHA-256 of its signed payload.
    pub manifest: Digest,
    /// The bundle.
    pub bundle: BundleRef,
    /// How much was asked of it; left out of the bytes where that was everything.
    #[serde(default, skip_serializing_if = "RunMode::is_strict")]
    pub mode: RunMode,
    /// The plan that was reviewed.
    pub plan_digest: Option<Digest>,
    /// How it ended.
    pub outcome: OrderOutcome,
    /// Why, where it did not succeed.
    pub code: Option<Code>,
    /// Why, in words.
    pub detail: String,
    /// Steps worth reading: those that ran or failed, in order, at most [`STEPS_MAX`].
    pub steps: Vec<StepSummary>,
    /// Steps not spelled out.
    pub steps_omitted: u32,
    /// What it cost, micro-units.
    pub cost_micros: u64,
    /// In which currency.
    pub currency: String,
    /// The version of the rate card.
    pub rate_card: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The journal that holds every record of it.
    pub journal_id: JournalId,
    /// Its first record there.
    pub first_seq: u64,
    /// Sequence number of the newest record before this statement.
    pub last_seq: u64,
    /// Chain value after that record.
    pub chain: Digest,
}

impl Predicate for Execution {
    const TYPE: &'static str = "https://writ.dev/execution/v1";
    const ROLE: Role = Role::Agent;
    // The envelope's base64 must fit in one frame.
    const BYTES_MAX: usize = FRAME_PAYLOAD_MAX / 4 * 3 - 1_024;
}

/// One step in a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepSummary {
    /// The resource's id.
    pub step: String,
    /// How it ended.
    pub outcome: StepOutcome,
    /// Why, where it did not succeed.
    pub code: Option<Code>,
    /// How its process tree ended.
    pub exit: Option<Exit>,
    /// Limits as the kernel reported them.
    pub limits: Vec<EffectiveLimit>,
    /// Isolation reached.
    pub isolation: Option<Isolation>,
    /// What it used.
    pub usage: Usage,
    /// What that cost, micro-units.
    pub cost_micros: u64,
    /// Files it produced.
    pub artefacts: Vec<ArtefactRef>,
}

/// Signs an execution statement. Its subjects are the artefacts, and the bundle.
///
/// # Errors
/// What [`statement::sign`] says.
pub fn sign_execution(execution: Execution, key: &SigningKey) -> Result<Envelope, StatementError> {
    let mut subject = vec![Subject::new("bundle", &execution.bundle.digest)];
    let artefacts = execution.steps.iter().flat_map(|step| &step.artefacts);
    subject.extend(artefacts.map(|artefact| Subject::new(&artefact.path, &artefact.digest)));
    statement::sign(subject, execution, &[key])
}

/// What seals an evidence pack: every file of it is a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackSeal {
    /// The tenant.
    pub tenant: String,
    /// The run that it is about.
    pub run_id: RunId,
    /// How the run ended, as the ledger says.
    pub state: String,
    /// Who asked for the run.
    pub ordered_by: String,
    /// Who exported the pack.
    pub exported_by: String,
    /// When.
    pub exported_at: Timestamp,
    /// Every order of the run, so that a missing host shows.
    pub orders: Vec<PackOrder>,
}

/// One order of a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackOrder {
    /// The order.
    pub order_id: OrderId,
    /// The agent it went to.
    pub identity: Identity,
    /// The host's name.
    pub name: String,
    /// How the ledger says it ended.
    pub state: String,
    /// The journal with its records, when the agent accepted it.
    pub journal_id: Option<JournalId>,
    /// First and last sequence numbers of its records.
    pub seqs: Option<(u64, u64)>,
}

impl Predicate for PackSeal {
    const TYPE: &'static str = "https://writ.dev/evidence-pack/v1";
    const ROLE: Role = Role::Evidence;
}
