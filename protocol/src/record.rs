//! What the payload of a frame says: the closed list of record kinds, MessagePack maps with names.
//!
//! Readers refuse unknown fields and keep unknown kinds as raw bytes: a record that a controller cannot read is evidence all the same.

pub mod blob;
pub mod drift;
mod step;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use blob::BlobChunk;
pub use drift::{Difference, DriftSeen, Look, LookCause, Unseen};
pub use step::{ArtefactRef, Change, OrderOutcome, StepIntent, StepOutcome, StepResult};

use crate::codec::{self, CodecError};
use crate::digest::Digest;
use crate::frame::Frame;
use crate::id::{HaltId, JournalId, OrderId, RunId, SessionId};
use crate::limits::FRAME_PAYLOAD_MAX;
use crate::manifest::{BundleRef, Generation, OrderKind};
use crate::reason::Code;

/// The numbers of the record kinds. Never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// [`SessionStart`].
    SessionStart = 1,
    /// [`HighWater`].
    HighWater = 2,
    /// [`OrderAccepted`].
    OrderAccepted = 3,
    /// [`OrderRefused`].
    OrderRefused = 4,
    /// [`StepIntent`].
    StepIntent = 5,
    /// [`StepResult`].
    StepResult = 6,
    /// [`BlobChunk`].
    BlobChunk = 7,
    /// [`Signed`].
    Signed = 8,
    /// [`OrderDone`].
    OrderDone = 9,
    /// [`Alarm`].
    Alarm = 10,
    /// [`ManifestRefused`].
    ManifestRefused = 11,
    /// [`HaltObserved`].
    HaltObserved = 12,
    /// [`DriftSeen`].
    DriftSeen = 13,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::SessionStart,
        Self::HighWater,
        Self::OrderAccepted,
        Self::OrderRefused,
        Self::StepIntent,
        Self::StepResult,
        Self::BlobChunk,
        Self::Signed,
        Self::OrderDone,
        Self::Alarm,
        Self::ManifestRefused,
        Self::HaltObserved,
        Self::DriftSeen,
    ];

    /// The number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind with this number.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Its name in text, such as `step_result`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SessionStart => "session_start",
            Self::HighWater => "high_water",
            Self::OrderAccepted => "order_accepted",
            Self::OrderRefused => "order_refused",
            Self::StepIntent => "step_intent",
            Self::StepResult => "step_result",
            Self::BlobChunk => "blob_chunk",
            Self::Signed => "signed",
            Self::OrderDone => "order_done",
            Self::Alarm => "alarm",
            Self::ManifestRefused => "manifest_refused",
            Self::HaltObserved => "halt_observed",
            Self::DriftSeen => "drift_seen",
        }
    }
}

/// The agent's process began; always the first record of a journal and of every start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionStart {
    /// This life of the process.
    pub session_id: SessionId,
    /// The journal it writes.
    pub journal_id: JournalId,
    /// How often the agent has started with this identity.
    pub incarnation: u64,
    /// The agent's version.
    pub agent_version: String,
    /// The kernel's boot id: boot-time clocks compare only within one.
    pub boot_id: String,
    /// The journal before this one, when that was set aside: its id, last good sequence number and chain value.
    pub replaces: Option<(JournalId, u64, Digest)>,
}

/// A newer manifest was taken; durable before anything in it is acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HighWater {
    /// Where the agent now stands.
    pub at: Generation,
    /// SHA-256 of the manifest's signed payload.
    pub manifest: Digest,
    /// The control epoch seen in it.
    pub control_epoch: u64,
}

/// An order was taken and will end in [`OrderDone`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderAccepted {
    /// The order.
    pub order_id: OrderId,
    /// Its run.
    pub run_id: RunId,
    /// What it asks for.
    pub kind: OrderKind,
    /// Under which manifest.
    pub at: Generation,
    /// SHA-256 of that manifest's signed payload.
    pub manifest: Digest,
    /// The bundle.
    pub bundle: BundleRef,
    /// The fencing token of its lease.
    pub fencing_token: u64,
}

/// An order was not taken, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRefused {
    /// The order.
    pub order_id: OrderId,
    /// Its run.
    pub run_id: RunId,
    /// The fencing token of its lease.
    pub fencing_token: u64,
    /// Why.
    pub code: Code,
    /// Why, in words.
    pub detail: String,
}

/// A statement of the agent: the JSON of its envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The order it is about.
    pub order_id: OrderId,
    /// The envelope, canonical JSON.
    #[serde(with = "serde_bytes")]
    pub envelope: Vec<u8>,
}

/// An order ended. There is exactly one for every [`OrderAccepted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderDone {
    /// The order.
    pub order_id: OrderId,
    /// Its run.
    pub run_id: RunId,
    /// The fencing token of its lease.
    pub fencing_token: u64,
    /// How it ended.
    pub outcome: OrderOutcome,
    /// Why, where it did not succeed.
    pub code: Option<Code>,
    /// Why, in words.
    pub detail: String,
    /// Steps that changed something.
    pub changed: u32,
    /// Steps that found nothing to do.
    pub unchanged: u32,
    /// Steps that failed.
    pub failed: u32,
    /// Steps that did not start.
    pub skipped: u32,
    /// What it cost by the order's rate card, micro-units.
    pub cost_micros: u64,
    /// SHA-256 of the payload of the execution statement.
    pub statement: Digest,
}

/// Something an operator must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// What.
    pub code: Code,
    /// What, in words.
    pub detail: String,
}

/// A manifest was refused. Repeats of the same one are counted, not recorded again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestRefused {
    /// SHA-256 of the bytes that came.
    pub bytes: Digest,
    /// Why.
    pub code: Code,
    /// Why, in words.
    pub detail: String,
}

/// A halt or its lift was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaltObserved {
    /// The halt.
    pub halt_id: HaltId,
    /// The control epoch it set.
    pub control_epoch: u64,
    /// Whether it stops or lifts.
    pub lifted: bool,
    /// Orders that it stopped here.
    pub stopped: Vec<OrderId>,
}

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// See [`SessionStart`].
    SessionStart(SessionStart),
    /// See [`HighWater`].
    HighWater(HighWater),
    /// See [`OrderAccepted`].
    OrderAccepted(OrderAccepted),
    /// See [`OrderRefused`].
    OrderRefused(OrderRefused),
    /// See [`StepIntent`].
    StepIntent(StepIntent),
    /// See [`StepResult`].
    StepResult(Box<StepResult>),
    /// See [`BlobChunk`].
    BlobChunk(BlobChunk),
    /// See [`Signed`].
    Signed(Signed),
    /// See [`OrderDone`].
    OrderDone(OrderDone),
    /// See [`Alarm`].
    Alarm(Alarm),
    /// See [`ManifestRefused`].
    ManifestRefused(ManifestRefused),
    /// See [`HaltObserved`].
    HaltObserved(HaltObserved),
    /// See [`DriftSeen`].
    DriftSeen(Box<DriftSeen>),
}

impl Record {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::SessionStart(_) => Kind::SessionStart,
            Self::HighWater(_) => Kind::HighWater,
            Self::OrderAccepted(_) => Kind::OrderAccepted,
            Self::OrderRefused(_) => Kind::OrderRefused,
            Self::StepIntent(_) => Kind::StepIntent,
            Self::StepResult(_) => Kind::StepResult,
            Self::BlobChunk(_) => Kind::BlobChunk,
            Self::Signed(_) => Kind::Signed,
            Self::OrderDone(_) => Kind::OrderDone,
            Self::Alarm(_) => Kind::Alarm,
            Self::ManifestRefused(_) => Kind::ManifestRefused,
            Self::HaltObserved(_) => Kind::HaltObserved,
            Self::DriftSeen(_) => Kind::DriftSeen,
        }
    }

    /// The order it is about, if it is about one.
    pub fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::OrderAccepted(r) => Some(r.order_id),
            Self::OrderRefused(r) => Some(r.order_id),
            Self::StepIntent(r) => Some(r.order_id),
            Self::StepResult(r) => Some(r.order_id),
            Self::BlobChunk(r) => Some(r.order_id),
            Self::Signed(r) => Some(r.order_id),
            Self::OrderDone(r) => Some(r.order_id),
            Self::SessionStart(_)
            | Self::HighWater(_)
            | Self::Alarm(_)
            | Self::ManifestRefused(_)
            | Self::HaltObserved(_)
            | Self::DriftSeen(_) => None,
        }
    }

    /// The payload bytes.
    ///
    /// # Errors
    /// [`CodecError::TooLong`] above [`FRAME_PAYLOAD_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let bytes = match self {
            Self::SessionStart(r) => codec::to_msgpack("record", r),
            Self::HighWater(r) => codec::to_msgpack("record", r),
            Self::OrderAccepted(r) => codec::to_msgpack("record", r),
            Self::OrderRefused(r) => codec::to_msgpack("record", r),
            Self::StepIntent(r) => codec::to_msgpack("record", r),
            Self::StepResult(r) => codec::to_msgpack("record", r),
            Self::BlobChunk(r) => codec::to_msgpack("record", r),
            Self::Signed(r) => codec::to_msgpack("record", r),
            Self::OrderDone(r) => codec::to_msgpack("record", r),
            Self::Alarm(r) => codec::to_msgpack("record", r),
            Self::ManifestRefused(r) => codec::to_msgpack("record", r),
            Self::HaltObserved(r) => codec::to_msgpack("record", r),
            Self::DriftSeen(r) => codec::to_msgpack("record", r),
        }?;
        if bytes.len() > FRAME_PAYLOAD_MAX {
            return Err(CodecError::TooLong {
                what: "record",
                len: bytes.len(),
                max: FRAME_PAYLOAD_MAX,
            });
        }
        Ok(bytes)
    }

    /// Reads a frame's payload; `None` for a kind that this build does not know.
    ///
    /// # Errors
    /// [`CodecError`] when the payload is not what its kind says.
    pub fn decode(frame: &Frame<'_>) -> Result<Option<Self>, CodecError> {
        let Some(kind) = Kind::of(frame.kind) else {
            return Ok(None);
        };
        let p = frame.payload;
        let record = match kind {
            Kind::SessionStart => Self::SessionStart(read(p)?),
            Kind::HighWater => Self::HighWater(read(p)?),
            Kind::OrderAccepted => Self::OrderAccepted(read(p)?),
            Kind::OrderRefused => Self::OrderRefused(read(p)?),
            Kind::StepIntent => Self::StepIntent(read(p)?),
            Kind::StepResult => Self::StepResult(Box::new(read(p)?)),
            Kind::BlobChunk => Self::BlobChunk(read(p)?),
            Kind::Signed => Self::Signed(read(p)?),
            Kind::OrderDone => Self::OrderDone(read(p)?),
            Kind::Alarm => Self::Alarm(read(p)?),
            Kind::ManifestRefused => Self::ManifestRefused(read(p)?),
            Kind::HaltObserved => Self::HaltObserved(read(p)?),
            Kind::DriftSeen => Self::DriftSeen(Box::new(read(p)?)),
        };
        Ok(Some(record))
    }
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, CodecError> {
    codec::from_msgpack("record", payload, FRAME_PAYLOAD_MAX)
}
