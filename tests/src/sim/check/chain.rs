//! What the committed records of one agent say, read in order as a verifier reads them.

use std::collections::BTreeSet;

use writ_domain::order::OrderState;
use writ_protocol::digest::Digest;
use writ_protocol::frame::Frame;
use writ_protocol::id::{AgentId, HaltId, JournalId};
use writ_protocol::record::{OrderAccepted, Record};

use crate::history::{Broken, History};
use crate::sim::books::Books;
use crate::sim::witness::{Signed, Witness};

type Found = Vec<Broken>;

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

/// Follows one agent: its history by itself, and what only the simulator's witness knows.
#[derive(Default)]
struct Reader {
    /// What its own records cannot be held to: it was copied, restored, or has a hole.
    is_exempt: bool,
    has_hole: bool,
    history: History,
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
        if reader.is_exempt {
            // Copies of an agent live side by side: what one observed says nothing of the others, and their journals are in no order.
            reader.halts.clear();
        }
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
        let broken = self.history.read(record, seq);
        if !self.is_exempt {
            found.extend(broken);
        }
        match record {
            Record::OrderAccepted(one) => is_signed(one, seq, (agent, witness), found),
            Record::StepIntent(intent) if !self.halts.is_empty() && !self.has_hole => {
                let order = intent.order_id;
                let what = format!("record {seq}: a step of {order} under a halt that was observed");
                found.push(("halt", what));
            }
            Record::HaltObserved(halt)
                if halt.lifted && witness.is_lifted(halt.halt_id, halt.control_epoch) =>
            {
                self.halts.remove(&halt.halt_id);
            }
            Record::HaltObserved(halt) if halt.lifted => {
                let (id, epoch) = (halt.halt_id, halt.control_epoch);
                let what = format!("record {seq}: the end of {id} at {epoch}, of which there is no lift");
                found.push(("halt", what));
            }
            Record::HaltObserved(halt) => drop(self.halts.insert(halt.halt_id)),
            _ => {}
        }
    }

    /// The ledger says of every order what its agent said.
    fn compare(&self, books: &Books, agent: AgentId, found: &mut Found) {
        for order in books.orders.values().filter(|o| o.agent_id == agent) {
            let said = self.history.said(order.order_id);
            let is_right = match said {
                Some(said) => order.state.name() == said,
                None => !order.state.is_proven() && order.state != OrderState::Accepted,
            };
            if !is_right && !self.is_exempt {
                let (id, state) = (order.order_id, order.state.name());
                found.push(("I12", format!("{id} is {state} and its agent said {said:?}")));
            }
        }
    }
}

fn is_signed(one: &OrderAccepted, seq: u64, (agent, witness): (AgentId, &Witness), found: &mut Found) {
    let order = one.order_id;
    let is_it = |s: &Signed| s.agent_id == agent && s.orders.contains(&order) && s.at == one.at;
    if !witness.signed(&one.manifest).is_some_and(is_it) {
        let what =
            format!("record {seq}: {order} was accepted from a manifest that nobody signed for this agent");
        found.push(("I4", what));
    }
}
