//! How soon drift is seen: files that a plan wrote are written by somebody else, and the ledger says when it had committed what was found.
//!
//! Agents are the product's core in this process, with journals on the real disk, real providers and the real inotify. Half of them are told by the
//! kernel; the others look at an interval only.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use writ_agent::drift::Settings;
use writ_chassis::clock::{Clock as _, SystemClock};
use writ_protocol::record::Kind;
use writ_protocol::time::Timestamp;

use super::bed::{Bed, Plan, tell};
use super::fleet::{self, Kit};
use super::{Row, percentile};

const BENCH: &str = "drift";
/// Files of each agent's plan.
const FILES: usize = 20;
/// Longest wait for a run, and for a record beyond the interval.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks of agents that are not told: within the product's 180 s, so that the bench ends.
const INTERVAL: Duration = Duration::from_secs(10);
/// Between two writes.
const PACE: Duration = Duration::from_millis(50);
/// After the last plan was applied, so that the looks at what it left are not part of what is measured.
const SETTLE: Duration = Duration::from_secs(2);
/// Open files of an agent, and those beside them.
const FILES_OPEN: (u64, u64) = (40, 1_000);
/// Bytes of a file.
const LENGTH: usize = 64;

/// When each record of what differs was committed, by the agent's name, in the order of its journal. They are of kind 13.
pub(super) const SEEN: &str =
    "SELECT a.name, (extract(epoch FROM pg_xact_commit_timestamp(e.xmin)) * 1e6)::bigint
    FROM event e JOIN agent a USING (agent_id) WHERE e.kind = 13 ORDER BY a.name, e.seq";
/// How many of them there are.
pub(super) const COUNT: &str = "SELECT count(*) FROM event WHERE kind = 13 AND $1 = ''";
const _: () = assert!(Kind::DriftSeen as u8 == 13);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Agents that are told by the kernel, and as many that are not.
    pub agents: usize,
    /// Writes at each agent that is told.
    pub writes: usize,
}

/// The size of the product's target.
pub const SIZE: Size = Size {
    agents: 20,
    writes: 30,
};

/// Measures both.
///
/// # Errors
/// When the stage does not come up, or a write is not seen.
pub fn run(size: Size, mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    let all = size.agents * 2;
    let (each, beside) = FILES_OPEN;
    let bed = Bed::set(Plan {
        files: all as u64 * each + beside,
        ..Plan::default()
    })?;
    let (shim, folder, told) = (fleet::agent_program()?, bed.folder().to_owned(), size.agents);
    fleet::start_with(&bed, all, labels, |number| {
        let settings = Settings {
            interval: if number < told { PATIENCE * 10 } else { INTERVAL },
            events: number < told,
        };
        let kit = Kit::of_host(&folder, number, &shim)?;
        Ok(Kit {
            drift: Some(settings),
            ..kit
        })
    })?;
    let mut hosts = Hosts { bed: &bed, first: 0 };
    hosts.apply(all)?;

    tell("writing beside the plans of agents that are told");
    let rounds = (0..size.writes).flat_map(|round| (0..size.agents).map(move |agent| (agent, round)));
    let mut times = hosts.write(rounds)?;
    rows("event", &mut times, "ms", 1.0, &mut report);
    tell("writing beside the plans of agents that are not");
    let mut times = hosts.write((size.agents..all).map(|agent| (agent, 0)))?;
    rows("interval", &mut times, "s", 1e3, &mut report);
    Ok(())
}

fn rows(case: &str, times: &mut [Duration], unit: &'static str, scale: f64, report: &mut impl FnMut(Row)) {
    let n = times.len() as u64;
    for (name, rank) in [("p50", 0.5), ("p99", 0.99)] {
        let figure = percentile(times, rank) / scale;
        report(Row::new(BENCH, format!("{case}-{name}"), n, figure, unit));
    }
}

fn label(number: usize) -> String {
    format!("drift-{number}")
}

fn labels(number: usize) -> BTreeMap<String, String> {
    BTreeMap::from([(label(number), "true".to_owned())])
}

/// The agents' hosts, which are folders of this one.
struct Hosts<'a> {
    bed: &'a Bed,
    /// Records before the writes that are measured.
    first: u64,
}

impl Hosts<'_> {
    fn file(&self, agent: usize, round: usize) -> PathBuf {
        let folder = self.bed.folder().join(format!("host-{agent}"));
        folder.join(format!("file-{}", round % FILES))
    }

    /// Has each agent hold a plan of its own.
    fn apply(&mut self, agents: usize) -> anyhow::Result<()> {
        tell("applying a plan at each");
        let client = self.bed.client()?;
        let mut runs = Vec::new();
        for agent in 0..agents {
            fs::create_dir_all(self.file(agent, 0).parent().context("a folder")?)?;
            let resources = (0..FILES).map(|round| {
                let path = self.file(agent, round);
                format!(
                    "  - file: {}\n    content: {}\n",
                    path.display(),
                    "w".repeat(LENGTH)
                )
            });
            let check = self.bed.check(&label(agent), &resources.collect::<String>())?;
            self.bed.end_of(&check.id, PATIENCE)?;
            runs.push(client.submit_apply(&client.plan_of(&check.id)?.digest)?.id);
        }
        for run in runs {
            self.bed.end_of(&run, PATIENCE)?;
        }
        self.wait(agents as u64)?;
        self.bed.pause(SETTLE)
    }

    /// Waits for so many records more.
    fn wait(&mut self, more: u64) -> anyhow::Result<()> {
        self.first += more;
        let count = |bed: &Bed| bed.count(COUNT, "");
        self.bed
            .until("records of what differs", PATIENCE, self.first, count)
            .map(drop)
    }

    /// Writes to each agent's file of a round, one after the other; how long each took to be committed as seen.
    fn write(&mut self, writes: impl Iterator<Item = (usize, usize)>) -> anyhow::Result<Vec<Duration>> {
        let before = self.seen()?;
        let mut at: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        let mut count = 0;
        for (agent, round) in writes {
            // As long as what is there, so that one call makes the whole change.
            let text = format!("{round:0LENGTH$}");
            let mut file = OpenOptions::new().write(true).open(self.file(agent, round))?;
            let now = SystemClock.now();
            file.write_all(text.as_bytes())?;
            drop(file);
            at.entry(fleet::name(agent)).or_default().push(now);
            count += 1;
            self.bed.pause(PACE)?;
        }
        self.wait(count)?;
        let mut times = Vec::new();
        let after = self.seen()?;
        for (name, writes) in at {
            let known = before.get(&name).map_or(0, Vec::len);
            let seen = after
                .get(&name)
                .and_then(|all| all.get(known..))
                .unwrap_or_default();
            ensure!(
                seen.len() == writes.len(),
                "{name} told of {} changes where {} were made",
                seen.len(),
                writes.len()
            );
            times.extend(seen.iter().zip(writes).map(|(seen, written)| seen.since(written)));
        }
        Ok(times)
    }

    fn seen(&self) -> anyhow::Result<BTreeMap<String, Vec<Timestamp>>> {
        let mut by_name: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        for (name, micros) in self.bed.named_instants(SEEN)? {
            by_name
                .entry(name)
                .or_default()
                .push(Timestamp::from_micros(micros));
        }
        Ok(by_name)
    }
}
