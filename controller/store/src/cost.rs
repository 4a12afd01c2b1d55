//! What orders cost: sums over a window, and the orders of which nobody knows it.
//!
//! An order is counted as its grant is settled (`domain::budget`): what it cost where that is known, its whole grant where it is not, and nothing of
//! it while it may still spend. So a sum over orders is the sum over the budget accounts that cover them. Windows go by when orders were made, as
//! those of budgets do. One statement gives the lines and their total, so that no record that comes meanwhile stands in one and not in the other.

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_domain::order::OrderState;
use writ_protocol::id::{AgentId, OrderId, RunId};
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::metered::{known_cost, metered};
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

/// What is left of an order's cost when its steps are taken off, among lines about steps.
pub const NO_STEP: &str = "(no step)";

/// Orders of a window (`$1` to before `$2`, of project `$3` or of all), and what each is counted as.
macro_rules! counted {
    () => {
        concat!(
            "WITH o AS (
            SELECT o.order_id, o.run_id, o.agent_id, r.project, r.kind, o.state, o.issued_at, o.rate_card, o.grant_micros::numeric AS promised,
                   COALESCE(", known_cost!(), ", 0)::numeric AS known,
                   o.state IN ('held', 'pending', 'accepted') AND g.state IS DISTINCT FROM 'disputed' AS is_open,
                   -- What a late word took up again is held until its end.
                   o.state IN ('expired', 'cancelled', 'unresolved') OR o.state IN ('pending', 'accepted') AND g.state = 'disputed' AS is_silent,
                   o.state = 'indeterminate' OR o.state <> 'not-started' AND NOT ", metered!(), " AS is_unmetered
            FROM run_order o JOIN run r USING (run_id) LEFT JOIN budget_grant g USING (order_id)
            WHERE o.issued_at >= $1 AND o.issued_at < $2 AND ($3::text IS NULL OR r.project = $3)
        ), counted AS (
            SELECT o.*, NOT is_open AND (is_silent OR is_unmetered) AS is_unknown,
                   CASE WHEN is_open OR is_silent OR state IN ('refused', 'not-started') AND NOT is_unmetered THEN 0 ELSE known END AS cost,
                   CASE WHEN is_open THEN 0 WHEN is_silent THEN promised WHEN is_unmetered THEN GREATEST(promised - known, 0) ELSE 0 END AS unknown,
                   CASE WHEN is_open THEN promised ELSE 0 END AS open,
                   CASE WHEN is_silent THEN promised ELSE 0 END AS disputed,
                   CASE WHEN is_open OR is_silent OR state IN ('refused', 'not-started') AND NOT is_unmetered THEN 0 ELSE GREATEST(known - promised, 0) END AS overrun
            FROM o
        )"
        )
    };
}

/// Sums of `part` by key and over all, the total first; then keys behind `$6` in order, or the dearest first where `$8` says so.
macro_rules! summed {
    () => {
        ", sums AS (
            SELECT COALESCE(key, '') AS key, GROUPING(key) = 1 AS is_total, count(DISTINCT order_id) AS orders,
                   count(DISTINCT order_id) FILTER (WHERE is_unknown) AS unknown_orders,
                   COALESCE(sum(cost), 0) AS cost, COALESCE(sum(unknown), 0) AS unknown, COALESCE(sum(open), 0) AS open,
                   COALESCE(sum(disputed), 0) AS disputed, COALESCE(sum(overrun), 0) AS overrun,
                   COALESCE(array_agg(DISTINCT rate_card) FILTER (WHERE rate_card IS NOT NULL), '{}') AS rate_cards,
                   COALESCE(sum(steps), 0) AS steps, COALESCE(sum(untold), 0) AS untold, COALESCE(sum(lower_bounds), 0) AS lower_bounds,
                   COALESCE(sum(cpu_user), 0) AS cpu_user, COALESCE(sum(cpu_system), 0) AS cpu_system, COALESCE(sum(wall), 0) AS wall,
                   COALESCE(sum(memory), 0) AS memory, COALESCE(sum(read), 0) AS read, COALESCE(sum(written), 0) AS written, COALESCE(sum(network),
                   0) AS network, COALESCE(sum(network_unknown), 0) AS network_unknown, COALESCE(max(peak), 0) AS peak, COALESCE(max(processes), 0)
                   AS processes
            FROM part GROUP BY GROUPING SETS ((key), ())
        )
        SELECT key, is_total, orders, unknown_orders, rate_cards,
               LEAST(cost, 9223372036854775807)::bigint AS cost, LEAST(unknown, 9223372036854775807)::bigint AS unknown,
               LEAST(open, 9223372036854775807)::bigint AS open, LEAST(disputed, 9223372036854775807)::bigint AS disputed,
               LEAST(overrun, 9223372036854775807)::bigint AS overrun,
               LEAST(steps, 9223372036854775807)::bigint AS steps, LEAST(untold, 9223372036854775807)::bigint AS untold, LEAST(lower_bounds,
               9223372036854775807)::bigint AS lower_bounds, LEAST(cpu_user, 9223372036854775807)::bigint AS cpu_user, LEAST(cpu_system,
               9223372036854775807)::bigint AS cpu_system, LEAST(wall, 9223372036854775807)::bigint AS wall, LEAST(memory,
               9223372036854775807)::bigint AS memory, LEAST(read, 9223372036854775807)::bigint AS read, LEAST(written,
               9223372036854775807)::bigint AS written, LEAST(network, 9223372036854775807)::bigint AS network, LEAST(network_unknown,
               9223372036854775807)::bigint AS network_unknown, LEAST(peak, 9223372036854775807)::bigint AS peak, LEAST(processes,
               9223372036854775807)::bigint AS processes
        FROM sums WHERE is_total OR key COLLATE \"C\" > $6
        ORDER BY is_total DESC, CASE WHEN $8 THEN cost + unknown ELSE 0 END DESC, key COLLATE \"C\" LIMIT $7"
    };
}

/// What a step `s` used, as a row of sums; what a report counts as cost is what it counts the use of.
macro_rules! used {
    () => {
        "1::numeric AS steps, (s.wall_us IS NULL)::int::numeric AS untold, COALESCE(s.lower_bound, false)::int::numeric AS lower_bounds,
         s.cpu_user_us::numeric AS cpu_user, s.cpu_system_us::numeric AS cpu_system, s.wall_us::numeric AS wall,
         s.memory_byte_seconds::numeric AS memory, s.read_bytes::numeric AS read, s.written_bytes::numeric AS written,
         s.network_bytes::numeric AS network, (s.network_bytes IS NULL)::int::numeric AS network_unknown,
         s.peak_memory_bytes::numeric AS peak, s.processes::numeric AS processes"
    };
}

statements! {
    OF_ORDERS = concat!("-- cost.of_orders\n", counted!(), ", part AS (
            SELECT CASE $4 WHEN 'tenant' THEN $5 WHEN 'project' THEN c.project WHEN 'kind' THEN c.kind WHEN 'run' THEN 'run_' || replace(c.run_id::text, '-', '')
                           ELSE (SELECT a.name FROM agent a WHERE a.agent_id = c.agent_id) END AS key, c.*, u.*
            FROM counted c CROSS JOIN LATERAL (
                SELECT sum(steps) AS steps, sum(untold) AS untold, sum(lower_bounds) AS lower_bounds, sum(cpu_user) AS cpu_user, sum(cpu_system) AS
                       cpu_system, sum(wall) AS wall, sum(memory) AS memory, sum(read) AS read, sum(written) AS written, sum(network) AS network,
                       sum(network_unknown) AS network_unknown, max(peak) AS peak, max(processes) AS processes
                FROM (SELECT ", used!(), " FROM step s WHERE s.order_id = c.order_id AND c.cost > 0) AS s
            ) AS u
        )", summed!());
    OF_STEPS = concat!("-- cost.of_steps\n", counted!(), ", step_cost AS (
            SELECT c.order_id, s.step, s.cost_micros::numeric AS cost, ", used!(), "
            FROM counted c JOIN step s ON s.order_id = c.order_id WHERE c.cost > 0
        ), part AS (
            SELECT CASE $4 WHEN 'step' THEN c.project || '/' || s.step ELSE COALESCE(split_part(s.step, ':', 1), $5) END AS key, c.order_id,
                   c.is_unknown, c.rate_card, s.cost, 0::numeric AS unknown, 0::numeric AS open, 0::numeric AS disputed, 0::numeric AS overrun,
                   steps, untold, lower_bounds, cpu_user, cpu_system, wall, memory, read, written, network, network_unknown, peak, processes
            FROM counted c JOIN step_cost s USING (order_id)
            UNION ALL
            SELECT CASE $4 WHEN 'step' THEN c.project || '/' || $5 ELSE $5 END, c.order_id, c.is_unknown, c.rate_card,
                   c.cost - COALESCE((SELECT sum(s.cost) FROM step_cost s WHERE s.order_id = c.order_id), 0), c.unknown, c.open, c.disputed, c.overrun,
                   NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
            FROM counted c
        )", summed!());
    UNKNOWN = concat!("-- cost.unknown\n", counted!(), "
        SELECT c.order_id, c.run_id, c.agent_id, a.name AS agent_name, c.project, c.state, c.issued_at, c.rate_card, c.is_silent,
               LEAST(c.cost, 9223372036854775807)::bigint AS cost, LEAST(c.unknown, 9223372036854775807)::bigint AS unknown
        FROM counted c JOIN agent a USING (agent_id)
        WHERE c.is_unknown AND (c.issued_at, c.order_id) > ($4, $5) ORDER BY c.issued_at, c.order_id LIMIT $6");
}

/// Which orders.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Made at or after.
    pub from: Timestamp,
    /// Made before.
    pub to: Timestamp,
    /// Only of this project.
    pub project: Option<&'a str>,
}

/// What the lines of a report are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The whole tenant.
    Tenant,
    /// Projects.
    Project,
    /// Kinds of runs.
    Kind,
    /// Runs.
    Run,
    /// Hosts, by name.
    Agent,
    /// Steps of projects, `PROJECT/STEP`.
    Step,
    /// The kinds of resources that steps are of.
    Provider,
}

impl By {
    /// Everything that lines can be about.
    pub const ALL: [Self; 7] = [
        Self::Tenant,
        Self::Project,
        Self::Kind,
        Self::Run,
        Self::Agent,
        Self::Step,
        Self::Provider,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::Kind => "kind",
            Self::Run => "run",
            Self::Agent => "agent",
            Self::Step => "step",
            Self::Provider => "provider",
        }
    }

    /// What a name stands for.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == name)
    }

    const fn is_of_steps(self) -> bool {
        matches!(self, Self::Step | Self::Provider)
    }
}

/// Which lines.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// By key, behind this one.
    After(&'a str),
    /// The dearest first.
    Dearest,
}

/// Sums over some orders, micro-units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// What they are of; empty for the total.
    pub key: String,
    /// How many orders have a part in it.
    pub orders: u64,
    /// Of how many of them nobody knows all that they cost.
    pub unknown_orders: u64,
    /// What they cost, as far as it is known.
    pub cost_micros: u64,
    /// What is counted beyond that, because it may have been spent.
    pub unknown_micros: u64,
    /// Promised to orders that have not ended.
    pub open_micros: u64,
    /// The part of `unknown_micros` of which the agent may still speak.
    pub disputed_micros: u64,
    /// The part of `cost_micros` that no grant covered; of lines about steps only in the total.
    pub overrun_micros: u64,
    /// Versions of the rate cards that priced it.
    pub rate_cards: Vec<u32>,
    /// What the steps behind `cost_micros` used.
    pub used: Used,
}

/// What some steps used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// How many steps.
    pub steps: u64,
    /// How many of them say nothing of it: they were stored before it was kept.
    pub untold_steps: u64,
    /// How many say that they may miss a part.
    pub lower_bound_steps: u64,
    /// Processor time in user mode, microseconds.
    pub cpu_user_us: u64,
    /// Processor time in the kernel, microseconds.
    pub cpu_system_us: u64,
    /// From start to end, microseconds.
    pub wall_us: u64,
    /// Largest of their peaks, bytes.
    pub peak_memory_bytes: u64,
    /// Memory over time as it is priced, bytes times seconds.
    pub memory_byte_seconds: u64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage.
    pub written_bytes: u64,
    /// Bytes over the network, where they were counted.
    pub network_bytes: u64,
    /// How many steps may have had a network whose bytes nobody counted.
    pub network_unknown_steps: u64,
    /// Most processes and threads of one of them at once.
    pub processes: u64,
}

/// An order of which nobody knows all that it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCost {
    /// The order.
    pub order_id: OrderId,
    /// Its run.
    pub run_id: RunId,
    /// Its agent.
    pub agent_id: AgentId,
    /// The agent's name.
    pub agent_name: String,
    /// The run's project.
    pub project: String,
    /// Where it stands.
    pub state: OrderState,
    /// When it was made.
    pub issued_at: Timestamp,
    /// The version of its rate card.
    pub rate_card: u32,
    /// Whether no word came of it at all, so that one may still come.
    pub is_silent: bool,
    /// What is known of its cost, micro-units.
    pub cost_micros: u64,
    /// What is counted beyond that.
    pub unknown_micros: u64,
}

/// The total of a window and some of its lines.
///
/// # Errors
/// [`Error`].
pub async fn sums(
    tx: &mut Tx,
    window: &Window<'_>,
    (by, tenant): (By, &str),
    which: Which<'_>,
    limit: u32,
) -> Result<(Sum, Vec<Sum>), Error> {
    let (statement, fifth) = if by.is_of_steps() {
        (OF_STEPS, NO_STEP)
    } else {
        (OF_ORDERS, tenant)
    };
    let (after, is_dearest) = match which {
        Which::After(key) => (key, false),
        Which::Dearest => ("", true),
    };
    let query = query(statement)
        .bind(Instant(window.from))
        .bind(Instant(window.to))
        .bind(window.project.map(text))
        .bind(by.name())
        .bind(fifth)
        .bind(text(after))
        // The total stands before the lines.
        .bind(i64::from(limit).saturating_add(1))
        .bind(is_dearest);
    let rows = tx.rows(query).await?;
    let mut sums = rows.iter().map(read_sum).collect::<Result<Vec<_>, _>>()?;
    if sums.is_empty() {
        return Err(Error::Inconsistent { what: "cost.total" });
    }
    let total = sums.remove(0);
    Ok((total, sums))
}

/// Orders of a window of which nobody knows all that they cost, by when they were made, behind one of them.
///
/// # Errors
/// [`Error`].
pub async fn unknown(
    tx: &mut Tx,
    window: &Window<'_>,
    after: (Timestamp, OrderId),
    limit: u32,
) -> Result<Vec<UnknownCost>, Error> {
    let query = query(UNKNOWN)
        .bind(Instant(window.from))
        .bind(Instant(window.to))
        .bind(window.project.map(text))
        .bind(Instant(after.0))
        .bind(after.1.as_uuid())
        .bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_unknown).collect()
}

fn read_sum(r: &PgRow) -> Result<Sum, Error> {
    let cards: Vec<i32> = row::get(r, "rate_cards")?;
    let card = |version: i32| u32::try_from(version).map_err(|_| Error::Inconsistent { what: "rate_card" });
    Ok(Sum {
        key: row::get(r, "key")?,
        orders: row::count(r, "orders")?,
        unknown_orders: row::count(r, "unknown_orders")?,
        cost_micros: row::count(r, "cost")?,
        unknown_micros: row::count(r, "unknown")?,
        open_micros: row::count(r, "open")?,
        disputed_micros: row::count(r, "disputed")?,
        overrun_micros: row::count(r, "overrun")?,
        rate_cards: cards.into_iter().map(card).collect::<Result<_, _>>()?,
        used: Used {
            steps: row::count(r, "steps")?,
            untold_steps: row::count(r, "untold")?,
            lower_bound_steps: row::count(r, "lower_bounds")?,
            cpu_user_us: row::count(r, "cpu_user")?,
            cpu_system_us: row::count(r, "cpu_system")?,
            wall_us: row::count(r, "wall")?,
            peak_memory_bytes: row::count(r, "peak")?,
            memory_byte_seconds: row::count(r, "memory")?,
            read_bytes: row::count(r, "read")?,
            written_bytes: row::count(r, "written")?,
            network_bytes: row::count(r, "network")?,
            network_unknown_steps: row::count(r, "network_unknown")?,
            processes: row::count(r, "processes")?,
        },
    })
}

fn read_unknown(r: &PgRow) -> Result<UnknownCost, Error> {
    let state: String = row::get(r, "state")?;
    Ok(UnknownCost {
        order_id: row::uuid(r, "order_id", OrderId::from_uuid)?,
        run_id: row::uuid(r, "run_id", RunId::from_uuid)?,
        agent_id: row::uuid(r, "agent_id", AgentId::from_uuid)?,
        agent_name: row::get(r, "agent_name")?,
        project: row::get(r, "project")?,
        state: OrderState::of(&state).ok_or(Error::Inconsistent {
            what: "run_order.state",
        })?,
        issued_at: row::time(r, "issued_at")?,
        rate_card: row::small(r, "rate_card")?,
        is_silent: row::get(r, "is_silent")?,
        cost_micros: row::count(r, "cost")?,
        unknown_micros: row::count(r, "unknown")?,
    })
}
