//! Orders: created many at a time, read for manifests, changed by records, hellos and the sweeper.

pub mod held;
mod row_form;
pub mod traced;

use sqlx::postgres::PgRow;
use sqlx::query;
use uuid::Uuid;
use writ_domain::order::OrderState;
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, JournalId, OrderId, RunId};
use writ_protocol::manifest::Generation;
use writ_protocol::reason::Code;
use writ_protocol::time::Timestamp;

use crate::agent::uuids;
use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

statements! {
    CREATE = "-- order.create
        INSERT INTO run_order (order_id, run_id, agent_id, state, fencing_token, control_epoch, lease_ms, issued_at, expires_at,
                               deadline_at, grant_micros, updated_at, rests_on, rate_card)
        SELECT u.order_id, $3, u.agent_id, CASE WHEN $11::boolean THEN 'held' ELSE 'pending' END, 1, $4, $5, $6, $7, CASE WHEN $11::boolean THEN NULL ELSE $7::timestamptz END,
               CASE WHEN $11::boolean THEN 0 ELSE $8::bigint END, $6, u.rests_on, $10
        FROM unnest($1::uuid[], $2::uuid[], $9::bytea[]) u(order_id, agent_id, rests_on)";
    OUTSTANDING = "-- order.outstanding
        SELECT * FROM (
            SELECT o.*, a.name AS agent_name, row_number() OVER (PARTITION BY o.agent_id ORDER BY o.issued_at, o.order_id) AS place
            FROM run_order o JOIN agent a USING (agent_id)
            WHERE o.agent_id = ANY($1) AND o.state IN ('pending', 'accepted')) oldest
        WHERE place <= $2 ORDER BY agent_id, place";
    OF_RUN = "-- order.of_run
        SELECT o.*, a.name AS agent_name FROM run_order o JOIN agent a USING (agent_id)
        WHERE o.run_id = $1 AND a.name > $2 ORDER BY a.name LIMIT $3";
    READ = "-- order.read
        SELECT o.*, a.name AS agent_name FROM run_order o JOIN agent a USING (agent_id) WHERE o.order_id = $1";
    LOCK = "-- order.lock
        SELECT o.*, a.name AS agent_name FROM run_order o JOIN agent a USING (agent_id)
        WHERE o.order_id = ANY($1) ORDER BY o.order_id FOR UPDATE OF o";
    LOCK_RUN = "-- order.lock_run
        SELECT o.*, a.name AS agent_name FROM run_order o JOIN agent a USING (agent_id)
        WHERE o.run_id = $1 AND o.state IN ('held', 'pending', 'accepted') ORDER BY o.order_id FOR UPDATE OF o";
    OVERDUE = "-- order.overdue
        SELECT o.*, a.name AS agent_name FROM run_order o JOIN agent a USING (agent_id)
        WHERE o.deadline_at <= $1 ORDER BY o.deadline_at LIMIT $2 FOR UPDATE OF o SKIP LOCKED";
    COUNTS = "-- order.counts
        SELECT run_id, state, code IS NOT DISTINCT FROM $2 AS cancelled, code IS NOT DISTINCT FROM $3 AS halted, count(*) AS orders, LEAST(COALESCE(sum(cost_micros), 0), 9223372036854775807)::bigint AS cost
        FROM run_order
        WHERE run_id = ANY($1) GROUP BY run_id, state, cancelled, halted";
    SAVE = "-- order.save
        UPDATE run_order o SET
            state = u.state, cancel_requested = u.cancel_requested, late = u.late, deadline_at = u.deadline_at, heard_at = u.heard_at,
            accepted_at = u.accepted_at, ended_at = u.ended_at, code = u.code, detail = u.detail, changed = u.changed,
            unchanged = u.unchanged, failed = u.failed, skipped = u.skipped, cost_micros = u.cost_micros, statement = u.statement,
            journal_id = u.journal_id, first_seq = u.first_seq, last_seq = u.last_seq, epoch = u.epoch, generation = u.generation,
            updated_at = $21
        FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::boolean[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[],
                    $8::timestamptz[], $9::text[], $10::text[], $11::int[], $12::int[], $13::int[], $14::int[], $15::bigint[], $16::bytea[],
                    $17::uuid[], $18::bigint[], $19::bigint[], $20::int[], $22::bigint[])
            u(order_id, state, cancel_requested, late, deadline_at, heard_at, accepted_at, ended_at, code, detail, changed, unchanged,
              failed, skipped, cost_micros, statement, journal_id, first_seq, last_seq, epoch, generation)
        WHERE o.order_id = u.order_id";
    LATER_PLAN = "-- order.later_plan
        SELECT o.order_id FROM run_order o JOIN run r USING (run_id) JOIN bundle b ON b.digest = r.bundle_digest
        WHERE o.agent_id = $1 AND o.order_id > $2 AND r.project = $3 AND r.kind = 'apply' AND b.config_digest <> $4
            AND (o.accepted_at IS NOT NULL OR o.state IN ('held', 'pending', 'accepted')) ORDER BY o.order_id DESC LIMIT 1";
    REACH = "-- order.reach
        SELECT o.agent_id, o.run_id, r.project, o.state = 'accepted' AS taken, o.heard_at + o.lease_ms * interval '1 millisecond' AS leased_until
        FROM run_order o JOIN run r USING (run_id)
        WHERE o.agent_id = ANY($1) AND (o.state IN ('pending', 'accepted') OR o.state = 'unresolved')";
}

/// An order's row.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its id.
    pub order_id: OrderId,
    /// Its run.
    pub run_id: RunId,
    /// Its agent.
    pub agent_id: AgentId,
    /// The agent's name.
    pub agent_name: String,
    /// Where it stands.
    pub state: OrderState,
    /// The token under which records count.
    pub fencing_token: u64,
    /// Whether it is to stop.
    pub cancel_requested: bool,
    /// Whether the agent's word came after the ledger had given up.
    pub late: bool,
    /// The control epoch it was made under.
    pub control_epoch: u64,
    /// Length of its lease, milliseconds.
    pub lease_ms: u64,
    /// When it was made.
    pub issued_at: Timestamp,
    /// Not to be accepted after.
    pub expires_at: Timestamp,
    /// When the sweeper looks at it.
    pub deadline_at: Option<Timestamp>,
    /// The agent's last word about it.
    pub heard_at: Option<Timestamp>,
    /// What it may cost, micro-units.
    pub grant_micros: u64,
    /// The version of the prices that it was made under.
    pub rate_card: u32,
    /// What the plan's changes on the host rest on; absent for checks.
    pub rests_on: Option<Digest>,
    /// When it was accepted.
    pub accepted_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it did not succeed.
    pub code: Option<String>,
    /// Why, in words.
    pub detail: Option<String>,
    /// Steps: changed, unchanged, failed, skipped.
    pub steps: Option<[u32; 4]>,
    /// What it cost, micro-units.
    pub cost_micros: Option<u64>,
    /// Digest of the execution statement's payload.
    pub statement: Option<Digest>,
    /// The journal with its records.
    pub journal_id: Option<JournalId>,
    /// Its first record there.
    pub first_seq: Option<u64>,
    /// Its last record there.
    pub last_seq: Option<u64>,
    /// The manifest under which it was accepted.
    pub at: Option<Generation>,
}

/// What new orders have in common.
#[derive(Clone, Debug)]
pub struct NewOrders {
    /// Their run.
    pub run_id: RunId,
    /// The control epoch they are made under.
    pub control_epoch: u64,
    /// Length of their leases, milliseconds.
    pub lease_ms: u64,
    /// When they are made.
    pub issued_at: Timestamp,
    /// Not to be accepted after.
    pub expires_at: Timestamp,
    /// What each may cost, micro-units.
    pub grant_micros: u64,
    /// The version of the prices that they are made under.
    pub rate_card: u32,
    /// Whether they wait for their turn, without a deadline and without a grant.
    pub held: bool,
}

/// Creates one order for each agent, in one statement.
///
/// # Errors
/// [`Error`].
pub async fn create(tx: &mut Tx, new: &NewOrders, orders: &[(OrderId, AgentId)]) -> Result<(), Error> {
    let orders: Vec<_> = orders
        .iter()
        .map(|(order, agent)| (*order, *agent, None))
        .collect();
    create_resting(tx, new, &orders).await
}

/// [`create`], where each order may rest on what a plan saw of its host.
///
/// # Errors
/// [`Error`].
pub async fn create_resting(
    tx: &mut Tx,
    new: &NewOrders,
    orders: &[(OrderId, AgentId, Option<Digest>)],
) -> Result<(), Error> {
    let ids: Vec<Uuid> = orders.iter().map(|(order, ..)| order.as_uuid()).collect();
    let agents: Vec<Uuid> = orders.iter().map(|(_, agent, _)| agent.as_uuid()).collect();
    let rests_on: Vec<Option<Vec<u8>>> = orders
        .iter()
        .map(|(.., rests_on)| rests_on.map(|digest| digest.as_bytes().to_vec()))
        .collect();
    let query = query(CREATE)
        .bind(ids)
        .bind(agents)
        .bind(new.run_id.as_uuid())
        .bind(row::signed(new.control_epoch))
        .bind(row::signed(new.lease_ms))
        .bind(Instant(new.issued_at))
        .bind(Instant(new.expires_at))
        .bind(row::signed(new.grant_micros))
        .bind(rests_on)
        .bind(row::signed_small(new.rate_card))
        .bind(new.held);
    tx.run(query).await.map(|_| ())
}

/// The oldest outstanding orders of agents, at most `each` an agent, by agent and age.
///
/// # Errors
/// [`Error`].
pub async fn outstanding(tx: &mut Tx, agents: &[AgentId], each: usize) -> Result<Vec<Order>, Error> {
    let each = i64::try_from(each).unwrap_or(i64::MAX);
    tx.rows(query(OUTSTANDING).bind(uuids(agents)).bind(each))
        .await?
        .iter()
        .map(read_order)
        .collect()
}

/// Orders of a run whose agents' names come after `after`, by name.
///
/// # Errors
/// [`Error`].
pub async fn of_run(tx: &mut Tx, run: RunId, after: &str, limit: u32) -> Result<Vec<Order>, Error> {
    tx.rows(
        query(OF_RUN)
            .bind(run.as_uuid())
            .bind(text(after))
            .bind(i64::from(limit)),
    )
    .await?
    .iter()
    .map(read_order)
    .collect()
}

/// An order by id.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, id: OrderId) -> Result<Option<Order>, Error> {
    tx.row(query(READ).bind(id.as_uuid()))
        .await?
        .as_ref()
        .map(read_order)
        .transpose()
}

/// The newest order after one by which a plan of another config is or was carried out on a host.
///
/// # Errors
/// [`Error`].
pub async fn later_plan(
    tx: &mut Tx,
    (agent, project): (AgentId, &str),
    after: OrderId,
    config: &Digest,
) -> Result<Option<OrderId>, Error> {
    let query = query(LATER_PLAN)
        .bind(agent.as_uuid())
        .bind(after.as_uuid())
        .bind(project)
        .bind(config.as_bytes().as_slice());
    let found = tx.row(query).await?;
    found
        .map(|r| Ok(OrderId::from_uuid(row::get(&r, "order_id")?)))
        .transpose()
}

/// Orders by id, locked in order until the transaction ends.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx, ids: &[OrderId]) -> Result<Vec<Order>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(OrderId::as_uuid).collect();
    tx.rows(query(LOCK).bind(ids))
        .await?
        .iter()
        .map(read_order)
        .collect()
}

/// A run's orders that have not ended, locked in order until the transaction ends.
///
/// # Errors
/// [`Error`].
pub async fn lock_run(tx: &mut Tx, run: RunId) -> Result<Vec<Order>, Error> {
    tx.rows(query(LOCK_RUN).bind(run.as_uuid()))
        .await?
        .iter()
        .map(read_order)
        .collect()
}

/// Orders whose deadline has passed, locked; those that another holds are left for the next time.
///
/// # Errors
/// [`Error`].
pub async fn overdue(tx: &mut Tx, now: Timestamp, limit: u32) -> Result<Vec<Order>, Error> {
    tx.rows(query(OVERDUE).bind(Instant(now)).bind(i64::from(limit)))
        .await?
        .iter()
        .map(read_order)
        .collect()
}

/// How many orders of a run stand where, and what they cost.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// The run.
    pub run_id: RunId,
    /// Where they stand.
    pub state: OrderState,
    /// Whether they ended because somebody cancelled them.
    pub cancelled: bool,
    /// Whether a halt ended them.
    pub halted: bool,
    /// How many.
    pub orders: u64,
    /// What they cost together, micro-units; held at the end of the database's range, since agents say what they cost.
    pub cost_micros: u64,
}

/// Counts of the orders of runs, by state and by whether a cancellation or a halt ended them.
///
/// # Errors
/// [`Error`].
pub async fn counts(tx: &mut Tx, runs: &[RunId]) -> Result<Vec<Count>, Error> {
    let ids: Vec<Uuid> = runs.iter().map(RunId::as_uuid).collect();
    let rows = tx
        .rows(
            query(COUNTS)
                .bind(ids)
                .bind(Code::Cancelled.to_string())
                .bind(Code::Halted.to_string()),
        )
        .await?;
    let read = |r: &PgRow| {
        let state: String = row::get(r, "state")?;
        Ok(Count {
            run_id: row::uuid(r, "run_id", RunId::from_uuid)?,
            state: OrderState::of(&state).ok_or(Error::Inconsistent {
                what: "run_order.state",
            })?,
            cancelled: row::get(r, "cancelled")?,
            halted: row::get(r, "halted")?,
            orders: row::count(r, "orders")?,
            cost_micros: row::count(r, "cost")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Writes everything of orders that may change, in one statement.
///
/// # Errors
/// [`Error`].
pub async fn save(tx: &mut Tx, orders: &[Order], now: Timestamp) -> Result<(), Error> {
    if orders.is_empty() {
        return Ok(());
    }
    tx.run(row_form::bind_save(query(SAVE), orders, now))
        .await
        .map(|_| ())
}

/// An order that an agent may be carrying out: it is open, or was given up without a word of its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reach {
    /// The agent.
    pub agent_id: AgentId,
    /// The order's run.
    pub run_id: RunId,
    /// The run's project.
    pub project: String,
    /// Whether the agent has accepted it and not ended it.
    pub taken: bool,
    /// Until when the agent may start steps without hearing from us; none before its first word.
    pub leased_until: Option<Timestamp>,
}

/// What agents may be carrying out.
///
/// # Errors
/// [`Error`].
pub async fn reach(tx: &mut Tx, agents: &[AgentId]) -> Result<Vec<Reach>, Error> {
    let rows = tx.rows(query(REACH).bind(uuids(agents))).await?;
    let read = |r: &PgRow| {
        Ok(Reach {
            agent_id: row::uuid(r, "agent_id", AgentId::from_uuid)?,
            run_id: row::uuid(r, "run_id", RunId::from_uuid)?,
            project: row::get(r, "project")?,
            taken: row::get(r, "taken")?,
            leased_until: row::maybe_time(r, "leased_until")?,
        })
    };
    rows.iter().map(read).collect()
}

fn read_order(r: &PgRow) -> Result<Order, Error> {
    row_form::read(r)
}
