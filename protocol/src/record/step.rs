//! Records of a step: what was about to happen, and what happened.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::egress::Egress;
use crate::exec::{EffectiveLimit, Exit, Isolation, KillConfidence, Limits, StepMode, Usage};
use crate::id::OrderId;
use crate::reason::Code;
use crate::time::Timestamp;

/// A step is about to start; durable before anything is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepIntent {
    /// The order.
    pub order_id: OrderId,
    /// The resource's id.
    pub step: String,
    /// From 1; above 1 only after a crash.
    pub attempt: u32,
    /// What a crash means for it.
    pub mode: StepMode,
    /// `SHA-256(the order id's 16 bytes ‖ step)`, handed to the program so that it can recognise a repeat.
    pub idempotency_key: Digest,
    /// Limits asked for.
    pub limits: Limits,
    /// Digest of the observation made before.
    pub observed: Digest,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// It changed something, and the check afterwards is satisfied.
    Changed,
    /// There was nothing to do.
    Unchanged,
    /// A check found that applying would change something.
    WouldChange,
    /// It failed.
    Failed,
    /// It did not start: a dependency failed, or nobody notified it.
    Skipped,
    /// It was ended by a halt or a cancellation.
    Aborted,
    /// Nobody knows whether it took effect; it will not start again.
    Indeterminate,
}

impl StepOutcome {
    /// Its name in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::WouldChange => "would-change",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Aborted => "aborted",
            Self::Indeterminate => "indeterminate",
        }
    }
}

/// One attribute that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// Which attribute, such as `content`, `mode`, `state`, `run`.
    pub attribute: String,
    /// What should be.
    pub want: String,
    /// What is.
    pub got: String,
}

/// A file that a step produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtefactRef {
    /// Its path on the host.
    pub path: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Their number.
    pub length: u64,
}

/// A step ended; durable before it is reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepResult {
    /// The order.
    pub order_id: OrderId,
    /// The resource's id.
    pub step: String,
    /// Which attempt.
    pub attempt: u32,
    /// How it ended.
    pub outcome: StepOutcome,
    /// Why, where it did not succeed.
    pub code: Option<Code>,
    /// Why, in words.
    pub detail: String,
    /// What was found to differ before.
    pub changes: Vec<Change>,
    /// Digest of the observation before.
    pub before: Digest,
    /// Digest of the observation afterwards.
    pub after: Digest,
    /// How its process tree ended, if there was one.
    pub exit: Option<Exit>,
    /// Limits as the kernel reported them.
    pub limits: Vec<EffectiveLimit>,
    /// Isolation reached, if a process ran.
    pub isolation: Option<Isolation>,
    /// How surely the tree is gone.
    pub kill_confidence: Option<KillConfidence>,
    /// What it used.
    pub usage: Usage,
    /// What that cost, micro-units.
    pub cost_micros: u64,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The kept part of its output, whose bytes follow as [`super::BlobChunk`]s.
    pub output: Option<ArtefactRef>,
    /// Bytes of output that were dropped.
    pub output_dropped: u64,
    /// Files it produced, whose bytes follow as [`super::BlobChunk`]s.
    pub artefacts: Vec<ArtefactRef>,
    /// What it did with the network that its plan gave it; absent where it gave it none, and then left out of the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderOutcome {
    /// Every step succeeded or had nothing to do.
    Succeeded,
    /// A step failed.
    Failed,
    /// A hard halt, a cancellation or a lost lease ended it.
    Aborted,
    /// A soft halt or drain stopped it between steps.
    Stopped,
    /// A `once` step's effect is not known.
    Indeterminate,
}

impl OrderOutcome {
    /// Its name in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Stopped => "stopped",
            Self::Indeterminate => "indeterminate",
        }
    }
}
