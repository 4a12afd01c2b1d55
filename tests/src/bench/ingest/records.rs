//! The records that the bench of ingest writes: an order that is accepted, and then what a long step or many short ones leave.

use writ_chassis::clock::{Clock as _, SystemClock};
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Limits, Meter, StepMode, Usage};
use writ_protocol::id::{OrderId, RunId};
use writ_protocol::manifest::{BundleRef, Generation, OrderKind};
use writ_protocol::record::{BlobChunk, OrderAccepted, Record, StepIntent, StepOutcome, StepResult};

/// Bytes of one piece of output.
const OUTPUT_BYTES: usize = 256;

/// What a batch is full of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Output of a long step: rows that change nothing but that the order was heard of.
    Output,
    /// Short steps, an intent and a result each: every other row also becomes a row of the table of steps and a line of the feed.
    Steps,
}

impl Kind {
    /// Its name as a case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Steps => "steps",
        }
    }

    /// The record of a number.
    pub(super) fn record(self, order: &Order, number: u64) -> Record {
        match self {
            Self::Output => Record::BlobChunk(BlobChunk {
                order_id: order.id,
                digest: Digest::of(b"output"),
                offset: number * OUTPUT_BYTES as u64,
                total: u64::MAX >> 1,
                bytes: number.to_le_bytes().repeat(OUTPUT_BYTES / 8),
            }),
            Self::Steps if number.is_multiple_of(2) => order.intent(number / 2),
            Self::Steps => order.result(number / 2),
        }
    }
}

/// The order that an agent writes about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) id: OrderId,
    pub(super) run_id: RunId,
    pub(super) fencing_token: u64,
}

impl Order {
    pub(super) fn accepted(&self) -> Record {
        Record::OrderAccepted(OrderAccepted {
            order_id: self.id,
            run_id: self.run_id,
            kind: OrderKind::Check,
            at: Generation {
                epoch: 1,
                generation: 2,
            },
            manifest: Digest::of(b"manifest"),
            bundle: BundleRef {
                digest: Digest::of(b"bundle"),
                length: 1,
            },
            fencing_token: self.fencing_token,
        })
    }

    fn intent(&self, step: u64) -> Record {
        Record::StepIntent(StepIntent {
            order_id: self.id,
            step: name(step),
            attempt: 1,
            mode: StepMode::Idempotent,
            idempotency_key: Digest::of(&step.to_le_bytes()),
            limits: Limits::default(),
            observed: Digest::of(b"before"),
        })
    }

    fn result(&self, step: u64) -> Record {
        let now = SystemClock.now();
        Record::StepResult(Box::new(StepResult {
            order_id: self.id,
            step: name(step),
            attempt: 1,
            outcome: StepOutcome::Changed,
            code: None,
            detail: String::new(),
            changes: Vec::new(),
            before: Digest::of(b"before"),
            after: Digest::of(b"after"),
            exit: None,
            limits: Vec::new(),
            isolation: None,
            kill_confidence: None,
            usage: Usage::none(Meter::Agent),
            cost_micros: 3,
            started_at: now,
            ended_at: now,
            output: None,
            output_dropped: 0,
            egress: None,
            artefacts: Vec::new(),
        }))
    }
}

fn name(step: u64) -> String {
    format!("file:/etc/service/{step}.conf")
}
