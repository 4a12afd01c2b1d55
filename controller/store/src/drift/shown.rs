//! Findings and watches as they are shown: with the agent's name, of agents that are not removed.

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_domain::drift::finding::State;
use writ_domain::drift::{Class, Severity};
use writ_protocol::id::DriftId;
use writ_protocol::time::Timestamp;

use super::{Finding, Watch, read_finding, read_watch};
use crate::error::Error;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    READ = "-- drift_shown.read
        SELECT f.*, a.name AS agent_name, w.looked_at, w.left_out FROM drift_finding f JOIN agent a USING (agent_id)
        LEFT JOIN drift_watch w USING (agent_id, project) WHERE f.drift_id = $1";
    PAGE = "-- drift_shown.page
        SELECT f.*, a.name AS agent_name, w.looked_at, w.left_out FROM drift_finding f JOIN agent a USING (agent_id)
        LEFT JOIN drift_watch w USING (agent_id, project)
        WHERE ($1::uuid IS NULL OR f.drift_id < $1) AND a.state <> 'removed' AND f.state = ANY($2) AND f.class = ANY($3)
            AND ($4::text IS NULL OR f.severity = $4) AND ($5::text IS NULL OR a.name = $5) AND ($6::text IS NULL OR f.project = $6)
            AND ($8::text IS NULL OR a.labels ->> $7::text = $8)
        ORDER BY f.drift_id DESC LIMIT $9";
    HOSTS = "-- drift_shown.hosts
        SELECT w.*, a.name AS agent_name, n.differing_count, n.unseen_count, n.expected_count FROM drift_watch w JOIN agent a USING (agent_id)
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE f.state IN ('open', 'acknowledged')) AS differing_count,
                   count(*) FILTER (WHERE f.state = 'unknown') AS unseen_count,
                   count(*) FILTER (WHERE f.state = 'expected') AS expected_count
            FROM drift_finding f WHERE f.agent_id = w.agent_id AND f.project = w.project AND f.class = ANY($3)) n
        WHERE a.state <> 'removed' AND (a.name COLLATE \"C\", w.project COLLATE \"C\") > ($1, $2)
            AND ($4::text IS NULL OR a.name = $4) AND ($5::text IS NULL OR w.project = $5)
        ORDER BY a.name COLLATE \"C\", w.project COLLATE \"C\" LIMIT $6";
    COUNTS = "-- drift_shown.counts
        SELECT CASE WHEN f.state = 'expected' THEN 'expected' ELSE f.class END AS class, f.severity, count(*) AS standing
        FROM drift_finding f JOIN agent a USING (agent_id) WHERE f.state <> 'cleared' AND a.state <> 'removed' GROUP BY 1, f.severity";
}

/// Which findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// In one of these states.
    pub states: Vec<State>,
    /// Of one of these classes.
    pub classes: Vec<Class>,
    /// Of this severity.
    pub severity: Option<Severity>,
    /// Of the agent of this name.
    pub agent: Option<String>,
    /// Of this project.
    pub project: Option<String>,
    /// Of agents with this value of the label that says the environment, which comes first.
    pub environment: Option<(&'static str, String)>,
}

/// A finding as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The finding.
    pub finding: Finding,
    /// The agent's name.
    pub agent_name: String,
    /// When all of its project was last looked at there, and how many differing resources that look could not name.
    pub looked: Option<(Timestamp, u64)>,
}

/// What is watched on a host as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// What is watched.
    pub watch: Watch,
    /// The agent's name.
    pub agent_name: String,
    /// Findings of these classes that differ.
    pub differing: u64,
    /// Those that nobody can see.
    pub unseen: u64,
    /// Those that differ as somebody said that they may.
    pub expected: u64,
}

fn names(classes: &[Class]) -> Vec<&'static str> {
    classes.iter().map(|class| class.name()).collect()
}

/// A finding.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, id: DriftId) -> Result<Option<Shown>, Error> {
    let found = tx.row(query(READ).bind(id.as_uuid())).await?;
    found.as_ref().map(read_shown).transpose()
}

/// Findings from before one, newest first; the newest of all without one.
///
/// # Errors
/// [`Error`].
pub async fn page(
    tx: &mut Tx,
    which: &Which,
    before: Option<DriftId>,
    limit: u32,
) -> Result<Vec<Shown>, Error> {
    let query = query(PAGE)
        .bind(before.map(|id| id.as_uuid()))
        .bind(which.states.iter().map(|state| state.name()).collect::<Vec<_>>())
        .bind(names(&which.classes))
        .bind(which.severity.map(Severity::name))
        .bind(which.agent.as_deref())
        .bind(which.project.as_deref())
        .bind(which.environment.as_ref().map(|(label, _)| *label))
        .bind(which.environment.as_ref().map(|(_, value)| value.as_str()))
        .bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_shown).collect()
}

/// What is watched behind a host and project, by their names; findings of these classes are counted.
///
/// # Errors
/// [`Error`].
pub async fn hosts(
    tx: &mut Tx,
    (after, classes): ((&str, &str), &[Class]),
    (agent, project): (Option<&str>, Option<&str>),
    limit: u32,
) -> Result<Vec<Host>, Error> {
    let query = query(HOSTS)
        .bind(after.0)
        .bind(after.1)
        .bind(names(classes))
        .bind(agent)
        .bind(project)
        .bind(i64::from(limit));
    let read = |r: &PgRow| {
        Ok(Host {
            watch: read_watch(r)?,
            agent_name: row::get(r, "agent_name")?,
            differing: row::count(r, "differing_count")?,
            unseen: row::count(r, "unseen_count")?,
            expected: row::count(r, "expected_count")?,
        })
    };
    tx.rows(query).await?.iter().map(read).collect()
}

/// How many findings are not cleared, by class and severity; those without any are missing.
///
/// # Errors
/// [`Error`].
pub async fn counts(tx: &mut Tx) -> Result<Vec<(Class, Severity, u64)>, Error> {
    let rows = tx.rows(query(COUNTS)).await?;
    let read = |r: &PgRow| {
        let (class, severity): (String, String) = (row::get(r, "class")?, row::get(r, "severity")?);
        let known = Class::of(&class).zip(Severity::of(&severity));
        let (class, severity) = known.ok_or(Error::Inconsistent {
            what: "drift_finding.class",
        })?;
        Ok((class, severity, row::count(r, "standing")?))
    };
    rows.iter().map(read).collect()
}

fn read_shown(r: &PgRow) -> Result<Shown, Error> {
    let looked_at = row::maybe_time(r, "looked_at")?;
    Ok(Shown {
        finding: read_finding(r)?,
        agent_name: row::get(r, "agent_name")?,
        looked: looked_at.zip(row::maybe_count(r, "left_out")?),
    })
}
