//! What the rules ask for. The shell does it in order.

use std::sync::Arc;

use writ_protocol::digest::Digest;
use writ_protocol::evidence::StepSummary;
use writ_protocol::id::OrderId;
use writ_protocol::manifest::{Generation, Order};
use writ_protocol::reason::Code;
use writ_protocol::record::{ArtefactRef, OrderOutcome, Record};
use writ_protocol::time::Timestamp;

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Keep a manifest beside the journal, durably, so that its orders can be taken up again.
    Keep(Vec<u8>),
    /// Keep the halts in force beside the journal, durably.
    KeepHalts(Vec<Vec<u8>>),
    /// Write a record.
    Append(Record),
    /// Write the bytes of a step's output or artefact.
    Blobs {
        /// The order they came from.
        order_id: OrderId,
        /// The bytes.
        blobs: Vec<Blob>,
    },
    /// Make everything before this durable before anything behind it is done.
    Sync,
    /// Fetch, verify and decode an order's bundle.
    Fetch(Arc<Order>),
    /// Look at a step.
    Observe(StepRef),
    /// Carry a step out. Its intent is durable.
    Apply(StepRef),
    /// End the running step.
    Stop {
        /// The order it belongs to.
        order_id: OrderId,
        /// At once, instead of with time to clean up.
        hard: bool,
        /// Why, for the record.
        reason: String,
    },
    /// Sign and write how an order ended, durably, and let go of its bundle.
    Conclude(Box<Ending>),
    /// Read the newest manifest.
    ReadManifest,
    /// Say hello now: something must be asked.
    Hello,
}

/// A step of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRef {
    /// The order.
    pub order: Arc<Order>,
    /// Its number in the graph.
    pub index: usize,
    /// The resource's id.
    pub id: String,
    /// Which attempt.
    pub attempt: u32,
    /// What is left of the grant when it begins, micro-units.
    pub left_micros: u64,
    /// Whether another step triggered it.
    pub notified: bool,
    /// `SHA-256(order id ‖ step)`.
    pub idempotency_key: Digest,
}

/// Bytes with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Where they came from: a path, or `output`.
    pub path: String,
    /// Their digest.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Bytes under a path.
    pub fn new(path: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self {
            path: path.into(),
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    /// How a record names them.
    pub fn reference(&self) -> ArtefactRef {
        ArtefactRef {
            path: self.path.clone(),
            digest: self.digest,
            length: self.bytes.len() as u64,
        }
    }
}

/// How an order ended, to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The order.
    pub order: Arc<Order>,
    /// The manifest that ordered it: its place.
    pub at: Generation,
    /// The manifest that ordered it: its digest.
    pub manifest: Digest,
    /// The fencing token of its lease.
    pub fencing_token: u64,
    /// How it ended.
    pub outcome: OrderOutcome,
    /// Why, where it did not succeed.
    pub code: Option<Code>,
    /// Why, in words.
    pub detail: String,
    /// Steps worth reading.
    pub steps: Vec<StepSummary>,
    /// Steps not spelled out.
    pub steps_omitted: u32,
    /// Steps that changed something, or would.
    pub changed: u32,
    /// Steps that found nothing to do.
    pub unchanged: u32,
    /// Steps that failed.
    pub failed: u32,
    /// Steps that did not start.
    pub skipped: u32,
    /// What it cost, micro-units.
    pub cost_micros: u64,
    /// When it began.
    pub started_at: Timestamp,
}
