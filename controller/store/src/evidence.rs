//! Evidence read back: signed batches with their frames, for packs and for the bytes of artefacts.

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_protocol::id::{AgentId, JournalId, OrderId};
use writ_protocol::record::Kind;

use crate::error::Error;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    BATCHES = "-- evidence.batches
        SELECT b.first_seq, b.envelope,
               (SELECT string_agg(e.raw, ''::bytea ORDER BY e.seq) FROM event e
                WHERE e.agent_id = b.agent_id AND e.journal_id = b.journal_id AND e.seq BETWEEN b.first_seq AND b.last_seq) AS frames
        FROM event_batch b WHERE b.agent_id = $1 AND b.journal_id = $2 AND b.last_seq >= $3 AND b.first_seq <= $4 ORDER BY b.first_seq";
    CHUNKS = "-- evidence.chunks
        SELECT raw FROM event WHERE order_id = $1 AND kind = $2 ORDER BY seq";
}

/// A signed batch as it came: its envelope and its frames' bytes.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// Its first frame.
    pub first_seq: u64,
    /// The statement's envelope.
    pub envelope: Vec<u8>,
    /// The frames.
    pub frames: Vec<u8>,
}

/// Batches of a journal that touch a range of frames, in order.
///
/// # Errors
/// [`Error`].
pub async fn batches(
    tx: &mut Tx,
    journal: (AgentId, JournalId),
    seqs: (u64, u64),
) -> Result<Vec<StoredBatch>, Error> {
    let query = query(BATCHES)
        .bind(journal.0.as_uuid())
        .bind(journal.1.as_uuid())
        .bind(row::signed(seqs.0))
        .bind(row::signed(seqs.1));
    let rows = tx.rows(query).await?;
    let read = |r: &PgRow| {
        Ok(StoredBatch {
            first_seq: row::count(r, "first_seq")?,
            envelope: row::get(r, "envelope")?,
            frames: row::get::<Option<Vec<u8>>>(r, "frames")?.unwrap_or_default(),
        })
    };
    rows.iter().map(read).collect()
}

/// Frames that carry parts of an order's blobs.
///
/// # Errors
/// [`Error`].
pub async fn chunks(tx: &mut Tx, order: OrderId) -> Result<Vec<Vec<u8>>, Error> {
    let kind = i16::from(Kind::BlobChunk.number());
    let rows = tx.rows(query(CHUNKS).bind(order.as_uuid()).bind(kind)).await?;
    rows.iter().map(|r| row::get(r, "raw")).collect()
}
