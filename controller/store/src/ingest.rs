//! Frames into the ledger: how far each journal is committed, and the frames themselves, many agents at a time.

use sqlx::postgres::PgRow;
use sqlx::query;
use uuid::Uuid;
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, JournalId, OrderId};
use writ_protocol::time::Timestamp;

use crate::agent::uuids;
use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

statements! {
    BEGIN = "-- ingest.begin
        INSERT INTO agent_ingest (agent_id, journal_id, next_seq, last_hash, updated_at)
        SELECT u.agent_id, u.journal_id, 1, $3, $4 FROM unnest($1::uuid[], $2::uuid[]) u(agent_id, journal_id)
        ON CONFLICT (agent_id, journal_id) DO NOTHING";
    LOCK = "-- ingest.lock
        SELECT i.agent_id, i.journal_id, i.next_seq, i.last_hash FROM agent_ingest i
        JOIN unnest($1::uuid[], $2::uuid[]) u(agent_id, journal_id) USING (agent_id, journal_id)
        ORDER BY i.agent_id, i.journal_id FOR UPDATE OF i";
    READ = "-- ingest.read
        SELECT i.agent_id, i.journal_id, i.next_seq, i.last_hash FROM agent_ingest i
        JOIN unnest($1::uuid[], $2::uuid[]) u(agent_id, journal_id) USING (agent_id, journal_id)";
    EVENTS = "-- ingest.events
        INSERT INTO event (journal_id, seq, agent_id, kind, order_id, wall, received_at, raw)
        SELECT u.journal_id, u.seq, u.agent_id, u.kind, u.order_id, u.wall, $7, u.raw
        FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::smallint[], $5::uuid[], $6::timestamptz[], $8::bytea[])
            u(journal_id, seq, agent_id, kind, order_id, wall, raw)";
    BATCHES = "-- ingest.batches
        INSERT INTO event_batch (journal_id, first_seq, last_seq, agent_id, envelope, received_at)
        -- One round may bring a batch and a longer one with the same start; a statement must not touch a row twice.
        SELECT DISTINCT ON (u.agent_id, u.journal_id, u.first_seq) u.journal_id, u.first_seq, u.last_seq, u.agent_id, u.envelope, $6
        FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bytea[]) u(journal_id, first_seq, last_seq, agent_id, envelope)
        ORDER BY u.agent_id, u.journal_id, u.first_seq, u.last_seq DESC
        ON CONFLICT (agent_id, journal_id, first_seq) DO UPDATE SET last_seq = EXCLUDED.last_seq, envelope = EXCLUDED.envelope
        WHERE event_batch.last_seq < EXCLUDED.last_seq";
    ADVANCE = "-- ingest.advance
        UPDATE agent_ingest i SET next_seq = u.next_seq, last_hash = u.last_hash, updated_at = $5
        FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[]) u(agent_id, journal_id, next_seq, last_hash)
        WHERE i.agent_id = u.agent_id AND i.journal_id = u.journal_id AND i.next_seq < u.next_seq";
    RAW_AT = "-- ingest.raw_at
        SELECT e.agent_id, e.journal_id, e.seq, e.raw FROM event e
        JOIN unnest($1::uuid[], $2::uuid[], $3::bigint[]) u(agent_id, journal_id, seq) USING (agent_id, journal_id, seq)";
    DEAD_LETTER = "-- ingest.dead_letter
        INSERT INTO dead_letter (at, subject, code, detail, length, sample) VALUES ($1, $2, $3, $4, $5, $6)";
    DEAD_LETTERS = "-- ingest.dead_letters
        SELECT count(*) FROM dead_letter";
    ALARMS = "-- ingest.alarms
        INSERT INTO alarm (agent_id, at, code, detail)
        SELECT u.agent_id, $4, u.code, u.detail FROM unnest($1::uuid[], $2::text[], $3::text[]) u(agent_id, code, detail)";
    LIST_ALARMS = "-- ingest.list_alarms
        SELECT at, code, detail FROM alarm WHERE agent_id = $1 ORDER BY alarm_id DESC LIMIT $2";
    ORPHANS = "-- ingest.orphans
        INSERT INTO orphan_order (order_id, agent_id, first_seen, detail)
        SELECT u.order_id, u.agent_id, $4, u.detail FROM unnest($1::uuid[], $2::uuid[], $3::text[]) u(order_id, agent_id, detail)
        ON CONFLICT (order_id) DO NOTHING";
}

/// How far a journal is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The agent.
    pub agent_id: AgentId,
    /// Its journal.
    pub journal_id: JournalId,
    /// The next frame.
    pub next_seq: u64,
    /// Chain value before it.
    pub last_hash: Digest,
}

impl Mark {
    /// The newest committed frame; 0 before the first.
    pub const fn upto(&self) -> u64 {
        self.next_seq.saturating_sub(1)
    }
}

/// A frame to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its journal.
    pub journal_id: JournalId,
    /// Its place there.
    pub seq: u64,
    /// The agent.
    pub agent_id: AgentId,
    /// The record's kind.
    pub kind: u8,
    /// The order it is about.
    pub order_id: Option<OrderId>,
    /// The agent's wall clock.
    pub wall: Timestamp,
    /// The frame as it came.
    pub raw: &'a [u8],
}

/// A batch's signature, to be stored beside its frames.
#[derive(Clone, Copy, Debug)]
pub struct BatchEnvelope<'a> {
    /// The journal.
    pub journal_id: JournalId,
    /// First frame.
    pub first_seq: u64,
    /// Last frame.
    pub last_seq: u64,
    /// The agent.
    pub agent_id: AgentId,
    /// The statement's envelope.
    pub envelope: &'a [u8],
}

/// A message that could not be taken.
#[derive(Clone, Debug)]
pub struct DeadLetter<'a> {
    /// Where it came from.
    pub subject: String,
    /// Why.
    pub code: &'a str,
    /// Why, in words.
    pub detail: &'a str,
    /// Its bytes, of which a sample is kept.
    pub message: &'a [u8],
}

/// Bytes kept of a dead letter.
const SAMPLE_BYTES: usize = 4_096;

/// Locks the marks of journals in order, making those that are new. Each journal is named once.
///
/// # Errors
/// [`Error`].
pub async fn lock(
    tx: &mut Tx,
    journals: &[(AgentId, JournalId)],
    now: Timestamp,
) -> Result<Vec<Mark>, Error> {
    let (agents, ids): (Vec<Uuid>, Vec<Uuid>) =
        journals.iter().map(|(a, j)| (a.as_uuid(), j.as_uuid())).unzip();
    let found = tx.rows(query(LOCK).bind(&agents).bind(&ids)).await?;
    if found.len() == journals.len() {
        return found.iter().map(read_mark).collect();
    }
    let zero = Digest::ZERO;
    let begin = query(BEGIN)
        .bind(&agents)
        .bind(&ids)
        .bind(zero.as_bytes().as_slice())
        .bind(Instant(now));
    tx.run(begin).await?;
    tx.rows(query(LOCK).bind(&agents).bind(&ids))
        .await?
        .iter()
        .map(read_mark)
        .collect()
}

/// The mark of a journal, if anything of it is known.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, agent: AgentId, journal: JournalId) -> Result<Option<Mark>, Error> {
    Ok(read_all(tx, &[(agent, journal)]).await?.pop())
}

/// The marks of journals of which anything is known, in no order.
///
/// # Errors
/// [`Error`].
pub async fn read_all(tx: &mut Tx, journals: &[(AgentId, JournalId)]) -> Result<Vec<Mark>, Error> {
    let (agents, journals): (Vec<_>, Vec<_>) =
        journals.iter().map(|(a, j)| (a.as_uuid(), j.as_uuid())).unzip();
    tx.rows(query(READ).bind(agents).bind(journals))
        .await?
        .iter()
        .map(read_mark)
        .collect()
}

/// Stores frames in one statement.
///
/// # Errors
/// [`Error`].
pub async fn store_events(tx: &mut Tx, events: &[Event<'_>], now: Timestamp) -> Result<(), Error> {
    let query = query(EVENTS)
        .bind(events.iter().map(|e| e.journal_id.as_uuid()).collect::<Vec<_>>())
        .bind(events.iter().map(|e| row::signed(e.seq)).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.agent_id.as_uuid()).collect::<Vec<_>>())
        .bind(events.iter().map(|e| i16::from(e.kind)).collect::<Vec<_>>())
        .bind(
            events
                .iter()
                .map(|e| e.order_id.map(|o| o.as_uuid()))
                .collect::<Vec<_>>(),
        )
        .bind(events.iter().map(|e| Instant(e.wall)).collect::<Vec<_>>())
        .bind(Instant(now))
        .bind(events.iter().map(|e| e.raw).collect::<Vec<_>>());
    tx.run(query).await.map(|_| ())
}

/// Stores batches' signatures in one statement. A batch that begins where a shorter one did takes its place: it covers the same frames.
///
/// # Errors
/// [`Error`].
pub async fn store_batches(tx: &mut Tx, batches: &[BatchEnvelope<'_>], now: Timestamp) -> Result<(), Error> {
    let query = query(BATCHES)
        .bind(batches.iter().map(|b| b.journal_id.as_uuid()).collect::<Vec<_>>())
        .bind(
            batches
                .iter()
                .map(|b| row::signed(b.first_seq))
                .collect::<Vec<_>>(),
        )
        .bind(
            batches
                .iter()
                .map(|b| row::signed(b.last_seq))
                .collect::<Vec<_>>(),
        )
        .bind(batches.iter().map(|b| b.agent_id.as_uuid()).collect::<Vec<_>>())
        .bind(batches.iter().map(|b| b.envelope).collect::<Vec<_>>())
        .bind(Instant(now));
    tx.run(query).await.map(|_| ())
}

/// Moves marks on.
///
/// # Errors
/// [`Error::Inconsistent`] when one of them would not move forward: the transaction must be given up then.
pub async fn advance(tx: &mut Tx, marks: &[Mark], now: Timestamp) -> Result<(), Error> {
    let ids: Vec<AgentId> = marks.iter().map(|m| m.agent_id).collect();
    let query = query(ADVANCE)
        .bind(uuids(&ids))
        .bind(marks.iter().map(|m| m.journal_id.as_uuid()).collect::<Vec<_>>())
        .bind(marks.iter().map(|m| row::signed(m.next_seq)).collect::<Vec<_>>())
        .bind(
            marks
                .iter()
                .map(|m| m.last_hash.as_bytes().as_slice())
                .collect::<Vec<_>>(),
        )
        .bind(Instant(now));
    if tx.run(query).await? == marks.len() as u64 {
        return Ok(());
    }
    Err(Error::Inconsistent {
        what: "watermark: it would move back",
    })
}

/// A place in a journal: whose, which, and the frame's number.
pub type At = (AgentId, JournalId, u64);

/// Stored frames by their places, in no order; those that are not stored are left out.
///
/// # Errors
/// [`Error`].
pub async fn raw_at(tx: &mut Tx, places: &[At]) -> Result<Vec<(At, Vec<u8>)>, Error> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let query = query(RAW_AT)
        .bind(places.iter().map(|(a, ..)| a.as_uuid()).collect::<Vec<_>>())
        .bind(places.iter().map(|(_, j, _)| j.as_uuid()).collect::<Vec<_>>())
        .bind(
            places
                .iter()
                .map(|(.., seq)| row::signed(*seq))
                .collect::<Vec<_>>(),
        );
    let read = |r: &PgRow| {
        let at = (
            row::uuid(r, "agent_id", AgentId::from_uuid)?,
            row::uuid(r, "journal_id", JournalId::from_uuid)?,
            row::count(r, "seq")?,
        );
        Ok((at, row::get(r, "raw")?))
    };
    tx.rows(query).await?.iter().map(read).collect()
}

/// Sets a message aside, with a sample of its bytes.
///
/// # Errors
/// [`Error`].
pub async fn dead_letter(tx: &mut Tx, letter: &DeadLetter<'_>, now: Timestamp) -> Result<(), Error> {
    let sample = letter.message.get(..SAMPLE_BYTES).unwrap_or(letter.message);
    let query = query(DEAD_LETTER)
        .bind(Instant(now))
        .bind(&letter.subject)
        .bind(letter.code)
        .bind(text(letter.detail))
        .bind(row::signed(letter.message.len() as u64))
        .bind(sample);
    tx.run(query).await.map(|_| ())
}

/// How many messages have been set aside.
///
/// # Errors
/// [`Error`].
pub async fn dead_letters(tx: &mut Tx) -> Result<u64, Error> {
    let count: i64 = tx.one(query(DEAD_LETTERS), "count").await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Writes down what agents raised: agent, code, words.
///
/// # Errors
/// [`Error`].
pub async fn store_alarms(
    tx: &mut Tx,
    alarms: &[(AgentId, String, String)],
    now: Timestamp,
) -> Result<(), Error> {
    let query = query(ALARMS)
        .bind(alarms.iter().map(|(a, ..)| a.as_uuid()).collect::<Vec<_>>())
        .bind(
            alarms
                .iter()
                .map(|(_, code, _)| code.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(alarms.iter().map(|(.., detail)| text(detail)).collect::<Vec<_>>())
        .bind(Instant(now));
    tx.run(query).await.map(|_| ())
}

/// An agent's newest alarms: when, code, words.
///
/// # Errors
/// [`Error`].
pub async fn alarms(
    tx: &mut Tx,
    agent: AgentId,
    limit: u32,
) -> Result<Vec<(Timestamp, String, String)>, Error> {
    let rows = tx
        .rows(query(LIST_ALARMS).bind(agent.as_uuid()).bind(i64::from(limit)))
        .await?;
    rows.iter()
        .map(|r| Ok((row::time(r, "at")?, row::get(r, "code")?, row::get(r, "detail")?)))
        .collect()
}

/// Writes down orders that agents report and the ledger does not know.
///
/// # Errors
/// [`Error`].
pub async fn store_orphans(
    tx: &mut Tx,
    orphans: &[(OrderId, AgentId, String)],
    now: Timestamp,
) -> Result<(), Error> {
    let query = query(ORPHANS)
        .bind(orphans.iter().map(|(o, ..)| o.as_uuid()).collect::<Vec<_>>())
        .bind(orphans.iter().map(|(_, a, _)| a.as_uuid()).collect::<Vec<_>>())
        .bind(
            orphans
                .iter()
                .map(|(.., detail)| text(detail))
                .collect::<Vec<_>>(),
        )
        .bind(Instant(now));
    tx.run(query).await.map(|_| ())
}

fn read_mark(r: &PgRow) -> Result<Mark, Error> {
    Ok(Mark {
        agent_id: row::uuid(r, "agent_id", AgentId::from_uuid)?,
        journal_id: row::uuid(r, "journal_id", JournalId::from_uuid)?,
        next_seq: row::count(r, "next_seq")?,
        last_hash: row::digest(r, "last_hash")?,
    })
}
