//! Drift: what is watched on each host and the findings about it. What became of findings stands in [`history`], what is shown in [`shown`], what
//! somebody said beforehand in [`suppression`], looks that somebody asked for in [`asked`].
//!
//! Whoever writes locks the rows of [`Watch`]es first, by agent and project, and then those of findings, by id; all rows of a pass at once.

pub mod asked;
pub mod history;
pub mod shown;
pub mod suppression;

use sqlx::postgres::PgRow;
use sqlx::query;
use sqlx::types::Json;
use uuid::Uuid;
use writ_domain::drift::finding::{self, State};
use writ_domain::drift::{Class, Severity};
use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, DriftId, OrderId, RunId, SuppressionId};
use writ_protocol::record::{Change, Unseen};
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::{json, text};
use crate::tx::Tx;

statements! {
    LOCK_WATCHES = "-- drift.lock_watches
        SELECT w.* FROM drift_watch w JOIN unnest($1::uuid[], $2::text[]) u(agent_id, project) USING (agent_id, project)
        ORDER BY w.agent_id, w.project COLLATE \"C\" FOR NO KEY UPDATE OF w";
    SAVE_WATCHES = "-- drift.save_watches
        INSERT INTO drift_watch (agent_id, project, order_id, run_id, bundle, watched, unwatched, left_out, looked_at, differing)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::bytea[], $6::bigint[], $7::bigint[], $8::bigint[],
                             $9::timestamptz[], $10::bytea[])
        ON CONFLICT (agent_id, project) DO UPDATE SET
            order_id = EXCLUDED.order_id, run_id = EXCLUDED.run_id, bundle = EXCLUDED.bundle, watched = EXCLUDED.watched,
            unwatched = EXCLUDED.unwatched, left_out = EXCLUDED.left_out, looked_at = EXCLUDED.looked_at, differing = EXCLUDED.differing";
    LOOKED = "-- drift.looked
        WITH locked AS (
            SELECT w.agent_id, w.project, u.looked_at FROM drift_watch w
            JOIN unnest($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[], $5::bytea[]) u(agent_id, project, order_id, looked_at, differing)
            USING (agent_id, project)
            WHERE w.order_id = u.order_id AND w.differing = u.differing AND w.looked_at < u.looked_at
            ORDER BY w.agent_id, w.project COLLATE \"C\" FOR NO KEY UPDATE OF w)
        UPDATE drift_watch w SET looked_at = locked.looked_at FROM locked
        WHERE w.agent_id = locked.agent_id AND w.project = locked.project";
    LOCK_FINDINGS = "-- drift.lock_findings
        SELECT f.* FROM drift_finding f JOIN unnest($1::uuid[], $2::text[]) u(agent_id, project) USING (agent_id, project)
        WHERE f.state <> 'cleared' OR f.name = ANY($3) ORDER BY f.drift_id FOR NO KEY UPDATE OF f";
    LOCK = "-- drift.lock
        SELECT * FROM drift_finding WHERE drift_id = $1 FOR NO KEY UPDATE";
    SAVE = "-- drift.save
        INSERT INTO drift_finding (drift_id, agent_id, project, resource, name, class, severity, state, changes, unseen, occurrences, reopened,
                                   first_seen, last_seen, last_clean, order_id, run_id, known_by, known_at, known_reason, expected_by)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::text[], $9::jsonb[],
                             $10::jsonb[], $11::bigint[], $12::jsonb[], $13::timestamptz[], $14::timestamptz[], $15::timestamptz[],
                             $16::uuid[], $17::uuid[], $18::text[], $19::timestamptz[], $20::text[], $21::uuid[])
        ON CONFLICT (drift_id) DO UPDATE SET
            class = EXCLUDED.class, severity = EXCLUDED.severity, state = EXCLUDED.state, changes = EXCLUDED.changes,
            unseen = EXCLUDED.unseen, occurrences = EXCLUDED.occurrences, reopened = EXCLUDED.reopened, last_seen = EXCLUDED.last_seen,
            last_clean = EXCLUDED.last_clean, order_id = EXCLUDED.order_id, run_id = EXCLUDED.run_id, known_by = EXCLUDED.known_by,
            known_at = EXCLUDED.known_at, known_reason = EXCLUDED.known_reason, expected_by = EXCLUDED.expected_by";
}

/// What is watched of a project on a host, and what the last look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The agent.
    pub agent_id: AgentId,
    /// The project.
    pub project: String,
    /// The order that applied the plan.
    pub order_id: OrderId,
    /// Its run.
    pub run_id: RunId,
    /// The bundle that it applied.
    pub bundle: Digest,
    /// Resources that are looked at.
    pub watched: u64,
    /// Resources that no look can judge.
    pub unwatched: u64,
    /// Differing ones that had no room in the answer.
    pub left_out: u64,
    /// When all of it was last looked at.
    pub looked_at: Timestamp,
    /// The digest of the answer.
    pub differing: Digest,
}

/// What a hello told of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The agent.
    pub agent_id: AgentId,
    /// The project.
    pub project: String,
    /// The order that applied the plan.
    pub order_id: OrderId,
    /// When.
    pub looked_at: Timestamp,
    /// The digest of the answer.
    pub differing: Digest,
}

/// A resource that differs or differed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its id; later ones are greater.
    pub drift_id: DriftId,
    /// The agent.
    pub agent_id: AgentId,
    /// The project.
    pub project: String,
    /// The resource's id.
    pub resource: String,
    /// SHA-256 of the three, by which it is found again.
    pub name: Digest,
    /// What it is about.
    pub class: Class,
    /// How bad it is.
    pub severity: Severity,
    /// How it stands; [`finding::Finding::is_known`] is whether `known` says who.
    pub standing: finding::Finding,
    /// What differed when it was last seen.
    pub changes: Vec<Change>,
    /// Why nobody can see.
    pub unseen: Option<Unseen>,
    /// The order that applied the plan.
    pub order_id: OrderId,
    /// Its run.
    pub run_id: RunId,
    /// Who knows, since when, and what they said.
    pub known: Option<(String, Timestamp, String)>,
    /// Because of what it is expected; none unless it is.
    pub expected_by: Option<SuppressionId>,
}

/// Agents and projects as two columns.
fn columns(pairs: &[(AgentId, String)]) -> (Vec<Uuid>, Vec<&str>) {
    pairs
        .iter()
        .map(|(agent, project)| (agent.as_uuid(), project.as_str()))
        .unzip()
}

/// What is watched, of each of these that is known; held until the end of the transaction. Each pair is named once.
///
/// # Errors
/// [`Error`].
pub async fn lock_watches(tx: &mut Tx, pairs: &[(AgentId, String)]) -> Result<Vec<Watch>, Error> {
    let (agents, projects) = columns(pairs);
    let rows = tx.rows(query(LOCK_WATCHES).bind(agents).bind(projects)).await?;
    rows.iter().map(read_watch).collect()
}

/// Writes down what is watched; each pair of agent and project once.
///
/// # Errors
/// [`Error`].
pub async fn save_watches(tx: &mut Tx, all: &[Watch]) -> Result<(), Error> {
    let signed = |of: fn(&Watch) -> u64| all.iter().map(|w| row::signed(of(w))).collect::<Vec<i64>>();
    let query = query(SAVE_WATCHES)
        .bind(all.iter().map(|w| w.agent_id.as_uuid()).collect::<Vec<_>>())
        .bind(all.iter().map(|w| w.project.as_str()).collect::<Vec<_>>())
        .bind(all.iter().map(|w| w.order_id.as_uuid()).collect::<Vec<_>>())
        .bind(all.iter().map(|w| w.run_id.as_uuid()).collect::<Vec<_>>())
        .bind(
            all.iter()
                .map(|w| w.bundle.as_bytes().as_slice())
                .collect::<Vec<_>>(),
        )
        .bind(signed(|w| w.watched))
        .bind(signed(|w| w.unwatched))
        .bind(signed(|w| w.left_out))
        .bind(all.iter().map(|w| Instant(w.looked_at)).collect::<Vec<_>>())
        .bind(
            all.iter()
                .map(|w| w.differing.as_bytes().as_slice())
                .collect::<Vec<_>>(),
        );
    tx.run(query).await.map(|_| ())
}

/// Moves on when hosts were looked at, of those whose answer is the one that is known; how many. Each pair of agent and project is named once.
///
/// # Errors
/// [`Error`].
pub async fn looked(tx: &mut Tx, all: &[Looked]) -> Result<u64, Error> {
    let query = query(LOOKED)
        .bind(all.iter().map(|l| l.agent_id.as_uuid()).collect::<Vec<_>>())
        .bind(all.iter().map(|l| text(&l.project)).collect::<Vec<_>>())
        .bind(all.iter().map(|l| l.order_id.as_uuid()).collect::<Vec<_>>())
        .bind(all.iter().map(|l| Instant(l.looked_at)).collect::<Vec<_>>())
        .bind(
            all.iter()
                .map(|l| l.differing.as_bytes().as_slice())
                .collect::<Vec<_>>(),
        );
    tx.run(query).await
}

/// Findings of these agents and projects that are not cleared, and those that are named; held until the end of the transaction.
///
/// # Errors
/// [`Error`].
pub async fn lock_findings(
    tx: &mut Tx,
    pairs: &[(AgentId, String)],
    names: &[Digest],
) -> Result<Vec<Finding>, Error> {
    let (agents, projects) = columns(pairs);
    let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes().as_slice()).collect();
    let query = query(LOCK_FINDINGS).bind(agents).bind(projects).bind(names);
    tx.rows(query).await?.iter().map(read_finding).collect()
}

/// A finding, held until the end of the transaction.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx, id: DriftId) -> Result<Option<Finding>, Error> {
    let found = tx.row(query(LOCK).bind(id.as_uuid())).await?;
    found.as_ref().map(read_finding).transpose()
}

/// Writes findings down; each once.
///
/// # Errors
/// [`Error`].
pub async fn save(tx: &mut Tx, all: &[Finding]) -> Result<(), Error> {
    if all.is_empty() {
        return Ok(());
    }
    let changes = all
        .iter()
        .map(|f| json(&f.changes))
        .collect::<Result<Vec<_>, _>>()?;
    let unseen = all.iter().map(|f| f.unseen.as_ref().map(json).transpose());
    let unseen = unseen.collect::<Result<Vec<_>, _>>()?;
    let micros = |f: &Finding| {
        Json(
            f.standing
                .reopened
                .iter()
                .map(|at| at.as_micros())
                .collect::<Vec<i64>>(),
        )
    };
    let times =
        |of: fn(&Finding) -> Option<Timestamp>| all.iter().map(|f| of(f).map(Instant)).collect::<Vec<_>>();
    let known = |f: &Finding| f.known.clone();
    let query = query(SAVE)
        .bind(all.iter().map(|f| f.drift_id.as_uuid()).collect::<Vec<_>>())
        .bind(all.iter().map(|f| f.agent_id.as_uuid()).collect::<Vec<_>>())
        .bind(all.iter().map(|f| f.project.as_str()).collect::<Vec<_>>())
        .bind(all.iter().map(|f| text(&f.resource)).collect::<Vec<_>>())
        .bind(
            all.iter()
                .map(|f| f.name.as_bytes().as_slice())
                .collect::<Vec<_>>(),
        )
        .bind(all.iter().map(|f| f.class.name()).collect::<Vec<_>>())
        .bind(all.iter().map(|f| f.severity.name()).collect::<Vec<_>>())
        .bind(all.iter().map(|f| f.standing.state.name()).collect::<Vec<_>>())
        .bind(changes)
        .bind(unseen)
        .bind(
            all.iter()
                .map(|f| i64::from(f.standing.occurrences))
                .collect::<Vec<_>>(),
        )
        .bind(all.iter().map(micros).collect::<Vec<_>>())
        .bind(times(|f| Some(f.standing.first_seen)))
        .bind(times(|f| Some(f.standing.last_seen)))
        .bind(times(|f| f.standing.last_clean))
        .bind(all.iter().map(|f| f.order_id.as_uuid()).collect::<Vec<_>>())
        .bind(all.iter().map(|f| f.run_id.as_uuid()).collect::<Vec<_>>())
        .bind(
            all.iter()
                .map(|f| known(f).map(|(by, ..)| by))
                .collect::<Vec<_>>(),
        )
        .bind(times(|f| f.known.as_ref().map(|(_, at, _)| *at)))
        .bind(
            all.iter()
                .map(|f| known(f).map(|(.., why)| why))
                .collect::<Vec<_>>(),
        )
        .bind(
            all.iter()
                .map(|f| f.expected_by.map(|id| id.as_uuid()))
                .collect::<Vec<_>>(),
        );
    tx.run(query).await.map(|_| ())
}

fn read_watch(r: &PgRow) -> Result<Watch, Error> {
    Ok(Watch {
        agent_id: row::uuid(r, "agent_id", AgentId::from_uuid)?,
        project: row::get(r, "project")?,
        order_id: row::uuid(r, "order_id", OrderId::from_uuid)?,
        run_id: row::uuid(r, "run_id", RunId::from_uuid)?,
        bundle: row::digest(r, "bundle")?,
        watched: row::count(r, "watched")?,
        unwatched: row::count(r, "unwatched")?,
        left_out: row::count(r, "left_out")?,
        looked_at: row::time(r, "looked_at")?,
        differing: row::digest(r, "differing")?,
    })
}

pub(crate) fn read_finding(r: &PgRow) -> Result<Finding, Error> {
    let wrong = |what| Error::Inconsistent { what };
    let (class, severity): (String, String) = (row::get(r, "class")?, row::get(r, "severity")?);
    let by = row::get::<Option<String>>(r, "known_by")?;
    let (at, why) = (
        row::maybe_time(r, "known_at")?,
        row::get::<Option<String>>(r, "known_reason")?,
    );
    let known = by.zip(at).zip(why).map(|((by, at), why)| (by, at, why));
    Ok(Finding {
        drift_id: row::uuid(r, "drift_id", DriftId::from_uuid)?,
        agent_id: row::uuid(r, "agent_id", AgentId::from_uuid)?,
        project: row::get(r, "project")?,
        resource: row::get(r, "resource")?,
        name: row::digest(r, "name")?,
        class: Class::of(&class).ok_or(wrong("drift_finding.class"))?,
        severity: Severity::of(&severity).ok_or(wrong("drift_finding.severity"))?,
        standing: read_standing(r, known.is_some())?,
        changes: row::json(r, "changes")?,
        unseen: row::get::<Option<Json<Unseen>>>(r, "unseen")?.map(|found| found.0),
        order_id: row::uuid(r, "order_id", OrderId::from_uuid)?,
        run_id: row::uuid(r, "run_id", RunId::from_uuid)?,
        known,
        expected_by: row::get::<Option<Uuid>>(r, "expected_by")?.map(SuppressionId::from_uuid),
    })
}

fn read_standing(r: &PgRow, is_known: bool) -> Result<finding::Finding, Error> {
    let state: String = row::get(r, "state")?;
    let reopened: Vec<i64> = row::json(r, "reopened")?;
    Ok(finding::Finding {
        state: State::of(&state).ok_or(Error::Inconsistent {
            what: "drift_finding.state",
        })?,
        is_known,
        occurrences: u32::try_from(row::count(r, "occurrences")?).unwrap_or(u32::MAX),
        reopened: reopened.into_iter().map(Timestamp::from_micros).collect(),
        first_seen: row::time(r, "first_seen")?,
        last_seen: row::time(r, "last_seen")?,
        last_clean: row::maybe_time(r, "last_clean")?,
    })
}
