//! What committed records change: orders, runs, steps, halts, alarms, drift. Gathered over all agents of a pass and written in a few statements.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use writ_domain::order::{OrderError, OrderEvent, OrderState, apply};
use writ_protocol::id::{AgentId, HaltId, OrderId, RunId};
use writ_protocol::reason::Code;
use writ_protocol::record::{OrderAccepted, OrderDone, OrderRefused, Record};
use writ_protocol::time::Timestamp;
use writ_store::{Tx, agent, audit, halt, ingest, order, run, step};

use super::super::drift::looks;
use super::super::drift::noise::Noise;
use super::super::run::rule;
use super::super::{Error, incident};
use super::Decoded;

/// Longest words kept of an alarm.
const WORDS_MAX: usize = 2_048;

/// What records say about orders, in the order of each journal.
enum Word<'a> {
    Accepted(&'a OrderAccepted),
    Refused(&'a OrderRefused),
    Done(&'a OrderDone),
    Touched,
}

struct Said<'a> {
    agent_id: AgentId,
    journal_id: writ_protocol::id::JournalId,
    seq: u64,
    order_id: OrderId,
    word: Word<'a>,
}

/// Everything that a pass changes.
#[expect(
    missing_debug_implementations,
    reason = "a view on records, gone at the end of its pass"
)]
pub struct Effects<'a> {
    said: Vec<Said<'a>>,
    steps: Vec<(AgentId, step::Placed<'a>)>,
    halts: Vec<(HaltId, AgentId, bool)>,
    alarms: Vec<(AgentId, String, String)>,
    drift: Vec<looks::Seen<'a>>,
}

/// What followed for orders from what the records said.
#[derive(Debug, Default)]
pub struct Moved {
    /// Runs whose state may follow.
    pub runs: BTreeSet<RunId>,
    /// Agents of which an order ended: their next manifest no longer lists it.
    pub ended: BTreeSet<AgentId>,
    /// Orders that something stopped which people have to look at.
    pub stopped: BTreeSet<OrderId>,
    /// Orders that no database knows, and who reported them.
    pub orphans: BTreeMap<OrderId, AgentId>,
    /// When the orders were made that their agents now say they accepted.
    pub dispatched: Vec<Timestamp>,
    /// For those who watch: topic and body of every change.
    pub told: Vec<(String, serde_json::Value)>,
}

/// What was written down.
#[derive(Debug)]
pub(super) struct Applied {
    /// Whether runs have moved by it.
    pub(super) has_moved: bool,
    /// When the orders were made that agents accepted.
    pub(super) dispatched: Vec<Timestamp>,
    /// The orders that the records are about, as they stand now.
    pub(super) orders: Vec<order::Order>,
}

impl<'a> Effects<'a> {
    /// Sorts what the records of a pass say.
    pub fn gather(decoded: &'a [Decoded<'a>]) -> Self {
        let mut out = Self {
            said: Vec::new(),
            steps: Vec::new(),
            halts: Vec::new(),
            alarms: Vec::new(),
            drift: Vec::new(),
        };
        for one in decoded {
            out.add(one);
        }
        out
    }

    fn add(&mut self, one: &'a Decoded<'a>) {
        let (agent_id, seq) = (one.event.agent_id, one.event.seq);
        let record = match &one.record {
            Ok(Some(record)) => record,
            Ok(None) => {
                return self.alarm(
                    agent_id,
                    Code::DeadLetter,
                    &format!("record {seq} is of kind {}, unknown here", one.event.kind),
                );
            }
            Err(why) => {
                return self.alarm(
                    agent_id,
                    Code::Malformed,
                    &format!("record {seq} cannot be read: {why}"),
                );
            }
        };
        if let Some(order_id) = record.order_id() {
            let word = match record {
                Record::OrderAccepted(r) => Word::Accepted(r),
                Record::OrderRefused(r) => Word::Refused(r),
                Record::OrderDone(r) => Word::Done(r),
                _ => Word::Touched,
            };
            self.said.push(Said {
                agent_id,
                journal_id: one.event.journal_id,
                seq,
                order_id,
                word,
            });
        }
        match record {
            Record::StepResult(result) => self.steps.push((agent_id, (one.event.journal_id, seq, result))),
            Record::HaltObserved(seen) => self.halts.push((seen.halt_id, agent_id, seen.lifted)),
            Record::Alarm(alarm) => self.alarm(agent_id, alarm.code, &alarm.detail),
            Record::ManifestRefused(refused) => self.alarm(agent_id, refused.code, &refused.detail),
            Record::DriftSeen(seen) if seen.project.len() > looks::PROJECT_BYTES_MAX => self.alarm(
                agent_id,
                Code::Malformed,
                &format!(
                    "record {seq} tells of a project whose name has {} bytes",
                    seen.project.len()
                ),
            ),
            Record::DriftSeen(seen) => self.drift.push((agent_id, seen)),
            Record::SessionStart(_)
            | Record::HighWater(_)
            | Record::OrderAccepted(_)
            | Record::OrderRefused(_)
            | Record::StepIntent(_)
            | Record::BlobChunk(_)
            | Record::Signed(_)
            | Record::OrderDone(_) => {}
        }
    }

    fn alarm(&mut self, agent_id: AgentId, code: Code, words: &str) {
        self.alarms.push((
            agent_id,
            code.to_string(),
            words.chars().take(WORDS_MAX).collect(),
        ));
    }

    /// Orders that the records are about.
    pub fn order_ids(&self) -> Vec<OrderId> {
        let ids: BTreeSet<OrderId> = self.said.iter().map(|s| s.order_id).collect();
        ids.into_iter().collect()
    }

    /// Which projects on whose hosts the records tell of drift in.
    pub fn drifting(&self) -> BTreeSet<looks::Pair> {
        looks::pairs(&self.drift)
    }

    /// When agents noticed what their records tell of drift.
    pub fn noticed(&self) -> Vec<Timestamp> {
        self.drift.iter().map(|(_, seen)| seen.noticed_at).collect()
    }

    /// What the agents raised, by code; also what their records contradict, once [`Effects::decide`] has looked.
    pub fn alarms(&self) -> &[(AgentId, String, String)] {
        &self.alarms
    }

    /// Applies what the records say to their orders, in the order of each journal.
    pub fn decide(
        &mut self,
        orders: &mut BTreeMap<OrderId, order::Order>,
        lease: Duration,
        now: Timestamp,
    ) -> Moved {
        let mut moved = Moved::default();
        for said in std::mem::take(&mut self.said) {
            let Some(one) = orders
                .get_mut(&said.order_id)
                .filter(|o| o.agent_id == said.agent_id)
            else {
                moved.orphans.insert(said.order_id, said.agent_id);
                continue;
            };
            let (before, was_accepted) = (one.state, one.accepted_at.is_some());
            if let Err(error) = take(one, &said, lease, now) {
                self.alarm(
                    said.agent_id,
                    Code::Conflict,
                    &format!("record {} of {}: {error}", said.seq, said.order_id),
                );
            }
            if !was_accepted && one.accepted_at.is_some() {
                moved.dispatched.push(one.issued_at);
            }
            if one.state != before {
                moved.runs.insert(one.run_id);
                let body = json!({ "orderId": one.order_id, "host": one.agent_name, "state": one.state.name(), "code": one.code });
                moved.told.push((format!("run:{}", one.run_id), body));
                if one.state.is_terminal() {
                    moved.ended.insert(one.agent_id);
                }
                if incident::is_one(one) {
                    moved.stopped.insert(one.order_id);
                }
            }
        }
        moved
    }

    /// Writes it down.
    pub(super) async fn apply(
        mut self,
        tx: &mut Tx,
        noise: &Noise,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Applied, Error> {
        let ids = self.order_ids();
        let mut orders: BTreeMap<OrderId, order::Order> = BTreeMap::new();
        if !ids.is_empty() {
            orders = order::lock(tx, &ids)
                .await?
                .into_iter()
                .map(|o| (o.order_id, o))
                .collect();
        }
        let moved = self.decide(&mut orders, lease, now);
        let known: Vec<order::Order> = orders.into_values().collect();
        order::save(tx, &known, now).await?;
        audit::tell(tx, now, "order.state", moved.told).await?;
        self.store_steps(tx, &known, now).await?;
        let has_moved = !moved.runs.is_empty();
        run::moved::note(tx, moved.runs).await?;
        // The next manifest no longer lists what has ended.
        agent::bump_unhurried(tx, &moved.ended.into_iter().collect::<Vec<_>>(), now).await?;
        self.store_rest(tx, moved.orphans, now).await?;
        looks::take(tx, &self.drift, noise, now).await?;
        let stopped: Vec<&order::Order> = known
            .iter()
            .filter(|one| moved.stopped.contains(&one.order_id))
            .collect();
        incident::report_orders(tx, &stopped, now).await?;
        Ok(Applied {
            has_moved,
            dispatched: moved.dispatched,
            orders: known,
        })
    }

    async fn store_steps(&self, tx: &mut Tx, known: &[order::Order], now: Timestamp) -> Result<(), Error> {
        let owner: BTreeMap<OrderId, &order::Order> = known.iter().map(|o| (o.order_id, o)).collect();
        let is_own = |(agent, (.., r)): &&(AgentId, step::Placed<'_>)| {
            owner.get(&r.order_id).is_some_and(|o| o.agent_id == *agent)
        };
        let mut seen = BTreeSet::new();
        let steps: Vec<step::Placed<'_>> = self
            .steps
            .iter()
            .filter(is_own)
            .filter(|(_, (.., r))| seen.insert((r.order_id, r.step.as_str(), r.attempt)))
            .map(|(_, placed)| *placed)
            .collect();
        step::store(tx, &steps).await?;
        // One change for each order, however many short steps ended together.
        let mut ended: BTreeMap<OrderId, Vec<serde_json::Value>> = BTreeMap::new();
        for (.., r) in &steps {
            let step = json!({ "step": r.step, "outcome": r.outcome.name() });
            ended.entry(r.order_id).or_default().push(step);
        }
        let told = ended.into_iter().filter_map(|(order_id, steps)| {
            let one = owner.get(&order_id)?;
            let body = json!({ "orderId": order_id, "host": one.agent_name, "steps": steps });
            Some((format!("run:{}", one.run_id), body))
        });
        Ok(audit::tell(tx, now, "steps.done", told.collect()).await?)
    }

    async fn store_rest(
        &self,
        tx: &mut Tx,
        orphans: BTreeMap<OrderId, AgentId>,
        now: Timestamp,
    ) -> Result<(), Error> {
        halt::ack(tx, &self.halts, now).await?;
        if !self.alarms.is_empty() {
            ingest::store_alarms(tx, &self.alarms, now).await?;
            let tell = |(agent, code, words): &(AgentId, String, String)| {
                (
                    "agents".to_owned(),
                    json!({ "id": agent, "code": code, "detail": words }),
                )
            };
            audit::tell(tx, now, "agent.alarm", self.alarms.iter().map(tell).collect()).await?;
        }
        if !orphans.is_empty() {
            let words = "reported by the agent, unknown to this database";
            let rows: Vec<_> = orphans
                .into_iter()
                .map(|(o, a)| (o, a, words.to_owned()))
                .collect();
            ingest::store_orphans(tx, &rows, now).await?;
        }
        Ok(())
    }
}

/// Applies what one record says to its order.
fn take(one: &mut order::Order, said: &Said<'_>, lease: Duration, now: Timestamp) -> Result<(), OrderError> {
    let event = match &said.word {
        Word::Accepted(r) => OrderEvent::Accepted {
            fencing_token: r.fencing_token,
        },
        Word::Refused(r) => OrderEvent::Refused {
            fencing_token: r.fencing_token,
        },
        Word::Done(r) => OrderEvent::Done {
            fencing_token: r.fencing_token,
            outcome: r.outcome,
        },
        Word::Touched => OrderEvent::Heard {
            fencing_token: one.fencing_token,
        },
    };
    let next = apply(&rule(one), event, lease, now)?;
    let guessed = matches!(
        one.state,
        OrderState::Expired | OrderState::Unresolved | OrderState::Cancelled
    );
    if guessed && next.changed {
        super::super::rule::take_back(one);
    }
    if one.journal_id != Some(said.journal_id) {
        // Numbers of one journal mean nothing in another.
        (one.first_seq, one.last_seq) = (None, None);
    }
    one.journal_id = Some(said.journal_id);
    one.first_seq = Some(one.first_seq.map_or(said.seq, |first| first.min(said.seq)));
    one.last_seq = Some(one.last_seq.map_or(said.seq, |last| last.max(said.seq)));
    one.heard_at = Some(now);
    (one.state, one.deadline_at) = (next.next.state, next.next.deadline_at);
    match &said.word {
        Word::Accepted(r) if one.accepted_at.is_none() => {
            one.accepted_at = Some(now);
            one.at = Some(r.at);
        }
        Word::Refused(r) if next.changed => {
            one.ended_at = Some(now);
            (one.code, one.detail) = (Some(r.code.to_string()), Some(r.detail.clone()));
        }
        Word::Done(r) if next.changed => {
            one.ended_at = Some(now);
            (one.code, one.detail) = (r.code.map(|c| c.to_string()), Some(r.detail.clone()));
            one.steps = Some([r.changed, r.unchanged, r.failed, r.skipped]);
            one.cost_micros = Some(r.cost_micros);
            one.statement = Some(r.statement);
        }
        Word::Accepted(_) | Word::Refused(_) | Word::Done(_) | Word::Touched => {}
    }
    Ok(())
}
