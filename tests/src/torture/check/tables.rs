//! What the ledger's tables must say by themselves, and against the processes that wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::Context as _;
use writ_cli::api::Run;
use writ_cli::dev::state::PartKind;
use writ_domain::order::OrderState;
use writ_domain::run::verdict;
use writ_protocol::evidence::verify::verify;
use writ_protocol::id::{AgentId, OrderId};

use super::{Found, note, uuid};
use crate::world::World;

/// Packs that are fetched and verified at a look, the newest runs' first.
const PACKS: usize = 3;
/// Memory that an agent may have, KiB.
const AGENT_RSS_MAX: u64 = 64 << 10;
/// What the ledger's epoch is called among the counters.
const EPOCH: &str = "epoch";
/// Connections that the ledger may have: two controllers' pools and ours.
const CONNECTIONS_MAX: u64 = 60;

/// Counters of the last look: they only rise within a life of the ledger.
#[derive(Debug, Default)]
pub(super) struct Before {
    counters: BTreeMap<String, u64>,
    restores: u64,
}

impl Before {
    /// After a restore only the epoch is above all that was before.
    fn restored(&mut self, restores: u64) {
        if self.restores == restores {
            return;
        }
        self.restores = restores;
        self.counters.retain(|name, _| name == EPOCH);
        if let Some(epoch) = self.counters.get_mut(EPOCH) {
            *epoch += 1;
        }
    }
}

/// An order in the ledger.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) id: OrderId,
    pub(super) agent_id: AgentId,
    pub(super) is_apply: bool,
    pub(super) state: String,
}

/// Every order.
pub(super) fn orders(world: &World) -> anyhow::Result<Vec<Order>> {
    let rows =
        world.db("SELECT order_id, agent_id, kind, o.state FROM run_order o JOIN run USING (run_id)")?;
    let order = |row: &String| {
        let columns: Vec<&str> = row.split('|').collect();
        let [order, agent, kind, state] = columns.as_slice() else {
            anyhow::bail!("a strange row: {row}");
        };
        Ok(Order {
            id: OrderId::from_uuid(uuid(order)?),
            agent_id: AgentId::from_uuid(uuid(agent)?),
            is_apply: *kind == "apply",
            state: (*state).to_owned(),
        })
    };
    rows.iter().map(order).collect()
}

/// Orders that agents told of and the ledger does not know.
pub(super) fn orphans(world: &World) -> anyhow::Result<BTreeSet<OrderId>> {
    let rows = world.db("SELECT order_id FROM orphan_order")?;
    let id = |row: &String| Ok(OrderId::from_uuid(uuid(row)?));
    rows.iter().map(id).collect()
}

/// Looks at all of them.
pub(super) fn look(
    world: &World,
    restores: u64,
    before: &mut Before,
    found: &mut Found,
) -> anyhow::Result<()> {
    before.restored(restores);
    runs(world, found)?;
    money(world, found)?;
    counters(world, before, found)?;
    bounds(world, found)?;
    packs(world, found)
}

/// A run stands where its orders say.
fn runs(world: &World, found: &mut Found) -> anyhow::Result<()> {
    let rows = world.db(
        "SELECT run_id, r.state, string_agg(o.state, ',') FROM run r LEFT JOIN run_order o USING (run_id) GROUP BY run_id, r.state",
    )?;
    for row in rows {
        let mut columns = row.split('|');
        let (run, state, orders) = (columns.next(), columns.next(), columns.next());
        let (run, state) = run.zip(state).context("a strange row")?;
        let states = orders.unwrap_or_default().split(',').filter_map(OrderState::of);
        let due = verdict(states.map(|state| (state, 1)));
        if due.name() != state {
            note(
                found,
                "I12",
                format!("run {run} is {state}, its orders say {}", due.name()),
            );
        }
    }
    Ok(())
}

/// No order costs more than it was granted.
fn money(world: &World, found: &mut Found) -> anyhow::Result<()> {
    let over = "SELECT order_id, cost_micros, grant_micros FROM run_order WHERE grant_micros > 0 AND cost_micros > grant_micros";
    for row in world.db(over)? {
        note(found, "I5", format!("an order cost more than its grant: {row}"));
    }
    Ok(())
}

/// Epoch, generations, marks and the tokens of leases never go back.
fn counters(world: &World, before: &mut Before, found: &mut Found) -> anyhow::Result<()> {
    let rows = world.db(&format!(
        "SELECT '{EPOCH}', epoch FROM meta UNION ALL SELECT 'generation of ' || name, generation FROM agent \
         UNION ALL SELECT 'token of ' || name, token FROM lease \
         UNION ALL SELECT 'mark of ' || journal_id, next_seq FROM agent_ingest",
    ))?;
    for row in rows {
        let (name, value) = row.rsplit_once('|').context("a strange row")?;
        let value: u64 = value.parse()?;
        let old = before.counters.insert(name.to_owned(), value).unwrap_or(0);
        if value < old {
            let rule = if name.starts_with("token") { "I10" } else { "I4" };
            note(found, rule, format!("the {name} went from {old} back to {value}"));
        }
    }
    Ok(())
}

/// Memory of agents and connections to the ledger keep to their bounds.
fn bounds(world: &World, found: &mut Found) -> anyhow::Result<()> {
    for (name, process) in world.processes(PartKind::Agent) {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss: u64 = rss
            .and_then(|text| text.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0);
        if rss > AGENT_RSS_MAX {
            note(
                found,
                "I11",
                format!("{name} has {rss} KiB in memory, at most {AGENT_RSS_MAX} are right"),
            );
        }
    }
    let connections =
        world.db("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")?;
    let connections: u64 = connections.concat().parse()?;
    if connections > CONNECTIONS_MAX {
        note(
            found,
            "I11",
            format!("the ledger has {connections} connections, at most {CONNECTIONS_MAX} are right"),
        );
    }
    Ok(())
}

/// The evidence of the newest runs verifies offline, signatures included, and says what the ledger says.
fn packs(world: &World, found: &mut Found) -> anyhow::Result<()> {
    let client = world.client()?;
    let runs = client.runs(PACKS)?.into_iter().take(PACKS);
    // One that goes on has no evidence yet; that it goes on for too long is a finding of its own.
    for run in runs.filter(Run::is_over) {
        let pack = client.evidence(&run.id)?;
        match verify(&pack, world.root()) {
            Ok(report) if report.state == run.state => {}
            Ok(report) => {
                let what = format!(
                    "the evidence of {} says {}, the ledger {}",
                    run.id, report.state, run.state
                );
                note(found, "I12", what);
            }
            Err(error) => note(
                found,
                "I3",
                format!("the evidence of {} does not verify: {error}", run.id),
            ),
        }
    }
    Ok(())
}
