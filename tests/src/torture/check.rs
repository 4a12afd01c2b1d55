//! The checker: reads the ledger's tables, every journal on its disk, the bus and the file of side effects, and says what does not fit. It is
//! asked when the world is at rest.

mod effects;
mod records;
mod tables;

use std::collections::BTreeMap;

use anyhow::Context as _;
use data_encoding::HEXLOWER;
use writ_protocol::digest::Digest;
use writ_protocol::frame::Frame;
use writ_protocol::id::{AgentId, JournalId};
use writ_protocol::record::Record;

use self::records::Reader;
use super::quiet::{self, Known, Segment};
use super::ward::Ward;
use super::{Given, Violation, uuid};
use crate::world::World;

/// Records read from the ledger at a time.
const PAGE: u64 = 4_000;

/// What was found.
pub(super) type Found = Vec<Violation>;

/// Notes a finding.
fn note(found: &mut Found, rule: &'static str, what: String) {
    found.push(Violation { rule, what });
}

/// A reader of the whole history that goes on where it ended.
#[derive(Debug, Default)]
pub(super) struct Checker {
    journals: BTreeMap<(AgentId, JournalId), Followed>,
    readers: BTreeMap<AgentId, Reader>,
    before: tables::Before,
    restores: u64,
    /// What the ledger had of each journal before it was restored.
    known: BTreeMap<(AgentId, JournalId), Followed>,
    /// Records that were read.
    pub(super) records: u64,
}

/// How far a journal was read in the ledger.
#[derive(Debug, Default)]
struct Followed {
    /// Chain values after its records, from the first.
    links: Vec<Digest>,
}

impl Checker {
    /// Looks at everything.
    ///
    /// # Errors
    /// When something cannot be read.
    pub(super) fn look(&mut self, ward: &Ward, given: &Given) -> anyhow::Result<Found> {
        let world = &ward.world;
        let mut found = Found::new();
        self.restored(ward.restores);
        self.follow(world, &mut found)?;
        self.know_again(ward, &mut found)?;
        let orders = tables::orders(world)?;
        for agent in quiet::agents(world)? {
            let is_exempt = ward.cloned.contains(&agent.name);
            self.disk(world, &agent, is_exempt, &mut found)?;
            let reader = self.readers.entry(agent.agent_id).or_default();
            let mut said = reader.take_found();
            reader.compare(
                orders.iter().filter(|order| order.agent_id == agent.agent_id),
                &mut said,
            );
            if !is_exempt {
                found.append(&mut said);
            }
        }
        self.effects(ward, &orders, given, &mut found)?;
        tables::look(world, ward.restores, &mut self.before, &mut found)?;
        Ok(found)
    }

    /// After a restore everything is read again from the first record, and must hold what was read before.
    fn restored(&mut self, restores: u64) {
        if self.restores == restores {
            return;
        }
        self.restores = restores;
        self.readers.clear();
        self.known = std::mem::take(&mut self.journals);
    }

    /// What the ledger had before it was restored it has again, from those who sent it.
    fn know_again(&mut self, ward: &Ward, found: &mut Found) -> anyhow::Result<()> {
        let known = std::mem::take(&mut self.known);
        if known.is_empty() {
            return Ok(());
        }
        for agent in quiet::agents(&ward.world)? {
            // Of two histories the restored ledger may believe the other one.
            if ward.cloned.contains(&agent.name) {
                continue;
            }
            for (place, before) in known.iter().filter(|(place, _)| place.0 == agent.agent_id) {
                let now = self
                    .journals
                    .get(place)
                    .map_or(&[][..], |now| now.links.as_slice());
                if !now.starts_with(&before.links) {
                    let what = format!(
                        "the ledger had {} records of {}, and after a restore not all of them came back: {}",
                        before.links.len(),
                        agent.name,
                        now.len()
                    );
                    note(found, "I2", what);
                }
            }
        }
        Ok(())
    }

    /// Reads what the ledger has got since the last look: every journal in its order, chained from its first record.
    fn follow(&mut self, world: &World, found: &mut Found) -> anyhow::Result<()> {
        let rows = world.db(
            "SELECT agent_id, journal_id, next_seq - 1, encode(last_hash, 'hex') FROM agent_ingest ORDER BY updated_at",
        )?;
        for row in rows {
            let columns: Vec<&str> = row.split('|').collect();
            let [agent, journal, upto, hash] = columns.as_slice() else {
                anyhow::bail!("a strange row: {row}");
            };
            let place = (
                AgentId::from_uuid(uuid(agent)?),
                JournalId::from_uuid(uuid(journal)?),
            );
            let (upto, hash): (u64, _) = (
                upto.parse()?,
                Digest::from_slice(&HEXLOWER.decode(hash.as_bytes())?)?,
            );
            self.follow_one(world, place, found)?;
            let followed = self.journals.entry(place).or_default();
            let (length, last) = (followed.links.len() as u64, followed.links.last());
            if length != upto || last.is_some_and(|last| *last != hash) {
                let what = format!(
                    "{} is committed up to {upto} and its records lead to {length}, {last:?}",
                    place.1
                );
                note(found, "I3", what);
            }
        }
        let lost = "SELECT count(*) FROM event WHERE NOT EXISTS (SELECT 1 FROM agent_ingest i WHERE (i.agent_id, i.journal_id) = (event.agent_id, event.journal_id))";
        if world.db(lost)? != ["0"] {
            note(
                found,
                "I3",
                "the ledger has records of a journal without a watermark".to_owned(),
            );
        }
        Ok(())
    }

    fn follow_one(
        &mut self,
        world: &World,
        place: (AgentId, JournalId),
        found: &mut Found,
    ) -> anyhow::Result<()> {
        let followed = self.journals.entry(place).or_default();
        let reader = self.readers.entry(place.0).or_default();
        loop {
            let from = followed.links.len() as u64 + 1;
            let rows = world.db(&format!(
                "SELECT encode(raw, 'hex') FROM event WHERE agent_id = '{}' AND journal_id = '{}' AND seq >= {from} ORDER BY seq LIMIT {PAGE}",
                place.0.as_uuid(),
                place.1.as_uuid(),
            ))?;
            for row in &rows {
                let bytes = HEXLOWER.decode(row.as_bytes())?;
                let (frame, _) = Frame::parse(&bytes).context("a record in the ledger is no frame")?;
                let due = followed.links.len() as u64 + 1;
                if frame.seq != due {
                    note(
                        found,
                        "I3",
                        format!("{}: record {due} is missing, {} comes", place.1, frame.seq),
                    );
                    return Ok(());
                }
                let before = followed.links.last().copied().unwrap_or(Digest::ZERO);
                followed.links.push(frame.link(&before));
                self.records += 1;
                if let Ok(Some(record)) = Record::decode(&frame) {
                    reader.read(&record, frame.seq);
                }
            }
            if (rows.len() as u64) < PAGE {
                return Ok(());
            }
        }
    }

    /// Every record on an agent's disk is in the ledger, the same, and the ledger has none that the disk never had.
    fn disk(&self, world: &World, agent: &Known, is_exempt: bool, found: &mut Found) -> anyhow::Result<()> {
        let (name, folder) = (&agent.name, world.agent_state(&agent.name).join("journal"));
        if folder.join("quarantine").exists() && !is_exempt {
            note(
                found,
                "I3",
                format!("{name} set a journal aside, and nobody harmed its disk"),
            );
        }
        let mut last = 0;
        for segment in Segment::all(&folder)? {
            let Some(followed) = self.journals.get(&(agent.agent_id, segment.header.journal_id)) else {
                note(
                    found,
                    "I2",
                    format!("the ledger has nothing of the journal of {name}"),
                );
                return Ok(());
            };
            for (seq, hash) in segment.frames() {
                last = seq;
                let at = usize::try_from(seq.saturating_sub(1)).unwrap_or(usize::MAX);
                match followed.links.get(at) {
                    Some(stored) if *stored == hash => {}
                    Some(_) => note(
                        found,
                        "I2",
                        format!("record {seq} of {name} is another in the ledger"),
                    ),
                    None => note(
                        found,
                        "I2",
                        format!("record {seq} of {name} is not in the ledger"),
                    ),
                }
            }
        }
        let upto = agent.journal.map_or(0, |(_, upto)| upto);
        if upto > last {
            let what = format!("the ledger has {upto} records of {name}, its disk {last}");
            note(found, "I2", what);
        }
        Ok(())
    }
}
