//! Remediations and the policies of environments. Whoever moves one holds its row; those of findings are locked after it.

pub mod policy;

use sqlx::postgres::PgRow;
use sqlx::query;
use uuid::Uuid;
use writ_domain::drift::finding::State as Standing;
use writ_domain::remediation::State;
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, DriftId, OrderId, RemediationId, RunId};
use writ_protocol::time::Timestamp;

use crate::drift::{Finding, read_finding};
use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

statements! {
    SAVE = "-- remediation.save
        INSERT INTO remediation (remediation_id, agent_id, project, environment, state, deadline_at, findings, resources, order_id, check_run,
                                 plan_digest, run_id, is_asked, begun_by, reason, created_at, approved_by, approved_at, ended_at, outcome)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
        ON CONFLICT (remediation_id) DO UPDATE SET state = $5, deadline_at = $6, plan_digest = $11, run_id = $12, approved_by = $17,
            approved_at = $18, ended_at = $19, outcome = $20";
    LOCK = "-- remediation.lock
        SELECT r.*, a.name AS agent_name FROM remediation r JOIN agent a USING (agent_id) WHERE r.remediation_id = $1 FOR NO KEY UPDATE OF r";
    READ = "-- remediation.read
        SELECT r.*, a.name AS agent_name FROM remediation r JOIN agent a USING (agent_id) WHERE r.remediation_id = $1";
    CLAIM = "-- remediation.claim
        SELECT r.*, a.name AS agent_name FROM remediation r JOIN agent a USING (agent_id)
        WHERE r.ended_at IS NULL AND r.remediation_id > $1 ORDER BY r.remediation_id LIMIT 1 FOR NO KEY UPDATE OF r SKIP LOCKED";
    PAGE = "-- remediation.page
        SELECT r.*, a.name AS agent_name FROM remediation r JOIN agent a USING (agent_id)
        WHERE ($1::uuid IS NULL OR r.remediation_id < $1) AND ($2::text IS NULL OR r.state = $2) AND ($3::text IS NULL OR a.name = $3)
            AND ($4::text IS NULL OR r.project = $4) ORDER BY r.remediation_id DESC LIMIT $5";
    OPEN_OF = "-- remediation.open_of
        SELECT remediation_id FROM remediation WHERE agent_id = $1 AND project = $2 AND ended_at IS NULL";
    FINDINGS = "-- remediation.findings
        SELECT f.* FROM drift_finding f WHERE f.drift_id = ANY($1) ORDER BY f.drift_id";
    TIMES = "-- remediation.times
        SELECT f.drift_id, count(*) AS times FROM remediation r CROSS JOIN LATERAL unnest(r.findings) f(drift_id)
        WHERE f.drift_id = ANY($1) AND r.run_id IS NOT NULL AND r.created_at > $2 GROUP BY f.drift_id";
    WAITING = "-- remediation.waiting
        SELECT f.*, p.environment AS of_environment FROM drift_finding f JOIN agent a USING (agent_id)
        JOIN remediation_policy p ON p.environment = a.labels->>'env'
        WHERE f.state = 'open' AND a.state = 'active' AND p.mode <> 'audit' AND p.stopped_at IS NULL AND f.drift_id > $1
            AND NOT EXISTS (SELECT FROM remediation r WHERE r.agent_id = f.agent_id AND r.project = f.project
                AND (r.ended_at IS NULL OR (f.drift_id = ANY (r.findings) AND r.ended_at > f.last_seen)))
        ORDER BY f.drift_id LIMIT $2";
}

/// A remediation's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remediation {
    /// Its id; later ones are greater.
    pub remediation_id: RemediationId,
    /// The host's agent.
    pub agent_id: AgentId,
    /// Its name.
    pub agent_name: String,
    /// The project.
    pub project: String,
    /// The environment that the host was labelled with.
    pub environment: Option<String>,
    /// Where it stands.
    pub state: State,
    /// When that is over.
    pub deadline: Option<Timestamp>,
    /// The findings.
    pub findings: Vec<DriftId>,
    /// Their resources.
    pub resources: Vec<String>,
    /// The order that applied the plan that it heads for.
    pub order_id: OrderId,
    /// The run that says what would change.
    pub check_run: RunId,
    /// The plan that was made of it.
    pub plan_digest: Option<Digest>,
    /// The run that carries it out.
    pub run_id: Option<RunId>,
    /// Whether a person asked for it.
    pub is_asked: bool,
    /// Who began it.
    pub begun_by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub created_at: Timestamp,
    /// Who said yes, and when.
    pub approved: Option<(String, Timestamp)>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// Why it stands as it does.
    pub outcome: String,
}

/// Writes one down.
///
/// # Errors
/// [`Error::Taken`] where another is open on the same host and project.
pub async fn save(tx: &mut Tx, one: &Remediation) -> Result<(), Error> {
    let (approved_by, approved_at) = one.approved.clone().unzip();
    let query = query(SAVE)
        .bind(one.remediation_id.as_uuid())
        .bind(one.agent_id.as_uuid())
        .bind(text(&one.project))
        .bind(one.environment.as_deref())
        .bind(one.state.name())
        .bind(one.deadline.map(Instant))
        .bind(
            one.findings
                .iter()
                .map(writ_protocol::id::DriftId::as_uuid)
                .collect::<Vec<_>>(),
        )
        .bind(one.resources.iter().map(|id| text(id)).collect::<Vec<_>>())
        .bind(one.order_id.as_uuid())
        .bind(one.check_run.as_uuid())
        .bind(one.plan_digest.as_ref().map(|digest| digest.as_bytes().to_vec()))
        .bind(one.run_id.map(|id| id.as_uuid()))
        .bind(one.is_asked)
        .bind(text(&one.begun_by))
        .bind(text(&one.reason))
        .bind(Instant(one.created_at))
        .bind(approved_by)
        .bind(approved_at.map(Instant))
        .bind(one.ended_at.map(Instant))
        .bind(text(&one.outcome));
    tx.run(query).await.map(|_| ())
}

/// One, held until the end of the transaction.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx, id: RemediationId) -> Result<Option<Remediation>, Error> {
    let found = tx.row(query(LOCK).bind(id.as_uuid())).await?;
    found.as_ref().map(read_row).transpose()
}

/// One.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, id: RemediationId) -> Result<Option<Remediation>, Error> {
    let found = tx.row(query(READ).bind(id.as_uuid())).await?;
    found.as_ref().map(read_row).transpose()
}

/// The first behind one that is not over, held until the end of the transaction; what another holds is passed over.
///
/// # Errors
/// [`Error`].
pub async fn claim(tx: &mut Tx, after: RemediationId) -> Result<Option<Remediation>, Error> {
    let found = tx.row(query(CLAIM).bind(after.as_uuid())).await?;
    found.as_ref().map(read_row).transpose()
}

/// Those from before one, the newest first.
///
/// # Errors
/// [`Error`].
pub async fn page(
    tx: &mut Tx,
    before: Option<RemediationId>,
    (state, agent, project): (Option<State>, Option<&str>, Option<&str>),
    limit: u32,
) -> Result<Vec<Remediation>, Error> {
    let query = query(PAGE)
        .bind(before.map(|id| id.as_uuid()))
        .bind(state.map(State::name))
        .bind(agent)
        .bind(project)
        .bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_row).collect()
}

/// The one that is open on a host and project.
///
/// # Errors
/// [`Error`].
pub async fn open_of(tx: &mut Tx, agent: AgentId, project: &str) -> Result<Option<RemediationId>, Error> {
    let found = tx.row(query(OPEN_OF).bind(agent.as_uuid()).bind(project)).await?;
    found
        .as_ref()
        .map(|r| row::uuid(r, "remediation_id", RemediationId::from_uuid))
        .transpose()
}

/// Findings by id, those that are not forgotten.
///
/// # Errors
/// [`Error`].
pub async fn findings(tx: &mut Tx, ids: &[DriftId]) -> Result<Vec<Finding>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(writ_protocol::id::DriftId::as_uuid).collect();
    tx.rows(query(FINDINGS).bind(ids))
        .await?
        .iter()
        .map(read_finding)
        .collect()
}

/// How often each of these findings was worked on since an instant.
///
/// # Errors
/// [`Error`].
pub async fn times(tx: &mut Tx, ids: &[DriftId], since: Timestamp) -> Result<Vec<(DriftId, u64)>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(writ_protocol::id::DriftId::as_uuid).collect();
    let rows = tx.rows(query(TIMES).bind(ids).bind(Instant(since))).await?;
    let read = |r: &PgRow| {
        Ok((
            row::uuid(r, "drift_id", DriftId::from_uuid)?,
            row::count(r, "times")?,
        ))
    };
    rows.iter().map(read).collect()
}

/// Findings behind one that are open in environments whose policy does more than tell, each with its environment, and on which nothing is begun since
/// they were last seen.
///
/// # Errors
/// [`Error`].
pub async fn waiting(tx: &mut Tx, after: DriftId, limit: u32) -> Result<Vec<(Finding, String)>, Error> {
    let query = query(WAITING).bind(after.as_uuid()).bind(i64::from(limit));
    let read = |r: &PgRow| Ok((read_finding(r)?, row::get(r, "of_environment")?));
    tx.rows(query).await?.iter().map(read).collect()
}

/// Whether findings are clear, or as somebody said that they may be.
pub fn is_clear(found: &[Finding]) -> bool {
    found
        .iter()
        .all(|one| matches!(one.standing.state, Standing::Cleared | Standing::Expected))
}

fn read_row(r: &PgRow) -> Result<Remediation, Error> {
    let state: String = row::get(r, "state")?;
    let approved = row::get::<Option<String>>(r, "approved_by")?.zip(row::maybe_time(r, "approved_at")?);
    let digest = row::get::<Option<Vec<u8>>>(r, "plan_digest")?;
    let digest = digest.map(|bytes| Digest::from_slice(&bytes)).transpose();
    let ids = row::get::<Vec<Uuid>>(r, "findings")?;
    Ok(Remediation {
        remediation_id: row::uuid(r, "remediation_id", RemediationId::from_uuid)?,
        agent_id: row::uuid(r, "agent_id", AgentId::from_uuid)?,
        agent_name: row::get(r, "agent_name")?,
        project: row::get(r, "project")?,
        environment: row::get(r, "environment")?,
        state: State::of(&state).ok_or(Error::Inconsistent {
            what: "remediation.state",
        })?,
        deadline: row::maybe_time(r, "deadline_at")?,
        findings: ids.into_iter().map(DriftId::from_uuid).collect(),
        resources: row::get(r, "resources")?,
        order_id: row::uuid(r, "order_id", OrderId::from_uuid)?,
        check_run: row::uuid(r, "check_run", RunId::from_uuid)?,
        plan_digest: digest.map_err(|_| Error::Inconsistent {
            what: "remediation.plan_digest",
        })?,
        run_id: row::get::<Option<Uuid>>(r, "run_id")?.map(RunId::from_uuid),
        is_asked: row::get(r, "is_asked")?,
        begun_by: row::get(r, "begun_by")?,
        reason: row::get(r, "reason")?,
        created_at: row::time(r, "created_at")?,
        approved,
        ended_at: row::maybe_time(r, "ended_at")?,
        outcome: row::get(r, "outcome")?,
    })
}
