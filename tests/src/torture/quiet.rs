//! When nothing is left to be done: every controller is ready, every order and run has ended, every manifest is on the bus and known to its agent, and every journal is in
//! the ledger to its last record.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use writ_agent::journal::disk::{Disk as _, ReadOnly};
use writ_agent::journal::segment::{self, Header, Step};
use writ_cli::clock::Stopwatch;
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, JournalId};
use writ_protocol::manifest::Generation;
use writ_protocol::nats::UserKey;
use writ_protocol::record::Kind;

use super::ward::Ward;
use super::{Violation, uuid};
use crate::world::{Wire, World};

/// How long a world may take to come to rest after the last fault.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(150);

/// Our own connection to the bus, made again when it fails.
#[derive(Debug, Default)]
pub(super) struct Bus(Option<Wire>);

impl Bus {
    /// Where the manifest stands that the bus holds for an agent.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub(super) fn held(&mut self, world: &World, key: &UserKey) -> anyhow::Result<Option<Generation>> {
        let wire = match self.0.take() {
            Some(wire) => wire,
            None => world.wire()?,
        };
        let held = wire.held(key)?;
        self.0 = Some(wire);
        Ok(held)
    }
}

/// An agent as the ledger knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Its name.
    pub(super) name: String,
    /// Its id.
    pub(super) agent_id: AgentId,
    /// `active`, `quarantined`, `removed`.
    pub(super) state: String,
    /// Its name on the bus.
    pub(super) user_key: UserKey,
    /// Where the ledger wants it.
    pub(super) due: Generation,
    /// Where it said it was.
    pub(super) have: Generation,
    /// The journal that it said it writes, and how much of that is committed.
    pub(super) journal: Option<(JournalId, u64)>,
}

/// Every agent that the ledger knows.
///
/// # Errors
/// When the ledger does not answer.
pub(super) fn agents(world: &World) -> anyhow::Result<Vec<Known>> {
    let rows = world.db(
        "SELECT name, agent_id, a.state, user_key, epoch, generation, coalesce(have_epoch, 0), coalesce(have_generation, 0), \
         l.journal_id, coalesce(next_seq - 1, 0) FROM agent a CROSS JOIN meta LEFT JOIN agent_liveness l USING (agent_id) \
         LEFT JOIN agent_ingest USING (agent_id, journal_id) ORDER BY name",
    )?;
    rows.iter().map(|row| known(row)).collect()
}

fn known(row: &str) -> anyhow::Result<Known> {
    let columns: Vec<&str> = row.split('|').collect();
    let [
        name,
        agent,
        state,
        key,
        epoch,
        due,
        have_epoch,
        have,
        journal,
        upto,
    ] = columns.as_slice()
    else {
        anyhow::bail!("a strange row: {row}");
    };
    let journal = match *journal {
        "" => None,
        id => Some((JournalId::from_uuid(uuid(id)?), upto.parse()?)),
    };
    Ok(Known {
        name: (*name).to_owned(),
        agent_id: AgentId::from_uuid(uuid(agent)?),
        state: (*state).to_owned(),
        user_key: key.parse()?,
        due: Generation {
            epoch: epoch.parse()?,
            generation: due.parse()?,
        },
        have: Generation {
            epoch: have_epoch.parse()?,
            generation: have.parse()?,
        },
        journal,
    })
}

/// How much of the world must be at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Every order and run has ended.
    Orders,
    /// Nothing at all is left to be done.
    Everything,
}

/// How a world came to rest.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    /// How long it took.
    pub(super) took: Duration,
    /// What was waited for last.
    pub(super) last: String,
}

/// Waits until the world is at rest, starting again whatever ends by itself.
///
/// # Errors
/// An interrupt, or a part that does not come up again. Not to come to rest in time is a finding and not an error.
pub(super) fn wait(ward: &mut Ward, bus: &mut Bus, depth: Depth) -> anyhow::Result<Result<Rest, Violation>> {
    let clock = Stopwatch::start();
    let mut last = String::new();
    loop {
        ward.revive()?;
        // A ledger or bus that does not answer is not at rest either.
        let left = restless(&ward.world, bus, depth);
        let (rule, what) = match left {
            Ok(None) => {
                let took = clock.elapsed();
                return Ok(Ok(Rest { took, last }));
            }
            Ok(Some(left)) => left,
            Err(error) => ("I6", format!("{error:#}")),
        };
        if clock.elapsed() >= PATIENCE {
            let what = format!("not at rest after {PATIENCE:?}: {what}");
            return Ok(Err(Violation { rule, what }));
        }
        last = what;
        ward.pause(LOOK)?;
    }
}

/// What is left to be done, and the promise that it belongs to.
fn restless(world: &World, bus: &mut Bus, depth: Depth) -> anyhow::Result<Option<(&'static str, String)>> {
    if let Some(lacks) = world.unready()? {
        return Ok(Some(("I6", lacks)));
    }
    let rows = world.db(
        "SELECT (SELECT count(*) FROM run_order WHERE deadline_at IS NOT NULL), (SELECT count(*) FROM run WHERE deadline_at IS NOT NULL), \
         (SELECT count(*) FROM manifest_dirty), (SELECT count(*) FROM run_moved)",
    )?;
    let counts = rows.first().context("a row of counts")?;
    if depth == Depth::Orders && counts.starts_with("0|0|") {
        return Ok(None);
    }
    if counts != "0|0|0|0" {
        return Ok(Some((
            "I6",
            format!("orders, runs, manifests to publish, runs to look at: {counts}"),
        )));
    }
    let open = world.db(&open_orphans())?.concat();
    if open != "0" {
        return Ok(Some((
            "I6",
            format!("orders that the ledger lost and their agents have not ended: {open}"),
        )));
    }
    for agent in agents(world)?.iter().filter(|agent| agent.state == "active") {
        if let Some(what) = behind(world, bus, agent)? {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

/// Orders of before a restore that their agents took and have said no end of. No deadline in the ledger belongs to them.
fn open_orphans() -> String {
    let [taken, refused, done] = [Kind::OrderAccepted, Kind::OrderRefused, Kind::OrderDone].map(Kind::number);
    format!(
        "SELECT count(*) FROM orphan_order o WHERE EXISTS (SELECT 1 FROM event e WHERE e.order_id = o.order_id AND kind = {taken}) \
         AND NOT EXISTS (SELECT 1 FROM event e WHERE e.order_id = o.order_id AND kind IN ({refused}, {done}))"
    )
}

fn behind(world: &World, bus: &mut Bus, agent: &Known) -> anyhow::Result<Option<(&'static str, String)>> {
    let name = &agent.name;
    if agent.have != agent.due {
        return Ok(Some((
            "I7",
            format!("{name} has {:?}, the ledger {:?}", agent.have, agent.due),
        )));
    }
    let held = bus.held(world, &agent.user_key)?;
    if held != Some(agent.due) {
        return Ok(Some((
            "I7",
            format!("the bus has {held:?} for {name}, the ledger {:?}", agent.due),
        )));
    }
    let end = end_of(&world.agent_state(name).join("journal"))?;
    if agent.journal != end {
        return Ok(Some((
            "I2",
            format!("{name} has {end:?} on its disk, the ledger {:?}", agent.journal),
        )));
    }
    Ok(None)
}

/// Where a journal on a disk ends: read from its last segment.
fn end_of(folder: &Path) -> anyhow::Result<Option<(JournalId, u64)>> {
    let last = Segment::all(folder)?.pop();
    last.map(|segment| {
        let end = segment.frames().last().map(|(seq, _)| seq);
        let before = segment.header.first_seq.saturating_sub(1);
        Ok((segment.header.journal_id, end.unwrap_or(before)))
    })
    .transpose()
}

/// A segment of a journal, read from a disk beside the agent.
#[derive(Debug)]
pub(super) struct Segment {
    /// What it says of itself.
    pub(super) header: Header,
    bytes: Vec<u8>,
}

impl Segment {
    /// The segments of the live journal in a folder, oldest first. One that is being made has no header yet and is left out.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn all(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let disk = ReadOnly::open(folder)?;
        let mut names = disk.list()?;
        names.retain(|name| segment::index_of(name).is_some());
        names.sort();
        let mut all: Vec<Self> = Vec::new();
        for name in names {
            let bytes = std::fs::read(folder.join(&name))?;
            if let Some(header) = Header::parse(&bytes) {
                all.push(Self { header, bytes });
            }
        }
        let ids: std::collections::BTreeSet<JournalId> = all.iter().map(|s| s.header.journal_id).collect();
        ensure!(ids.len() <= 1, "{} holds segments of {ids:?}", folder.display());
        Ok(all)
    }

    /// Its frames: number, and chain value after it. What is not whole is left out, as it is at the agent's next start.
    pub(super) fn frames(&self) -> impl Iterator<Item = (u64, Digest)> + '_ {
        let walk = segment::walk(&self.bytes, self.header.first_seq, self.header.prev_hash);
        walk.filter_map(|step| match step {
            Step::Frame(frame, hash) => Some((frame.seq, hash)),
            Step::Bad { .. } => None,
        })
    }
}
