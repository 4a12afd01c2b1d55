//! Event batches into the ledger, as `writ_controller::app::ingest` takes them: one transaction, under the lease of the shard.

use std::collections::BTreeMap;

use writ_controller::app::Fence;
use writ_controller::app::rule::{Effects, decode};
use writ_domain::agent::{AgentEvent, AgentState};
use writ_protocol::batch::{self, Batch, Continuation};
use writ_protocol::hello::{self, Committed, Watermark};
use writ_protocol::id::{AgentId, JournalId, OrderId};
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;
use writ_store::agent::Agent;
use writ_store::ingest::Mark;
use writ_store::order::Order;

use super::super::books::Books;
use super::super::keys::{NOTARY, TENANT};
use super::super::store::Failed;
use super::super::witness::Witness;
use super::{LEASE, identity};

/// A batch as it came.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The agent that its subject names.
    pub key: UserKey,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A watermark for an agent.
#[derive(Clone, Debug)]
pub struct Told {
    /// Whom to tell.
    pub key: UserKey,
    /// What is committed.
    pub mark: Mark,
    /// In which life of the database.
    pub epoch: u32,
    /// The signed word.
    pub bytes: Vec<u8>,
}

/// What became of the batches of one pass.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// In the order of the batches.
    pub words: Vec<&'static str>,
    /// Signed watermarks.
    pub marks: Vec<Told>,
}

type Journal = (AgentId, JournalId);

fn journal(batch: &Batch) -> Journal {
    (batch.header().agent_id, batch.header().journal_id)
}

/// Takes batches.
///
/// # Errors
/// [`Failed::Fenced`] when the lease is gone; then nothing changed.
pub fn ingest(
    books: &mut Books,
    witness: &mut Witness,
    (batches, fence): (&[Arrival], &Fence),
    now: Timestamp,
) -> Result<Outcome, Failed> {
    guard(books, witness, fence, now)?;
    let mut words = vec!["known"; batches.len()];
    let mut opened = Vec::new();
    for (place, arrival) in batches.iter().enumerate() {
        if let Ok(batch) = open(books, arrival) {
            opened.push((place, batch));
        } else {
            books.dead_letters += 1;
            set(&mut words, place, "refused");
        }
    }
    opened.sort_by_key(|(_, batch)| (journal(batch), batch.header().first_seq));
    let (mut taken, mut gaps): (Vec<(&Batch, u64)>, BTreeMap<AgentId, u64>) = Default::default();
    let mut marks: BTreeMap<Journal, Mark> = BTreeMap::new();
    for (place, batch) in &opened {
        let mark = marks
            .entry(journal(batch))
            .or_insert_with(|| books.mark(journal(batch)));
        let word = match batch.after(mark.upto(), &mark.last_hash) {
            Continuation::New { skip } => {
                leave_out(books, witness, batch, mark.next_seq);
                (mark.next_seq, mark.last_hash) = (batch.header().last_seq + 1, batch.header().last_hash);
                taken.push((batch, skip));
                "accepted"
            }
            Continuation::Gap { resend_from } => {
                gaps.insert(batch.header().agent_id, resend_from);
                "gap"
            }
            Continuation::Known if repeats(books, batch) => "known",
            Continuation::Known | Continuation::Fork => {
                fork(books, witness, batch);
                "fork"
            }
        };
        set(&mut words, *place, word);
    }
    store(books, witness, &taken, now);
    books
        .marks
        .extend(marks.iter().map(|(journal, mark)| (*journal, *mark)));
    let told = marks.values().filter_map(|mark| {
        let agent = books.agents.get(&mark.agent_id)?;
        let resend_from = gaps
            .get(&mark.agent_id)
            .copied()
            .filter(|from| *from >= mark.next_seq);
        Some(Told {
            key: agent.user_key.clone(),
            mark: *mark,
            epoch: books.epoch,
            bytes: watermark(agent, mark, books.epoch, resend_from)?,
        })
    });
    Ok(Outcome {
        marks: told.collect(),
        words,
    })
}

/// Frames that nobody has any more leave a hole, which must be of what some life of the ledger had.
fn leave_out(books: &mut Books, witness: &mut Witness, batch: &Batch, next: u64) {
    let header = batch.header();
    if header.first_seq <= next {
        return;
    }
    let had = witness.committed(journal(batch));
    if header.gone_from.is_none() || had.saturating_add(1) < header.first_seq {
        let what = format!(
            "records {next} to {} of {} are left out, and no ledger ever had more than {had}",
            header.first_seq - 1,
            header.journal_id
        );
        witness.accuse("I2", what);
    }
    let holes = books.resumed.entry(journal(batch)).or_default();
    holes.insert(header.first_seq, header.prev_hash);
}

/// Two histories claim one sequence number.
fn fork(books: &mut Books, witness: &mut Witness, batch: &Batch) {
    let (agent_id, first) = (batch.header().agent_id, batch.header().first_seq);
    books.dead_letters += 1;
    books.alarms.push((agent_id, Code::Fork.to_string()));
    books.set_state(agent_id, AgentEvent::Quarantine);
    if !witness.is_exempt(agent_id) {
        witness.accuse(
            "I3",
            format!("a fork at {first} of {}", batch.header().journal_id),
        );
    }
}

/// The lease must still be held, and no write may come under a token that another has overtaken.
pub(super) fn guard(
    books: &Books,
    witness: &mut Witness,
    fence: &Fence,
    now: Timestamp,
) -> Result<(), Failed> {
    if !books.guard(fence, now) {
        return Err(Failed::Fenced);
    }
    let newest = books.leases.get(&fence.name).map_or(0, |row| row.token);
    if fence.token < newest {
        witness.accuse(
            "I10",
            format!(
                "a write under token {} of {} where {newest} holds",
                fence.token, fence.name
            ),
        );
    }
    Ok(())
}

fn open(books: &Books, arrival: &Arrival) -> Result<Batch, Code> {
    let agent = books.by_key(&arrival.key).ok_or(Code::NotFound)?;
    if agent.state == AgentState::Removed {
        return Err(Code::Forbidden);
    }
    let batch = batch::open(&arrival.bytes, &agent.artefact_key).map_err(|_| Code::Malformed)?;
    let header = batch.header();
    if header.tenant != TENANT {
        return Err(Code::WrongTenant);
    }
    if header.agent_id != agent.agent_id || header.user_key != arrival.key {
        return Err(Code::WrongAudience);
    }
    Ok(batch)
}

/// Whether a batch at or below the mark is the one that is stored.
fn repeats(books: &Books, batch: &Batch) -> bool {
    let frames = batch.frames();
    let Some((frame, _, raw)) = frames.last() else {
        return true;
    };
    let at = usize::try_from(frame.seq.saturating_sub(1)).unwrap_or(usize::MAX);
    let stored = books
        .events
        .get(&journal(batch))
        .and_then(|frames| frames.get(at));
    stored.is_none_or(|stored| stored.is_empty() || stored == raw)
}

fn store(books: &mut Books, witness: &mut Witness, taken: &[(&Batch, u64)], now: Timestamp) {
    let decoded: Vec<_> = taken
        .iter()
        .flat_map(|(batch, skip)| decode(batch, *skip))
        .collect();
    for one in &decoded {
        let events = books
            .events
            .entry((one.event.agent_id, one.event.journal_id))
            .or_default();
        let holes = books.resumed.get(&(one.event.agent_id, one.event.journal_id));
        if holes.is_some_and(|holes| holes.contains_key(&one.event.seq)) {
            let before = usize::try_from(one.event.seq.saturating_sub(1)).unwrap_or(usize::MAX);
            events.resize(before.max(events.len()), Vec::new());
        }
        if one.event.seq != events.len() as u64 + 1 {
            witness.accuse(
                "I3",
                format!("record {} stored after {}", one.event.seq, events.len()),
            );
        }
        events.push(one.event.raw.to_vec());
        witness.counts.frames += 1;
        witness.commits((one.event.agent_id, one.event.journal_id), one.event.seq);
    }
    let mut effects = Effects::gather(&decoded);
    let ids = effects.order_ids();
    let known = ids.iter().filter_map(|id| books.orders.get(id).cloned());
    let mut orders: BTreeMap<OrderId, Order> = known.map(|o| (o.order_id, o)).collect();
    let moved = effects.decide(&mut orders, LEASE, now);
    books.orders.extend(orders);
    books.remind(moved.runs);
    books.bump(moved.ended);
    books.orphans.extend(moved.orphans);
    books.alarms.extend(
        effects
            .alarms()
            .iter()
            .map(|(agent, code, _)| (*agent, code.clone())),
    );
}

fn watermark(agent: &Agent, mark: &Mark, epoch: u32, resend_from: Option<u64>) -> Option<Vec<u8>> {
    let identity = identity(agent);
    let word = Watermark {
        identity: identity.clone(),
        epoch,
        committed: Committed {
            journal_id: mark.journal_id,
            upto: mark.upto(),
            hash: mark.last_hash,
        },
        resend_from,
    };
    hello::sign(&identity, word, &NOTARY.director)
        .ok()?
        .to_json()
        .ok()
}

fn set(words: &mut [&'static str], place: usize, word: &'static str) {
    if let Some(slot) = words.get_mut(place) {
        *slot = word;
    }
}
