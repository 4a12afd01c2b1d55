//! How soon a fleet stops: every agent runs a real step in the product's own sandbox, a halt over all is set by the API, and the ledger says when
//! each agent's confirmation was committed.
//!
//! Agents are the product's core in this process, with journals on the real disk: a confirmation is flushed there before it is sent.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{bail, ensure};
use serde_json::json;
use uuid::Uuid;
use writ_chassis::clock::{Clock as _, SystemClock};
use writ_cli::api::Halt;
use writ_cli::dev::trust::load_key;
use writ_protocol::id::{HaltId, RunId};
use writ_protocol::record::Kind;

use super::bed::{Bed, Plan, tell};
use super::fleet::{self, Kit};
use super::{Row, percentile};

const BENCH: &str = "halt";
/// Label of every agent.
const LABEL: &str = "halt";
/// Longest wait for a check, for every step to run, for a halt or a lift to be confirmed, and for a run to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// After the last step began, so that its beginning is not part of what is measured.
const SETTLE: Duration = Duration::from_secs(1);
/// Files of an agent that runs a step: its connection, its journal, its step's pipes, its sandbox.
const FILES_EACH: u64 = 40;
/// Files beside the agents'.
const OTHER_FILES: u64 = 1_000;

/// From an instant to the commit of each agent's confirmation of a halt.
const CONFIRMED: &str =
    "SELECT (extract(epoch FROM pg_xact_commit_timestamp(xmin) - $2::text::timestamptz) * 1e6)::bigint
    FROM halt_ack WHERE halt_id = $1 AND NOT lifted";
/// From an instant to the end of each step of a run, by the agent that ended its processes.
const STOPPED: &str = "SELECT (extract(epoch FROM s.ended_at - $2::text::timestamptz) * 1e6)::bigint
    FROM step s JOIN run_order o USING (order_id) WHERE o.run_id = $1";
/// From an instant to the commit of the record of each order's end, which is of kind 9.
const ENDED: &str =
    "SELECT (extract(epoch FROM pg_xact_commit_timestamp(e.xmin) - $2::text::timestamptz) * 1e6)::bigint
    FROM event e JOIN run_order o USING (order_id) WHERE o.run_id = $1 AND e.kind = 9";
/// Orders of a run that have ended.
const OVER: &str = "SELECT count(*) FROM run_order WHERE deadline_at IS NULL AND run_id = $1::text::uuid";
const _: () = assert!(Kind::OrderDone as u8 == 9);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Agents.
    pub agents: usize,
    /// Halts of each kind, one after the other; figures are over all of them.
    pub rounds: usize,
}

/// The size of the product's target.
pub const SIZE: Size = Size {
    agents: 200,
    rounds: 3,
};

/// Measures hard and soft halts.
///
/// # Errors
/// When the stage does not come up, an agent does not run its step, or a halt is not confirmed by all.
pub fn run(size: Size, mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    let bed = Bed::set(Plan {
        files: size.agents as u64 * FILES_EACH + OTHER_FILES,
        ..Plan::default()
    })?;
    let (shim, folder) = (fleet::agent_program()?, bed.folder().to_owned());
    fleet::start_with(
        &bed,
        size.agents,
        |_| BTreeMap::from([(LABEL.to_owned(), "true".to_owned())]),
        |number| Kit::of_host(&folder, number, &shim),
    )?;
    let crowd = Crowd {
        bed: &bed,
        agents: size.agents as u64,
    };
    let mut hard = Times::default();
    let mut soft = Times::default();
    for round in 0..size.rounds {
        tell(&format!("round {} of {}: a hard halt", round + 1, size.rounds));
        let run = crowd.busy(round * 2)?;
        let (halt, at) = crowd.halt("hard")?;
        crowd.end(run)?;
        hard.confirmed.extend(crowd.all(CONFIRMED, halt.as_uuid(), &at)?);
        hard.stopped.extend(crowd.all(STOPPED, run.as_uuid(), &at)?);
        hard.ended.extend(crowd.all(ENDED, run.as_uuid(), &at)?);
        crowd.lift(halt)?;

        tell(&format!("round {} of {}: a soft halt", round + 1, size.rounds));
        let run = crowd.busy(round * 2 + 1)?;
        let (halt, at) = crowd.halt("soft")?;
        soft.confirmed.extend(crowd.all(CONFIRMED, halt.as_uuid(), &at)?);
        // A soft halt waits for steps that would go on for an hour.
        let (harder, _) = crowd.halt("hard")?;
        crowd.end(run)?;
        crowd.lift(halt)?;
        crowd.lift(harder)?;
    }
    let cases = [
        ("confirmed", &mut hard.confirmed),
        ("stopped", &mut hard.stopped),
        ("ended", &mut hard.ended),
        ("soft-confirmed", &mut soft.confirmed),
    ];
    for (case, times) in cases {
        for (name, rank) in [("p50", 0.5), ("p99", 0.99)] {
            let seconds = percentile(times, rank) / 1e3;
            report(Row::new(
                BENCH,
                format!("{case}-{name}"),
                crowd.agents,
                seconds,
                "s",
            ));
        }
    }
    Ok(())
}

/// What was measured of one kind of halt.
#[derive(Default)]
struct Times {
    confirmed: Vec<Duration>,
    stopped: Vec<Duration>,
    ended: Vec<Duration>,
}

/// The fleet.
struct Crowd<'a> {
    bed: &'a Bed,
    agents: u64,
}

impl Crowd<'_> {
    /// Has every agent run a step that does not end by itself; returns when all of them do.
    fn busy(&self, turn: usize) -> anyhow::Result<RunId> {
        let marks = self.bed.folder().join(format!("busy-{turn}"));
        fs::create_dir(&marks)?;
        let resources = format!(
            "  - command: busy\n    argv: [sh, -c, \"mktemp -p {} && exec sleep 3600\"]\n    limits: {{ wall: 1h }}\n",
            marks.display()
        );
        let check = self.bed.check(LABEL, &resources)?;
        self.bed.end_of(&check.id, PATIENCE)?;
        let client = self.bed.client()?;
        let run = client.submit_apply(&client.plan_of(&check.id)?.digest)?;
        let run_id: RunId = run.id.parse()?;
        let uuid = run_id.as_uuid().to_string();
        self.bed.until("steps that run", PATIENCE, self.agents, |bed| {
            if bed.count(OVER, &uuid)? > 0 {
                let first = client
                    .run(&run.id)?
                    .orders
                    .into_iter()
                    .find(|o| o.detail.is_some());
                let why = first.and_then(|order| order.detail).unwrap_or_default();
                bail!("orders ended whose steps were to go on for an hour: {why}");
            }
            Ok(fs::read_dir(&marks)?.count() as u64)
        })?;
        self.bed.pause(SETTLE)?;
        Ok(run_id)
    }

    /// Sets a halt over all and waits until every agent has confirmed it; its id, and when the API was called.
    fn halt(&self, action: &str) -> anyhow::Result<(HaltId, String)> {
        let client = self.bed.client()?;
        let at = SystemClock.now().to_string();
        let halt: Halt = client.set_halt(&json!("all"), action, "to measure")?;
        let halt_id: HaltId = halt.id.parse()?;
        self.confirmed("confirmations", halt_id, false)?;
        Ok((halt_id, at))
    }

    fn lift(&self, halt: HaltId) -> anyhow::Result<()> {
        let key = load_key(&self.bed.operator_key())?;
        self.bed.client()?.lift_halt(halt, "measured", &key)?;
        self.confirmed("confirmations of the lift", halt, true)
    }

    fn confirmed(&self, what: &str, halt: HaltId, lifted: bool) -> anyhow::Result<()> {
        let count = if lifted {
            "SELECT count(*) FROM halt_ack WHERE lifted AND halt_id = $1::text::uuid"
        } else {
            "SELECT count(*) FROM halt_ack WHERE NOT lifted AND halt_id = $1::text::uuid"
        };
        let id = halt.as_uuid().to_string();
        let looked = self
            .bed
            .until(what, PATIENCE, self.agents, |bed| bed.count(count, &id));
        looked.map(drop)
    }

    /// Waits until a run was aborted and the ledger has every order's end.
    fn end(&self, run: RunId) -> anyhow::Result<()> {
        let ended = "SELECT count(*) FROM run_order WHERE state = 'aborted' AND run_id = $1::text::uuid";
        let id = run.as_uuid().to_string();
        let looked = self
            .bed
            .until("orders that were aborted", PATIENCE, self.agents, |bed| {
                bed.count(ended, &id)
            });
        looked.map(drop)
    }

    /// One time for each agent.
    fn all(&self, sql: &'static str, id: Uuid, since: &str) -> anyhow::Result<Vec<Duration>> {
        let times = self.bed.spans(sql, id, since)?;
        ensure!(
            times.len() as u64 == self.agents,
            "{} of {} agents are in the ledger",
            times.len(),
            self.agents
        );
        Ok(times)
    }
}
