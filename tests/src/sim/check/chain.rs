//! What the committed records of one agent say, read in order as a verifier reads them.

use std::collections::{BTreeMap, BTreeSet};

use writ_domain::order::OrderState;
use writ_protocol::digest::Digest;
use writ_protocol::exec::StepMode;
use writ_protocol::frame::Frame;
use writ_protocol::id::{AgentId, HaltId, JournalId, OrderId};
use writ_protocol::manifest::Generation;
use writ_protocol::record::{OrderAccepted, OrderOutcome, Record, StepIntent, StepOutcome};

use crate::sim::books::Books;
use crate::sim::witness::Witness;

type Found = Vec<(&'static str, String)>;

/// The chain values after each frame; zeros for what is gone.
pub(super) fn links(books: &Books, journal: (AgentId, JournalId), frames: &[Vec<u8>]) -> Vec<Digest> {
    let mut hash = Digest::ZERO;
    let mut links = Vec::with_capacity(frames.len());
    let holes = books.resumed.get(&journal);
    for (raw, seq) in frames.iter().zip(1..) {
        if raw.is_empty() {
            links.push(Digest::ZERO);
            continue;
        }
        let Ok((frame, _)) = Frame::parse(raw) else { break };
        hash = holes.and_then(|holes| holes.get(&seq)).copied().unwrap_or(hash);
        hash = frame.link(&hash);
        links.push(hash);
    }
    links
}

#[derive(Default)]
struct Reader {
    is_exempt: bool,
    has_hole: bool,
    water: Generation,
    accepted: BTreeSet<OrderId>,
    refused: BTreeSet<OrderId>,
    done: BTreeMap<OrderId, OrderOutcome>,
    once: BTreeMap<(OrderId, String), u32>,
    bad: BTreeSet<OrderId>,
    indeterminate: BTreeSet<OrderId>,
    halts: BTreeSet<HaltId>,
}

/// Judges the records of an agent.
pub(super) fn of_agent(books: &Books, witness: &Witness, agent: AgentId, found: &mut Found) {
    let mut journals: Vec<(u64, JournalId)> = Vec::new();
    for ((_, journal), frames) in books.events.iter().filter(|((id, _), _)| *id == agent) {
        journals.push((incarnation(frames), *journal));
    }
    journals.sort_unstable();
    // What is gone cannot be told from what never was.
    let has_hole = books.resumed.keys().any(|(id, _)| *id == agent);
    let mut reader = Reader {
        is_exempt: witness.is_exempt(agent) || has_hole,
        has_hole,
        ..Reader::default()
    };
    for (_, journal) in journals {
        let Some(frames) = books.events.get(&(agent, journal)) else {
            continue;
        };
        chain_is_whole(books, (agent, journal), frames, found);
        for raw in frames {
            let Ok((frame, _)) = Frame::parse(raw) else {
                continue;
            };
            if let Ok(Some(record)) = Record::decode(&frame) {
                reader.read(&record, frame.seq, (agent, witness), found);
            }
        }
    }
    reader.compare(books, agent, found);
}

fn incarnation(frames: &[Vec<u8>]) -> u64 {
    let first = frames.first().and_then(|raw| Frame::parse(raw).ok());
    match first.map(|(frame, _)| Record::decode(&frame)) {
        Some(Ok(Some(Record::SessionStart(start)))) => start.incarnation,
        _ => 0,
    }
}

fn chain_is_whole(books: &Books, journal: (AgentId, JournalId), frames: &[Vec<u8>], found: &mut Found) {
    let Some(mark) = books.marks.get(&journal) else {
        return found.push(("I3", format!("records of {} without a watermark", journal.1)));
    };
    let links = links(books, journal, frames);
    if mark.upto() != frames.len() as u64 || links.len() != frames.len() {
        found.push((
            "I3",
            format!(
                "{} is committed up to {} and has {} records",
                journal.1,
                mark.upto(),
                links.len()
            ),
        ));
    } else if links.last().is_some_and(|last| *last != mark.last_hash) {
        found.push((
            "I3",
            format!("the chain of {} does not lead to its watermark", journal.1),
        ));
    }
}

impl Reader {
    fn read(&mut self, record: &Record, seq: u64, (agent, witness): (AgentId, &Witness), found: &mut Found) {
        match record {
            Record::HighWater(water) => {
                if water.at <= self.water && !self.is_exempt {
                    found.push((
                        "I4",
                        format!("record {seq}: {:?} after {:?}", water.at, self.water),
                    ));
                }
                self.water = water.at;
            }
            Record::OrderAccepted(one) => self.accept(one, seq, (agent, witness), found),
            Record::OrderRefused(one) => {
                self.refused.insert(one.order_id);
            }
            Record::StepIntent(intent) => self.intend(intent, seq, found),
            Record::StepResult(result) => match result.outcome {
                StepOutcome::Failed | StepOutcome::Aborted => drop(self.bad.insert(result.order_id)),
                StepOutcome::Indeterminate => drop(self.indeterminate.insert(result.order_id)),
                StepOutcome::Changed
                | StepOutcome::Unchanged
                | StepOutcome::WouldChange
                | StepOutcome::Skipped => {}
            },
            Record::OrderDone(done) => self.end(done.order_id, done.outcome, seq, found),
            Record::HaltObserved(halt) if halt.lifted => drop(self.halts.remove(&halt.halt_id)),
            Record::HaltObserved(halt) => drop(self.halts.insert(halt.halt_id)),
            Record::SessionStart(_)
            | Record::BlobChunk(_)
            | Record::Signed(_)
            | Record::Alarm(_)
            | Record::ManifestRefused(_) => {}
        }
    }

    fn accept(
        &mut self,
        one: &OrderAccepted,
        seq: u64,
        (agent, witness): (AgentId, &Witness),
        found: &mut Found,
    ) {
        let signed = witness.signed(&one.manifest);
        if !signed.is_some_and(|s| s.agent_id == agent && s.orders.contains(&one.order_id) && s.at == one.at)
        {
            found.push((
                "I4",
                format!(
                    "record {seq}: {} was accepted from a manifest that nobody signed for this agent",
                    one.order_id
                ),
            ));
        }
        self.accepted.insert(one.order_id);
    }

    fn intend(&mut self, intent: &StepIntent, seq: u64, found: &mut Found) {
        if (!self.accepted.contains(&intent.order_id) || self.done.contains_key(&intent.order_id))
            && !self.is_exempt
        {
            found.push((
                "I1",
                format!(
                    "record {seq}: a step of {} which is not accepted or is done",
                    intent.order_id
                ),
            ));
        }
        if !self.halts.is_empty() && !self.has_hole {
            found.push((
                "halt",
                format!(
                    "record {seq}: a step of {} under a halt that was observed",
                    intent.order_id
                ),
            ));
        }
        let count = self
            .once
            .entry((intent.order_id, intent.step.clone()))
            .or_default();
        *count += 1;
        if intent.mode == StepMode::Once && *count > 1 && !self.is_exempt {
            found.push((
                "I1",
                format!(
                    "record {seq}: two intents of once step {} of {}",
                    intent.step, intent.order_id
                ),
            ));
        }
    }

    fn end(&mut self, order_id: OrderId, outcome: OrderOutcome, seq: u64, found: &mut Found) {
        if self.done.insert(order_id, outcome).is_some() && !self.is_exempt {
            found.push(("I1", format!("record {seq}: {order_id} ends twice")));
        }
        let is_known = !self.indeterminate.contains(&order_id);
        let went_well = is_known && !self.bad.contains(&order_id);
        let is_honest = match outcome {
            OrderOutcome::Succeeded => went_well,
            OrderOutcome::Indeterminate => !is_known,
            OrderOutcome::Failed | OrderOutcome::Aborted | OrderOutcome::Stopped => is_known,
        };
        if !is_honest && !self.is_exempt {
            found.push((
                "I12",
                format!(
                    "record {seq}: {order_id} ends as {} and its steps say something else",
                    outcome.name()
                ),
            ));
        }
    }

    /// The ledger says of every order what its agent said.
    fn compare(&self, books: &Books, agent: AgentId, found: &mut Found) {
        for order in books.orders.values().filter(|o| o.agent_id == agent) {
            let said = match self.done.get(&order.order_id) {
                Some(outcome) => Some(outcome.name()),
                // It took the order once and cannot say any more what became of it.
                None if self.refused.contains(&order.order_id) && self.accepted.contains(&order.order_id) => {
                    Some("indeterminate")
                }
                None if self.refused.contains(&order.order_id) => Some("refused"),
                None => None,
            };
            let is_right = match said {
                Some(said) => order.state.name() == said,
                None => !order.state.is_proven() && order.state != OrderState::Accepted,
            };
            if !is_right && !self.is_exempt {
                found.push((
                    "I12",
                    format!(
                        "{} is {} and its agent said {said:?}",
                        order.order_id,
                        order.state.name()
                    ),
                ));
            }
        }
    }
}
