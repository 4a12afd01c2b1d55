//! What is proven: the signed statement of how an order ended, and the chunks in which bytes enter the journal.

use writ_protocol::evidence::{self, Execution};
use writ_protocol::id::{JournalId, OrderId};
use writ_protocol::key::SigningKey;
use writ_protocol::limits::BLOB_CHUNK_BYTES;
use writ_protocol::manifest::Identity;
use writ_protocol::record::{BlobChunk, OrderDone, Record, Signed};
use writ_protocol::statement::StatementError;
use writ_protocol::time::Timestamp;

use crate::core::{Blob, Ending};
use crate::journal::Position;

/// Where the records of an order lie.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The journal.
    pub journal_id: JournalId,
    /// The order's first record.
    pub first_seq: u64,
    /// The newest record before the statement.
    pub last: Position,
}

/// Who signs.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// Who says it.
    pub identity: &'a Identity,
    /// The host's name.
    pub hostname: &'a str,
    /// With which key.
    pub key: &'a SigningKey,
}

/// Signs how an order ended: the statement's record, and the record that ends the order.
///
/// # Errors
/// [`StatementError`].
pub fn conclude(
    ending: Ending,
    place: Place,
    signer: Signer<'_>,
    ended_at: Timestamp,
) -> Result<[Record; 2], StatementError> {
    let order = &ending.order;
    let execution = Execution {
        identity: signer.identity.clone(),
        hostname: signer.hostname.to_owned(),
        order_id: order.order_id,
        run_id: order.run_id,
        kind: order.kind,
        ordered_by: order.ordered_by.clone(),
        at: ending.at,
        manifest: ending.manifest,
        bundle: order.bundle,
        mode: order.mode,
        plan_digest: order.plan_digest,
        outcome: ending.outcome,
        code: ending.code,
        detail: ending.detail.clone(),
        steps: ending.steps,
        steps_omitted: ending.steps_omitted,
        cost_micros: ending.cost_micros,
        currency: order.grant.rates.currency.clone(),
        rate_card: order.grant.rates.version,
        started_at: ending.started_at,
        ended_at,
        journal_id: place.journal_id,
        first_seq: place.first_seq,
        last_seq: place.last.seq,
        chain: place.last.hash,
    };
    let envelope = sign(execution, signer.key)?;
    let done = OrderDone {
        order_id: order.order_id,
        run_id: order.run_id,
        fencing_token: ending.fencing_token,
        outcome: ending.outcome,
        code: ending.code,
        detail: ending.detail,
        changed: ending.changed,
        unchanged: ending.unchanged,
        failed: ending.failed,
        skipped: ending.skipped,
        cost_micros: ending.cost_micros,
        statement: envelope.payload_digest(),
    };
    let signed = Signed {
        order_id: order.order_id,
        envelope: envelope.to_json()?,
    };
    Ok([Record::Signed(signed), Record::OrderDone(done)])
}

/// Signs; a statement that is too long loses its longest steps, which the records have in full.
fn sign(
    mut execution: Execution,
    key: &SigningKey,
) -> Result<writ_protocol::envelope::Envelope, StatementError> {
    loop {
        match evidence::sign_execution(execution.clone(), key) {
            Err(error) if execution.steps.is_empty() => return Err(error),
            Err(_) => {
                let half = execution.steps.len() / 2;
                let left_out = execution.steps.len() - half;
                execution.steps.truncate(half);
                execution.steps_omitted = execution
                    .steps_omitted
                    .saturating_add(u32::try_from(left_out).unwrap_or(u32::MAX));
            }
            signed @ Ok(_) => return signed,
        }
    }
}

/// The records that carry a blob's bytes.
pub fn chunks(order_id: OrderId, blob: &Blob) -> impl Iterator<Item = Record> + '_ {
    let total = blob.bytes.len() as u64;
    blob.bytes
        .chunks(BLOB_CHUNK_BYTES)
        .enumerate()
        .map(move |(index, bytes)| {
            Record::BlobChunk(BlobChunk {
                order_id,
                digest: blob.digest,
                offset: (index * BLOB_CHUNK_BYTES) as u64,
                total,
                bytes: bytes.to_vec(),
            })
        })
}
