//! Event batches into the ledger: signatures and chains are checked first, then everything that many agents sent goes in by one transaction, and
//! only what that transaction committed is told back to them.

pub(super) mod effects;

use std::collections::BTreeMap;

use bytes::Bytes;
use writ_domain::agent::AgentEvent;
use writ_protocol::batch::{self, Batch, Continuation};
use writ_protocol::hello::{Committed, Watermark};
use writ_protocol::id::{AgentId, JournalId};
use writ_protocol::manifest::Identity;
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::record::Record;
use writ_protocol::time::Timestamp;
use writ_store::ingest::{BatchEnvelope, DeadLetter, Event, Mark};
use writ_store::{Tx, agent, ingest};

use super::life::Fence;
use super::{App, Error};
use effects::Effects;

/// A batch as it came.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The agent that its subject names; the server has seen proof of that.
    pub user_key: UserKey,
    /// The message.
    pub message: Bytes,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its new frames are committed.
    Accepted,
    /// All its frames were committed before.
    Known,
    /// Frames before it are missing; the agent is told to send from there.
    Gap {
        /// From where.
        resend_from: u64,
    },
    /// It contradicts what is committed; the agent is in quarantine.
    Fork,
    /// It does not verify, or no such agent is known; set aside.
    Refused(Code),
}

/// The outcome of a batch, and what its agent is to be told now that it is committed.
#[derive(Clone, Debug)]
pub struct IngestOutcome {
    /// What became of it.
    pub outcome: Outcome,
    /// The signed watermark, once for each journal.
    pub watermark: Option<(UserKey, Vec<u8>)>,
}

/// A batch that verified, with its place among those that came.
struct Opened<'a> {
    place: usize,
    batch: Batch,
    message: &'a Bytes,
}

/// The records of one pass, decoded once.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The frame as it is stored.
    pub event: Event<'a>,
    /// What it says; none for a kind of a newer build, or why it cannot be read.
    pub record: Result<Option<Record>, String>,
}

impl App {
    /// Takes batches in one transaction, under the lease of their shard. The outcomes stand in the order of the batches.
    ///
    /// # Errors
    /// [`Error`]: nothing of any batch is committed then.
    pub async fn ingest(
        &self,
        batches: &[Incoming],
        fence: Option<&Fence>,
    ) -> Result<Vec<IngestOutcome>, Error> {
        let now = self.now();
        let mut tx = self.store.begin("ingest").await?;
        if let Some(fence) = fence {
            Self::guard(&mut tx, fence).await?;
        }
        let keys: Vec<String> = batches.iter().map(|b| b.user_key.to_string()).collect();
        let agents: BTreeMap<UserKey, agent::Agent> = agent::by_keys(&mut tx, &keys)
            .await?
            .into_iter()
            .map(|a| (a.user_key.clone(), a))
            .collect();
        let mut outcomes = vec![Outcome::Known; batches.len()];
        let mut opened = Vec::with_capacity(batches.len());
        for (place, incoming) in batches.iter().enumerate() {
            match self.open_batch(incoming, &agents) {
                Ok(batch) => opened.push(Opened {
                    place,
                    batch,
                    message: &incoming.message,
                }),
                Err((code, detail)) => {
                    let (subject, code_text) = (
                        writ_protocol::subject::events(&incoming.user_key),
                        code.to_string(),
                    );
                    let letter = DeadLetter {
                        subject: &subject,
                        code: &code_text,
                        detail: &detail,
                        message: &incoming.message,
                    };
                    ingest::dead_letter(&mut tx, &letter, now).await?;
                    set(&mut outcomes, place, Outcome::Refused(code));
                }
            }
        }
        let marks = self.commit_frames(&mut tx, opened, &mut outcomes, now).await?;
        let epoch = self.meta(&mut tx).await?.epoch;
        tx.commit().await?;
        self.nudge.notify_waiters();
        self.answer(batches, outcomes, (&marks, epoch), &agents)
    }

    /// Sets a message aside that could not be taken even alone.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_aside(&self, incoming: &Incoming, why: &str) -> Result<(), Error> {
        let subject = writ_protocol::subject::events(&incoming.user_key);
        let code = Code::DeadLetter.to_string();
        let mut tx = self.store.begin("ingest.set_aside").await?;
        let letter = DeadLetter {
            subject: &subject,
            code: &code,
            detail: why,
            message: &incoming.message,
        };
        ingest::dead_letter(&mut tx, &letter, self.now()).await?;
        Ok(tx.commit().await?)
    }

    fn open_batch(
        &self,
        incoming: &Incoming,
        agents: &BTreeMap<UserKey, agent::Agent>,
    ) -> Result<Batch, (Code, String)> {
        let agent = agents
            .get(&incoming.user_key)
            .ok_or_else(|| (Code::NotFound, "no agent has this bus identity".to_owned()))?;
        if agent.state == writ_domain::agent::AgentState::Removed {
            return Err((Code::Forbidden, "the agent was removed".to_owned()));
        }
        let batch = batch::open(&incoming.message, &agent.artefact_key).map_err(|error| {
            let code = match &error {
                batch::BatchError::Trust(_) | batch::BatchError::Statement(_) => Code::SignatureInvalid,
                batch::BatchError::Codec(_)
                | batch::BatchError::Frame { .. }
                | batch::BatchError::Mismatch { .. } => Code::Malformed,
            };
            (code, writ_chassis::telemetry::ErrorChain(&error).to_string())
        })?;
        let header = batch.header();
        if header.tenant != self.settings.tenant {
            return Err((Code::WrongTenant, "the batch is of another tenant".to_owned()));
        }
        if header.agent_id != agent.agent_id || header.user_key != incoming.user_key {
            return Err((Code::WrongAudience, "the batch is of another agent".to_owned()));
        }
        Ok(batch)
    }

    /// Locks the journals' marks, takes what continues them, and applies what the frames say.
    async fn commit_frames(
        &self,
        tx: &mut Tx,
        mut opened: Vec<Opened<'_>>,
        outcomes: &mut [Outcome],
        now: Timestamp,
    ) -> Result<BTreeMap<(AgentId, JournalId), Mark>, Error> {
        opened.sort_by_key(|o| (journal(&o.batch), o.batch.header().first_seq));
        let mut journals: Vec<(AgentId, JournalId)> = opened.iter().map(|o| journal(&o.batch)).collect();
        journals.dedup();
        let locked = if journals.is_empty() {
            Vec::new()
        } else {
            ingest::lock(tx, &journals, now).await?
        };
        let mut marks: BTreeMap<_, Mark> = locked
            .into_iter()
            .map(|m| ((m.agent_id, m.journal_id), m))
            .collect();
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
                Continuation::Known if repeats(tx, mark, batch, &taken).await? => Outcome::Known,
                Continuation::Known | Continuation::Fork => {
                    self.fork(tx, (batch, message), now).await?;
                    Outcome::Fork
                }
            };
            set(outcomes, *place, outcome);
        }
        self.store_taken(tx, &taken, &marks, now).await?;
        Ok(marks)
    }

    async fn store_taken(
        &self,
        tx: &mut Tx,
        taken: &[(&Batch, u64)],
        marks: &BTreeMap<(AgentId, JournalId), Mark>,
        now: Timestamp,
    ) -> Result<(), Error> {
        if taken.is_empty() {
            return Ok(());
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
        Effects::gather(&decoded)
            .apply(tx, self.settings.lease, now)
            .await
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
        let subject = writ_protocol::subject::events(&header.user_key);
        let letter = DeadLetter {
            subject: &subject,
            code: &code,
            detail: &detail,
            message, // as it came: the signature is what proves the second history
        };
        ingest::dead_letter(tx, &letter, now).await?;
        ingest::store_alarms(tx, &[(header.agent_id, code, detail.clone())], now).await?;
        super::agent::set_state(
            tx,
            header.agent_id,
            AgentEvent::Quarantine,
            ("controller", &detail),
            now,
        )
        .await?;
        Ok(())
    }

    fn answer(
        &self,
        batches: &[Incoming],
        outcomes: Vec<Outcome>,
        (marks, epoch): (&BTreeMap<(AgentId, JournalId), Mark>, u32),
        agents: &BTreeMap<UserKey, agent::Agent>,
    ) -> Result<Vec<IngestOutcome>, Error> {
        let mut resend: BTreeMap<AgentId, u64> = BTreeMap::new();
        for (incoming, outcome) in batches.iter().zip(&outcomes) {
            if let (Outcome::Gap { resend_from }, Some(agent)) = (outcome, agents.get(&incoming.user_key)) {
                resend.insert(agent.agent_id, *resend_from);
            }
        }
        let mut words: BTreeMap<UserKey, Vec<Vec<u8>>> = BTreeMap::new();
        for mark in marks.values() {
            let Some(agent) = agents.values().find(|a| a.agent_id == mark.agent_id) else {
                continue;
            };
            // After a gap the frames that came meanwhile may have closed it.
            let resend_from = resend
                .get(&mark.agent_id)
                .copied()
                .filter(|from| *from >= mark.next_seq);
            let word = self.watermark(agent, mark, epoch, resend_from)?;
            words.entry(agent.user_key.clone()).or_default().push(word);
        }
        let told = |(incoming, outcome): (&Incoming, Outcome)| {
            let word = words.get_mut(&incoming.user_key).and_then(Vec::pop);
            IngestOutcome {
                outcome,
                watermark: word.map(|w| (incoming.user_key.clone(), w)),
            }
        };
        Ok(batches.iter().zip(outcomes).map(told).collect())
    }

    fn watermark(
        &self,
        agent: &agent::Agent,
        mark: &Mark,
        epoch: u32,
        resend_from: Option<u64>,
    ) -> Result<Vec<u8>, Error> {
        let identity = self.identity(agent);
        let committed = Committed {
            journal_id: mark.journal_id,
            upto: mark.upto(),
            hash: mark.last_hash,
        };
        let word = Watermark {
            identity: identity.clone(),
            epoch,
            committed,
            resend_from,
        };
        let envelope = self.signer.director(&identity, word)?;
        envelope
            .to_json()
            .map_err(|e| Error::internal("a watermark cannot be written", e))
    }

    pub(super) fn identity(&self, agent: &agent::Agent) -> Identity {
        Identity {
            tenant: self.settings.tenant.clone(),
            agent_id: agent.agent_id,
            user_key: agent.user_key.clone(),
        }
    }
}

fn journal(batch: &Batch) -> (AgentId, JournalId) {
    (batch.header().agent_id, batch.header().journal_id)
}

fn set(outcomes: &mut [Outcome], place: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = outcome;
    }
}

/// Whether a batch at or below the mark is the one that is stored, or is about to be in this pass.
async fn repeats(tx: &mut Tx, mark: &Mark, batch: &Batch, taken: &[(&Batch, u64)]) -> Result<bool, Error> {
    let frames = batch.frames();
    let Some((frame, _, raw)) = frames.last() else {
        return Ok(true);
    };
    let same = |one: &Batch| {
        let found = one.frames().into_iter().find(|(f, ..)| f.seq == frame.seq);
        found.map(|(.., taken)| taken == *raw)
    };
    let here = taken.iter().filter(|(one, _)| journal(one) == journal(batch));
    if let Some(same) = here.rev().find_map(|(one, _)| same(one)) {
        return Ok(same);
    }
    let stored = ingest::raw_at(tx, mark, frame.seq).await?;
    Ok(stored.is_none_or(|stored| stored == *raw))
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
