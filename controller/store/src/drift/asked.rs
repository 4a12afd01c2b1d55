//! Looks that somebody asked for: when, of which projects on which hosts, and who has not looked since.

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_domain::agent::AgentState;
use writ_protocol::id::AgentId;
use writ_protocol::nats::UserKey;
use writ_protocol::time::Timestamp;

use crate::agent::uuids;
use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

statements! {
    ASK = "-- drift_asked.ask
        WITH chosen AS (
            SELECT w.agent_id, w.project FROM drift_watch w JOIN agent a USING (agent_id)
            WHERE a.state <> 'removed' AND ($2::text IS NULL OR a.name = $2) AND ($3::text IS NULL OR w.project = $3)
                AND ($4::text IS NULL OR a.labels ->> $5::text = $4)
            ORDER BY w.agent_id, w.project COLLATE \"C\" FOR NO KEY UPDATE OF w)
        UPDATE drift_watch w SET asked_at = greatest(w.asked_at, $1) FROM chosen
        WHERE w.agent_id = chosen.agent_id AND w.project = chosen.project RETURNING w.agent_id";
    WHO = "-- drift_asked.who
        SELECT a.user_key FROM agent a JOIN agent_liveness l USING (agent_id)
        WHERE a.agent_id = ANY($1) AND a.state = 'active' AND l.looks_when_asked";
    UNANSWERED = "-- drift_asked.unanswered
        SELECT agent_id, max(asked_at) AS asked_at FROM drift_watch WHERE agent_id = ANY($1) AND asked_at > looked_at GROUP BY agent_id";
    COUNT = "-- drift_asked.count
        SELECT count(*) AS watches, count(*) FILTER (WHERE w.looked_at >= $1) AS looked,
               count(*) FILTER (WHERE w.looked_at < $1 AND a.state = 'active' AND l.looks_when_asked AND NOT l.draining AND l.seen_at >= $6)
                   AS coming
        FROM drift_watch w JOIN agent a USING (agent_id) LEFT JOIN agent_liveness l USING (agent_id)
        WHERE a.state <> 'removed' AND ($2::text IS NULL OR a.name = $2) AND ($3::text IS NULL OR w.project = $3)
            AND ($4::text IS NULL OR a.labels ->> $5::text = $4)";
    MISSING = "-- drift_asked.missing
        SELECT a.name AS agent_name, a.state, w.project, w.looked_at, l.seen_at, l.draining, l.looks_when_asked
        FROM drift_watch w JOIN agent a USING (agent_id) LEFT JOIN agent_liveness l USING (agent_id)
        WHERE a.state <> 'removed' AND ($2::text IS NULL OR a.name = $2) AND ($3::text IS NULL OR w.project = $3)
            AND ($4::text IS NULL OR a.labels ->> $5::text = $4) AND w.looked_at < $1
        ORDER BY a.name COLLATE \"C\", w.project COLLATE \"C\" LIMIT $6";
}

/// What is chosen: everything that is watched, as far as nothing here says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// On the host of the agent of this name.
    pub agent: Option<String>,
    /// Of this project.
    pub project: Option<String>,
    /// On hosts with this value of the label that says the environment, which comes first.
    pub environment: Option<(&'static str, String)>,
}

/// How far looks have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Projects on hosts that are watched.
    pub watches: u64,
    /// Those that were looked at since.
    pub looked: u64,
    /// Those that were not, and whose agent was heard lately and looks when it is asked.
    pub coming: u64,
}

/// A project on a host that was not looked at since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The agent's name.
    pub agent_name: String,
    /// How it stands.
    pub state: AgentState,
    /// The project.
    pub project: String,
    /// When it was last looked at.
    pub looked_at: Timestamp,
    /// When the agent was last heard, and whether it was stopping then and looks when it is asked.
    pub heard: Option<(Timestamp, bool, bool)>,
}

/// Writes down that everything chosen is to be looked at; on which agents' hosts that is, each once.
///
/// # Errors
/// [`Error`].
pub async fn ask(tx: &mut Tx, chosen: &Chosen, at: Timestamp) -> Result<Vec<AgentId>, Error> {
    let (label, environment) = parts(chosen);
    let query = query(ASK)
        .bind(Instant(at))
        .bind(chosen.agent.as_deref().map(text))
        .bind(chosen.project.as_deref().map(text))
        .bind(environment.map(text))
        .bind(label);
    let rows = tx.rows(query).await?;
    let all = rows.iter().map(|r| row::uuid(r, "agent_id", AgentId::from_uuid));
    let mut all = all.collect::<Result<Vec<_>, _>>()?;
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// The bus identities of those of the agents that look when they are asked.
///
/// # Errors
/// [`Error`].
pub async fn who(tx: &mut Tx, agents: &[AgentId]) -> Result<Vec<UserKey>, Error> {
    let rows = tx.rows(query(WHO).bind(uuids(agents))).await?;
    rows.iter().map(|r| row::parsed(r, "user_key")).collect()
}

/// Since when looks of these agents are asked for and not known; agents that owe none are left out.
///
/// # Errors
/// [`Error`].
pub async fn unanswered(tx: &mut Tx, agents: &[AgentId]) -> Result<Vec<(AgentId, Timestamp)>, Error> {
    if agents.is_empty() {
        return Ok(Vec::new());
    }
    let rows = tx.rows(query(UNANSWERED).bind(uuids(agents))).await?;
    let read = |r: &PgRow| {
        Ok((
            row::uuid(r, "agent_id", AgentId::from_uuid)?,
            row::time(r, "asked_at")?,
        ))
    };
    rows.iter().map(read).collect()
}

/// How much of what is chosen was looked at since; agents count as heard lately that spoke at `heard_since` or later.
///
/// # Errors
/// [`Error`].
pub async fn count(
    tx: &mut Tx,
    chosen: &Chosen,
    since: Timestamp,
    heard_since: Timestamp,
) -> Result<Count, Error> {
    let (label, environment) = parts(chosen);
    let query = query(COUNT)
        .bind(Instant(since))
        .bind(chosen.agent.as_deref().map(text))
        .bind(chosen.project.as_deref().map(text))
        .bind(environment.map(text))
        .bind(label)
        .bind(Instant(heard_since));
    let Some(r) = tx.row(query).await? else {
        return Ok(Count::default());
    };
    Ok(Count {
        watches: row::count(&r, "watches")?,
        looked: row::count(&r, "looked")?,
        coming: row::count(&r, "coming")?,
    })
}

/// What of that which is chosen was not looked at since, by host and project.
///
/// # Errors
/// [`Error`].
pub async fn missing(
    tx: &mut Tx,
    chosen: &Chosen,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<Missing>, Error> {
    let (label, environment) = parts(chosen);
    let query = query(MISSING)
        .bind(Instant(since))
        .bind(chosen.agent.as_deref().map(text))
        .bind(chosen.project.as_deref().map(text))
        .bind(environment.map(text))
        .bind(label)
        .bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_missing).collect()
}

fn parts(chosen: &Chosen) -> (Option<&'static str>, Option<&str>) {
    let environment = chosen.environment.as_ref();
    (
        environment.map(|(label, _)| *label),
        environment.map(|(_, value)| value.as_str()),
    )
}

fn read_missing(r: &PgRow) -> Result<Missing, Error> {
    let state: String = row::get(r, "state")?;
    let heard = match row::maybe_time(r, "seen_at")? {
        Some(at) => Some((at, row::get(r, "draining")?, row::get(r, "looks_when_asked")?)),
        None => None,
    };
    Ok(Missing {
        agent_name: row::get(r, "agent_name")?,
        state: AgentState::of(&state).ok_or(Error::Inconsistent { what: "agent.state" })?,
        project: row::get(r, "project")?,
        looked_at: row::time(r, "looked_at")?,
        heard,
    })
}
