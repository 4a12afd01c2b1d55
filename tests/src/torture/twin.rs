//! A copy beside an agent: which of the two the ledger believes, and how the other ends.
//!
//! Both write on from one record, and the one whose next record was read first is believed. A person who releases the other would see it go back
//! into quarantine at its next record; so what is released here is the believed one, on the agent's own disk.

use writ_protocol::digest::Digest;

use super::quiet::Segment;
use super::ward::Ward;
use crate::world::World;

/// Whose records the ledger holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Believed {
    /// Nobody's yet beyond what both share, or not all that the original wrote.
    Open,
    /// The original's, to its last record.
    Original,
    /// The copy's.
    Copy,
}

/// Whom the ledger believes.
///
/// # Errors
/// When the ledger does not answer, or a journal cannot be read.
pub(super) fn believed(world: &World, agent: &str) -> anyhow::Result<Believed> {
    let original = Chain::read(&Segment::all(&world.agent_state(agent).join("journal"))?);
    let Some(journal) = original.journal_id.as_deref() else {
        return Ok(Believed::Open);
    };
    let rows = world.db(&format!(
        "SELECT next_seq - 1, encode(last_hash, 'hex') FROM agent_ingest JOIN agent USING (agent_id) \
         WHERE name = '{agent}' AND journal_id = '{journal}'"
    ))?;
    let Some((upto, hash)) = rows.first().and_then(|row| row.split_once('|')) else {
        return Ok(Believed::Open);
    };
    let upto: u64 = upto.parse()?;
    if original.is_at(upto, hash) {
        let is_all = original.frames.last().is_some_and(|(seq, _)| *seq == upto);
        return Ok(if is_all {
            Believed::Original
        } else {
            Believed::Open
        });
    }
    let copy = Chain::read(&Segment::all(&world.copy_state(agent).join("journal"))?);
    let is_copy = copy.journal_id == original.journal_id && copy.is_at(upto, hash);
    Ok(if is_copy { Believed::Copy } else { Believed::Open })
}

/// Where a journal's chain stands after each of its records.
#[derive(Debug, Default)]
struct Chain {
    journal_id: Option<String>,
    frames: Vec<(u64, Digest)>,
}

impl Chain {
    fn read(segments: &[Segment]) -> Self {
        let mut chain = Self::default();
        if let Some(first) = segments.first() {
            chain.journal_id = Some(first.header.journal_id.as_uuid().to_string());
            let before = first.header.first_seq.saturating_sub(1);
            chain.frames.push((before, first.header.prev_hash));
        }
        chain.frames.extend(segments.iter().flat_map(Segment::frames));
        chain
    }

    fn is_at(&self, seq: u64, hash: &str) -> bool {
        self.frames
            .iter()
            .any(|(at, value)| *at == seq && value.to_hex() == hash)
    }
}

impl Ward {
    /// Lets the believed one go on. Released once all that the original wrote is in the ledger, or on the copy's disk once it is clear that it never
    /// will be.
    ///
    /// # Errors
    /// When the ledger does not answer, or a part cannot be stopped or started.
    pub(super) fn settle_twin(&mut self, agent: &str) -> anyhow::Result<()> {
        // What the two sent is still being read for a moment. When it stays open, being released will show it.
        self.until(super::quiet::PATIENCE, |world| {
            believed(world, agent).is_ok_and(|whom| whom != Believed::Open)
        })?;
        if believed(&self.world, agent)? == Believed::Copy {
            self.world.put_copy_in_place(agent)?;
        }
        let client = self.world.client()?;
        client.change_agent(agent, "release", "the other has ended")?;
        Ok(())
    }
}
