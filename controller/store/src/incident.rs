//! Incidents and the log that they are made of.
//!
//! Whoever adds entries locks the end of the chain first, and does so last of everything that a transaction locks.

use sqlx::postgres::PgRow;
use sqlx::query;
use uuid::Uuid;
use writ_protocol::id::{AgentId, HaltId, IncidentId, RunId};
use writ_protocol::incident::{Head, Kind, State};
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

statements! {
    LOCK_HEAD = "-- incident.lock_head
        SELECT seq, hash FROM incident_head FOR UPDATE";
    SET_HEAD = "-- incident.set_head
        UPDATE incident_head SET seq = $1, hash = $2";
    APPEND = "-- incident.append
        INSERT INTO incident_entry (seq, incident_id, body, hash) VALUES ($1, $2, $3, $4)";
    FIND_OPEN = "-- incident.find_open
        SELECT * FROM incident WHERE cause = $1 AND state <> 'closed'";
    READ = "-- incident.read
        SELECT * FROM incident WHERE incident_id = $1";
    PAGE = "-- incident.page
        SELECT * FROM incident WHERE $1::uuid IS NULL OR incident_id < $1 ORDER BY incident_id DESC LIMIT $2";
    SAVE = "-- incident.save
        INSERT INTO incident (incident_id, kind, cause, state, summary, halt_id, run_id, agent_id, orders, opened_at, acked_by, acked_at,
                              closed_by, closed_at, reason, last_seq)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
        ON CONFLICT (incident_id) DO UPDATE SET state = $4, orders = $9, acked_by = $11, acked_at = $12, closed_by = $13, closed_at = $14,
                    reason = $15, last_seq = $16";
    LOG = "-- incident.log
        SELECT seq, body, hash FROM incident_entry WHERE seq > $1 ORDER BY seq LIMIT $2";
    LOG_OF = "-- incident.log_of
        SELECT seq, body, hash FROM incident_entry WHERE incident_id = $1 ORDER BY seq LIMIT $2";
    COUNTS = "-- incident.counts
        SELECT kind, count(*) AS open FROM incident WHERE state <> 'closed' GROUP BY kind";
}

/// What an incident's entries add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Its id; later ones are greater.
    pub incident_id: IncidentId,
    /// Why there is one.
    pub kind: Kind,
    /// What it is one of.
    pub cause: String,
    /// Where it stands.
    pub state: State,
    /// For people.
    pub summary: String,
    /// The halt.
    pub halt_id: Option<HaltId>,
    /// The run.
    pub run_id: Option<RunId>,
    /// The agent.
    pub agent_id: Option<AgentId>,
    /// How many orders it is about.
    pub orders: u64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Who has seen it, and when.
    pub acked: Option<(String, Timestamp)>,
    /// Who closed it, when, and why.
    pub closed: Option<(String, Timestamp, String)>,
    /// The number of its last entry.
    pub last_seq: u64,
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The chain up to it.
    pub head: Head,
    /// What is hashed.
    pub body: String,
}

/// The end of the chain, locked until the transaction ends.
///
/// # Errors
/// [`Error`].
pub async fn lock_head(tx: &mut Tx) -> Result<Head, Error> {
    let found = tx.row(query(LOCK_HEAD)).await?;
    let found = found.ok_or(Error::Inconsistent {
        what: "incident_head",
    })?;
    Ok(Head {
        seq: row::count(&found, "seq")?,
        hash: row::digest(&found, "hash")?,
    })
}

/// Adds an entry at the end of the chain, which is locked; `incident` is what its entries add up to with it.
///
/// # Errors
/// [`Error`].
pub async fn append(tx: &mut Tx, incident: &Incident, entry: &Kept) -> Result<(), Error> {
    let (seq, hash) = (row::signed(entry.head.seq), entry.head.hash.as_bytes().as_slice());
    let (acked_by, acked_at) = incident.acked.clone().unzip();
    let closed = incident.closed.as_ref();
    let save = query(SAVE)
        .bind(incident.incident_id.as_uuid())
        .bind(incident.kind.name())
        .bind(text(&incident.cause))
        .bind(incident.state.name())
        .bind(text(&incident.summary))
        .bind(incident.halt_id.map(|id| id.as_uuid()))
        .bind(incident.run_id.map(|id| id.as_uuid()))
        .bind(incident.agent_id.map(|id| id.as_uuid()))
        .bind(row::signed(incident.orders))
        .bind(Instant(incident.opened_at))
        .bind(acked_by)
        .bind(acked_at.map(Instant))
        .bind(closed.map(|(by, ..)| text(by)))
        .bind(closed.map(|(_, at, _)| Instant(*at)))
        .bind(closed.map(|(.., reason)| text(reason)))
        .bind(row::signed(incident.last_seq));
    tx.run(save).await?;
    let id = incident.incident_id.as_uuid();
    tx.run(query(APPEND).bind(seq).bind(id).bind(&entry.body).bind(hash))
        .await?;
    tx.run(query(SET_HEAD).bind(seq).bind(hash)).await.map(|_| ())
}

/// The incident of a cause that is not closed.
///
/// # Errors
/// [`Error`].
pub async fn find_open(tx: &mut Tx, cause: &str) -> Result<Option<Incident>, Error> {
    let found = tx.row(query(FIND_OPEN).bind(text(cause))).await?;
    found.as_ref().map(read_incident).transpose()
}

/// An incident.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, id: IncidentId) -> Result<Option<Incident>, Error> {
    let found = tx.row(query(READ).bind(id.as_uuid())).await?;
    found.as_ref().map(read_incident).transpose()
}

/// Incidents from before one, newest first; the newest of all without one.
///
/// # Errors
/// [`Error`].
pub async fn page(tx: &mut Tx, before: Option<IncidentId>, limit: u32) -> Result<Vec<Incident>, Error> {
    let before: Option<Uuid> = before.map(|id| id.as_uuid());
    let rows = tx.rows(query(PAGE).bind(before).bind(i64::from(limit))).await?;
    rows.iter().map(read_incident).collect()
}

/// Entries after a number, oldest first.
///
/// # Errors
/// [`Error`].
pub async fn log(tx: &mut Tx, after: u64, limit: u32) -> Result<Vec<Kept>, Error> {
    let query = query(LOG).bind(row::signed(after)).bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_kept).collect()
}

/// The first entries of an incident.
///
/// # Errors
/// [`Error`].
pub async fn log_of(tx: &mut Tx, id: IncidentId, limit: u32) -> Result<Vec<Kept>, Error> {
    let query = query(LOG_OF).bind(id.as_uuid()).bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_kept).collect()
}

/// How many incidents are not closed, by kind; kinds without any are missing.
///
/// # Errors
/// [`Error`].
pub async fn counts(tx: &mut Tx) -> Result<Vec<(Kind, u64)>, Error> {
    let rows = tx.rows(query(COUNTS)).await?;
    rows.iter()
        .map(|r| Ok((kind(r)?, row::count(r, "open")?)))
        .collect()
}

fn kind(r: &PgRow) -> Result<Kind, Error> {
    let name: String = row::get(r, "kind")?;
    Kind::of(&name).ok_or(Error::Inconsistent {
        what: "incident.kind",
    })
}

fn read_kept(r: &PgRow) -> Result<Kept, Error> {
    Ok(Kept {
        head: Head {
            seq: row::count(r, "seq")?,
            hash: row::digest(r, "hash")?,
        },
        body: row::get(r, "body")?,
    })
}

fn read_incident(r: &PgRow) -> Result<Incident, Error> {
    let state: String = row::get(r, "state")?;
    let (acked_by, closed_by) = (
        row::get::<Option<String>>(r, "acked_by")?,
        row::get::<Option<String>>(r, "closed_by")?,
    );
    let closed_at = row::maybe_time(r, "closed_at")?;
    let reason: Option<String> = row::get(r, "reason")?;
    Ok(Incident {
        incident_id: row::uuid(r, "incident_id", IncidentId::from_uuid)?,
        kind: kind(r)?,
        cause: row::get(r, "cause")?,
        state: State::of(&state).ok_or(Error::Inconsistent {
            what: "incident.state",
        })?,
        summary: row::get(r, "summary")?,
        halt_id: row::get::<Option<Uuid>>(r, "halt_id")?.map(HaltId::from_uuid),
        run_id: row::get::<Option<Uuid>>(r, "run_id")?.map(RunId::from_uuid),
        agent_id: row::get::<Option<Uuid>>(r, "agent_id")?.map(AgentId::from_uuid),
        orders: row::count(r, "orders")?,
        opened_at: row::time(r, "opened_at")?,
        acked: acked_by.zip(row::maybe_time(r, "acked_at")?),
        closed: closed_by
            .zip(closed_at)
            .zip(reason)
            .map(|((by, at), why)| (by, at, why)),
        last_seq: row::count(r, "last_seq")?,
    })
}
