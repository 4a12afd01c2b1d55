//! The chains of journals: what a batch is to what is committed of its journal, and what of it is written down.

use std::collections::BTreeMap;

use bytes::Bytes;
use writ_domain::agent::AgentEvent;
use writ_protocol::batch::{Batch, Continuation};
use writ_protocol::id::{AgentId, JournalId};
use writ_protocol::reason::Code;
use writ_protocol::record::Record;
use writ_protocol::time::Timestamp;
use writ_store::ingest::{At, BatchEnvelope, DeadLetter, Event, Mark};
use writ_store::{Tx, ingest};

use super::super::trace::spans;
use super::super::{App, Error};
use super::effects::Effects;
use super::{Marks, Opened, Outcome, set};
use crate::traces::Span;

/// The records of one pass, decoded once.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The frame as it is stored.
    pub event: Event<'a>,
    /// What it says; none for a kind of a newer build, or why it cannot be read.
    pub record: Result<Option<Record>, String>,
}

/// What came of the frames of a pass.
#[derive(Debug, Default)]
pub(super) struct Came {
    /// Whether runs have moved.
    pub has_moved: bool,
    /// When agents noticed what they tell of drift.
    pub noticed: Vec<Timestamp>,
    /// When the orders were made that agents said they accepted.
    pub dispatched: Vec<Timestamp>,
    /// What is told of it in traces, once it is committed.
    pub spans: Vec<Span>,
}

impl App {
    /// Locks the journals' marks, takes what continues them, and applies what the frames say. Also says what came of it.
    pub(super) async fn commit_frames(
        &self,
        tx: &mut Tx,
        mut opened: Vec<Opened<'_>>,
        outcomes: &mut [Outcome],
        now: Timestamp,
    ) -> Result<(Marks, Came), Error> {
        opened.sort_by_key(|o| (journal(&o.batch), o.batch.header().first_seq));
        let mut journals: Vec<(AgentId, JournalId)> = opened.iter().map(|o| journal(&o.batch)).collect();
        journals.dedup();
        let locked = if journals.is_empty() {
            Vec::new()
        } else {
            ingest::lock(tx, &journals, now).await?
        };
        let mut marks: Marks = locked
            .into_iter()
            .map(|m| ((m.agent_id, m.journal_id), m))
            .collect();
        let stored = stored(tx, &marks, &opened).await?;
        let mut taken: Vec<(&Batch, u64)> = Vec::new();
        for Opened {
            place,
            batch,
            message,
        } in &opened
        {
            let Some(mark) = marks.get_mut(&journal(batch)) else {
                continue;
            };
            let outcome = match batch.after(mark.upto(), &mark.last_hash) {
                Continuation::New { skip } => {
                    (mark.next_seq, mark.last_hash) = (
                        batch.header().last_seq.saturating_add(1),
                        batch.header().last_hash,
                    );
                    taken.push((batch, skip));
                    Outcome::Accepted
                }
                Continuation::Gap { resend_from } => Outcome::Gap { resend_from },
                Continuation::Known if repeats(&stored, batch, &taken) => Outcome::Known,
                Continuation::Known | Continuation::Fork => {
                    self.fork(tx, (batch, message), now).await?;
                    Outcome::Fork
                }
            };
            set(outcomes, *place, outcome);
        }
        let came = self.store_taken(tx, &taken, &marks, now).await?;
        Ok((marks, came))
    }

    async fn store_taken(
        &self,
        tx: &mut Tx,
        taken: &[(&Batch, u64)],
        marks: &Marks,
        now: Timestamp,
    ) -> Result<Came, Error> {
        if taken.is_empty() {
            return Ok(Came::default());
        }
        let decoded: Vec<Decoded<'_>> = taken
            .iter()
            .flat_map(|(batch, skip)| decode(batch, *skip))
            .collect();
        let events: Vec<Event<'_>> = decoded.iter().map(|d| d.event).collect();
        ingest::store_events(tx, &events, now).await?;
        let envelope = |(batch, _): &(&Batch, u64)| {
            let header = batch.header();
            let (agent_id, journal_id) = journal(batch);
            (header.first_seq, header.last_seq, agent_id, journal_id)
        };
        let envelopes: Vec<BatchEnvelope<'_>> = taken
            .iter()
            .map(|one| {
                let (first_seq, last_seq, agent_id, journal_id) = envelope(one);
                BatchEnvelope {
                    journal_id,
                    first_seq,
                    last_seq,
                    agent_id,
                    envelope: one.0.envelope(),
                }
            })
            .collect();
        ingest::store_batches(tx, &envelopes, now).await?;
        let moved: Vec<Mark> = taken
            .iter()
            .filter_map(|(batch, _)| marks.get(&journal(batch)).copied())
            .collect();
        ingest::advance(tx, &unique(moved), now).await?;
        let effects = Effects::gather(&decoded);
        let noticed = effects.noticed();
        let noise = self.noise(tx, &effects.drifting()).await?;
        let applied = effects.apply(tx, &noise, self.settings.lease, now).await?;
        let places = self.places(tx, &applied.orders).await?;
        Ok(Came {
            has_moved: applied.has_moved,
            noticed,
            dispatched: applied.dispatched,
            spans: spans::of_records(&decoded, &applied.orders, &places, now),
        })
    }

    /// Two histories claim one sequence number: somebody has copied the agent, or it lies.
    async fn fork(
        &self,
        tx: &mut Tx,
        (batch, message): (&Batch, &Bytes),
        now: Timestamp,
    ) -> Result<(), Error> {
        let header = batch.header();
        let detail = format!(
            "two histories at record {} of {}",
            header.first_seq, header.journal_id
        );
        let code = Code::Fork.to_string();
        let letter = DeadLetter {
            subject: writ_protocol::subject::events(&header.user_key),
            code: &code,
            detail: &detail,
            message, // as it came: the signature is what proves the second history
        };
        ingest::dead_letter(tx, &letter, now).await?;
        ingest::store_alarms(tx, &[(header.agent_id, code, detail.clone())], now).await?;
        super::super::agent::set_state(
            tx,
            header.agent_id,
            AgentEvent::Quarantine,
            ("controller", &detail),
            now,
        )
        .await?;
        Ok(())
    }
}

fn journal(batch: &Batch) -> (AgentId, JournalId) {
    (batch.header().agent_id, batch.header().journal_id)
}

/// The last frames of batches that seem to be known, as they are stored: what the ledger holds at their places.
async fn stored(tx: &mut Tx, marks: &Marks, opened: &[Opened<'_>]) -> Result<BTreeMap<At, Vec<u8>>, Error> {
    let at_or_below = |o: &Opened<'_>| {
        let (agent_id, journal_id) = journal(&o.batch);
        let mark = marks.get(&(agent_id, journal_id))?;
        let last = o.batch.header().last_seq;
        (last <= mark.upto()).then_some((agent_id, journal_id, last))
    };
    let places: Vec<At> = opened.iter().filter_map(at_or_below).collect();
    Ok(ingest::raw_at(tx, &places).await?.into_iter().collect())
}

/// Whether a batch at or below the mark is the one that is stored, or is about to be in this pass.
fn repeats(stored: &BTreeMap<At, Vec<u8>>, batch: &Batch, taken: &[(&Batch, u64)]) -> bool {
    let frames = batch.frames();
    let Some((frame, _, raw)) = frames.last() else {
        return true;
    };
    let same = |one: &Batch| {
        let found = one.frames().into_iter().find(|(f, ..)| f.seq == frame.seq);
        found.map(|(.., taken)| taken == *raw)
    };
    let here = taken.iter().filter(|(one, _)| journal(one) == journal(batch));
    if let Some(same) = here.rev().find_map(|(one, _)| same(one)) {
        return same;
    }
    let (agent_id, journal_id) = journal(batch);
    let stored = stored.get(&(agent_id, journal_id, frame.seq));
    stored.is_none_or(|stored| stored == raw)
}

/// The frames of a batch but for the first `skip`, with what they say.
pub fn decode(batch: &Batch, skip: u64) -> Vec<Decoded<'_>> {
    let (agent_id, journal_id) = journal(batch);
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let one = |(frame, _, raw): (writ_protocol::frame::Frame<'_>, _, _)| {
        let record = Record::decode(&frame).map_err(|e| e.to_string());
        let order_id = record
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .and_then(Record::order_id);
        (frame.seq, frame.kind, frame.wall, order_id, raw, record)
    };
    let to_decoded = |(seq, kind, wall, order_id, raw, record)| Decoded {
        event: Event {
            journal_id,
            seq,
            agent_id,
            kind,
            order_id,
            wall,
            raw,
        },
        record,
    };
    batch
        .frames()
        .into_iter()
        .skip(skip)
        .map(one)
        .map(to_decoded)
        .collect()
}

fn unique(marks: Vec<Mark>) -> Vec<Mark> {
    let by_journal: BTreeMap<(AgentId, JournalId), Mark> = marks
        .into_iter()
        .map(|m| ((m.agent_id, m.journal_id), m))
        .collect();
    by_journal.into_values().collect()
}
