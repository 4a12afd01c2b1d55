//! Event batches into the ledger: signatures and chains are checked first, then everything that many agents sent goes in by one transaction, and
//! only what that transaction committed is told back to them.

mod chain;
pub(super) mod effects;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use writ_domain::slo::Slo;
use writ_protocol::batch::{self, Batch};
use writ_protocol::hello::{Committed, Watermark};
use writ_protocol::id::{AgentId, JournalId};
use writ_protocol::incident::Kind;
use writ_protocol::manifest::Identity;
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::subject::Shard;
use writ_protocol::time::Timestamp;
use writ_store::ingest::{DeadLetter, Mark};
use writ_store::{Tx, agent, ingest, lease};

use super::incident::{self, Finding};
use super::life::Fence;
use super::trace::spans;
use super::{App, Error};

pub use chain::{Decoded, decode};

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
    /// The lease of its shard is another's, so nothing of it was written; it is for that one to take.
    Unheld,
}

/// The outcome of a batch, and what its agent is to be told now that it is committed.
#[derive(Clone, Debug)]
pub struct IngestOutcome {
    /// What became of it.
    pub outcome: Outcome,
    /// The signed watermark, once for each journal.
    pub watermark: Option<(UserKey, Vec<u8>)>,
}

/// Marks of journals.
type Marks = BTreeMap<(AgentId, JournalId), Mark>;
type Agents = BTreeMap<UserKey, agent::Agent>;

/// The shards whose leases hold until the transaction ends.
enum Held {
    All,
    Named(BTreeSet<String>),
}

impl Held {
    async fn guard(tx: &mut Tx, fences: Option<&[Fence]>) -> Result<Self, Error> {
        let Some(fences) = fences else {
            return Ok(Self::All);
        };
        let names = lease::guard(tx, fences).await?;
        Ok(Self::Named(names.into_iter().collect()))
    }

    fn covers(&self, key: &UserKey) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(&App::shard_lease(Shard::of(key))),
        }
    }
}

/// A batch that verified, with its place among those that came.
struct Opened<'a> {
    place: usize,
    batch: Batch,
    message: &'a Bytes,
}

impl App {
    /// Takes batches in one transaction, each under the lease of its shard; `None` where nobody else can write. The outcomes stand in the order
    /// of the batches.
    ///
    /// # Errors
    /// [`Error`]: nothing of any batch is committed then.
    pub async fn ingest(
        &self,
        batches: &[Incoming],
        fences: Option<&[Fence]>,
    ) -> Result<Vec<IngestOutcome>, Error> {
        let now = self.now();
        let mut tx = self.store.begin("ingest").await?;
        let keys: Vec<String> = batches.iter().map(|b| b.user_key.to_string()).collect();
        let agents: Agents = agent::by_keys(&mut tx, &keys)
            .await?
            .into_iter()
            .map(|a| (a.user_key.clone(), a))
            .collect();
        // Signatures take time; the leases and the journals are not locked meanwhile.
        let verified: Vec<_> = batches.iter().map(|one| self.open_batch(one, &agents)).collect();
        let held = Held::guard(&mut tx, fences).await?;
        let mut outcomes = vec![Outcome::Known; batches.len()];
        let mut opened = Vec::with_capacity(batches.len());
        for (place, (incoming, verified)) in batches.iter().zip(verified).enumerate() {
            if !held.covers(&incoming.user_key) {
                set(&mut outcomes, place, Outcome::Unheld);
                continue;
            }
            match verified {
                Ok(batch) => opened.push(Opened {
                    place,
                    batch,
                    message: &incoming.message,
                }),
                Err((code, detail)) => {
                    ingest::dead_letter(&mut tx, &letter(incoming, &code.to_string(), &detail), now).await?;
                    set(&mut outcomes, place, Outcome::Refused(code));
                }
            }
        }
        let (marks, mut came) = self.commit_frames(&mut tx, opened, &mut outcomes, now).await?;
        let epoch = self.meta(&mut tx).await?.epoch;
        report_forks(&mut tx, (batches, &outcomes), &agents, now).await?;
        tx.commit().await?;
        self.nudge.notify_waiters();
        let committed = self.now();
        spans::committed(&mut came.spans, committed);
        self.traces().note(came.spans);
        self.delays.note(&came.noticed, committed);
        let noticed: Vec<Duration> = came.noticed.iter().map(|at| committed.since(*at)).collect();
        self.note_slo(Slo::Drift, &noticed);
        let dispatched: Vec<Duration> = came.dispatched.iter().map(|at| committed.since(*at)).collect();
        self.note_slo(Slo::Dispatch, &dispatched);
        if came.has_moved {
            self.moved.notify_one();
        }
        self.answer(batches, outcomes, (&marks, epoch), &agents)
    }

    /// Sets a message aside that could not be taken even alone.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_aside(&self, incoming: &Incoming, why: &str) -> Result<(), Error> {
        let code = Code::DeadLetter.to_string();
        let mut tx = self.store.begin("ingest.set_aside").await?;
        ingest::dead_letter(&mut tx, &letter(incoming, &code, why), self.now()).await?;
        Ok(tx.commit().await?)
    }

    fn open_batch(&self, incoming: &Incoming, agents: &Agents) -> Result<Batch, (Code, String)> {
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

    fn answer(
        &self,
        batches: &[Incoming],
        outcomes: Vec<Outcome>,
        (marks, epoch): (&BTreeMap<(AgentId, JournalId), Mark>, u32),
        agents: &Agents,
    ) -> Result<Vec<IngestOutcome>, Error> {
        let mut resend: BTreeMap<AgentId, u64> = BTreeMap::new();
        for (incoming, outcome) in batches.iter().zip(&outcomes) {
            if let (Outcome::Gap { resend_from }, Some(agent)) = (outcome, agents.get(&incoming.user_key)) {
                resend.insert(agent.agent_id, *resend_from);
            }
        }
        let by_id: BTreeMap<AgentId, &agent::Agent> = agents.values().map(|a| (a.agent_id, a)).collect();
        let mut words: BTreeMap<UserKey, Vec<Vec<u8>>> = BTreeMap::new();
        for mark in marks.values() {
            let Some(agent) = by_id.get(&mark.agent_id) else {
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

/// Two histories of one agent are for people to look at.
async fn report_forks(
    tx: &mut Tx,
    (batches, outcomes): (&[Incoming], &[Outcome]),
    agents: &Agents,
    now: Timestamp,
) -> Result<(), Error> {
    let forked = batches
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| **outcome == Outcome::Fork);
    let found = forked.filter_map(|(incoming, _)| {
        let agent = agents.get(&incoming.user_key)?;
        let summary = format!("{} has sent two histories of one journal", agent.name);
        Some(Finding::twin(Kind::Fork, agent.agent_id, &summary))
    });
    incident::report(tx, found.collect(), now).await
}

/// A message as it is set aside.
fn letter<'a>(incoming: &'a Incoming, code: &'a str, detail: &'a str) -> DeadLetter<'a> {
    DeadLetter {
        subject: writ_protocol::subject::events(&incoming.user_key),
        code,
        detail,
        message: &incoming.message,
    }
}

fn set(outcomes: &mut [Outcome], place: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = outcome;
    }
}
