//! What hellos say, many at a time: one statement for all of them, on a table without other indexes.

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_domain::session::{Heard, Session};
use writ_protocol::id::{AgentId, JournalId, SessionId};
use writ_protocol::time::Timestamp;

use crate::agent::uuids;
use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

statements! {
    SESSIONS = "-- liveness.sessions
        SELECT agent_id, session_id, journal_id, incarnation, seen_at FROM agent_liveness WHERE agent_id = ANY($1)
        ORDER BY agent_id FOR UPDATE";
    UPSERT = "-- liveness.upsert
        INSERT INTO agent_liveness (agent_id, session_id, journal_id, incarnation, seen_at, have_epoch, have_generation, control_epoch,
                                    agent_version, free_disk_bytes, clock_offset_us, draining, regressions, reads_lifts,
                                    looks_when_asked)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::timestamptz[], $6::int[], $7::bigint[], $8::bigint[],
                             $9::text[], $10::bigint[], $11::bigint[], $12::boolean[], $13::bigint[], $14::boolean[], $15::boolean[])
        ON CONFLICT (agent_id) DO UPDATE SET
            session_id = EXCLUDED.session_id, journal_id = EXCLUDED.journal_id, incarnation = EXCLUDED.incarnation,
            seen_at = EXCLUDED.seen_at, have_epoch = EXCLUDED.have_epoch, have_generation = EXCLUDED.have_generation,
            control_epoch = EXCLUDED.control_epoch, agent_version = EXCLUDED.agent_version,
            free_disk_bytes = EXCLUDED.free_disk_bytes, clock_offset_us = EXCLUDED.clock_offset_us, draining = EXCLUDED.draining,
            regressions = EXCLUDED.regressions, reads_lifts = EXCLUDED.reads_lifts,
            looks_when_asked = EXCLUDED.looks_when_asked
        WHERE agent_liveness.incarnation <= EXCLUDED.incarnation";
    FORGET = "-- liveness.forget
        DELETE FROM agent_liveness WHERE agent_id = $1";
}

/// What a hello said.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// The agent.
    pub agent_id: AgentId,
    /// Its session.
    pub session: Session,
    /// When it was heard.
    pub seen_at: Timestamp,
    /// The epoch it holds.
    pub have_epoch: u32,
    /// The generation it holds.
    pub have_generation: u64,
    /// The control epoch it has taken.
    pub control_epoch: u64,
    /// Its version.
    pub agent_version: String,
    /// Its free disk, bytes.
    pub free_disk_bytes: u64,
    /// Its wall clock minus ours, microseconds.
    pub clock_offset_us: i64,
    /// Whether it is draining.
    pub draining: bool,
    /// Manifests it refused because they went back.
    pub regressions: u64,
    /// Whether it reads lifts in manifests and answers.
    pub reads_lifts: bool,
    /// Whether it looks at everything when an answer says so.
    pub looks_when_asked: bool,
}

/// The known session of an agent; its row stays locked until the transaction ends.
///
/// # Errors
/// [`Error`].
pub async fn session(tx: &mut Tx, agent: AgentId) -> Result<Option<Session>, Error> {
    Ok(sessions(tx, &[agent])
        .await?
        .pop()
        .map(|(_, heard)| heard.session))
}

/// The known sessions of agents; their rows stay locked until the transaction ends. Agents that never spoke are left out.
///
/// # Errors
/// [`Error`].
pub async fn sessions(tx: &mut Tx, agents: &[AgentId]) -> Result<Vec<(AgentId, Heard)>, Error> {
    let rows = tx.rows(query(SESSIONS).bind(uuids(agents))).await?;
    let read = |r: &PgRow| {
        let session = Session {
            session_id: row::uuid(r, "session_id", SessionId::from_uuid)?,
            journal_id: row::uuid(r, "journal_id", JournalId::from_uuid)?,
            incarnation: row::count(r, "incarnation")?,
        };
        let heard = Heard {
            session,
            at: row::time(r, "seen_at")?,
        };
        Ok((row::uuid(r, "agent_id", AgentId::from_uuid)?, heard))
    };
    rows.iter().map(read).collect()
}

/// Forgets the known session of an agent: whoever speaks next is the known one.
///
/// # Errors
/// [`Error`].
pub async fn forget(tx: &mut Tx, agent: AgentId) -> Result<(), Error> {
    tx.run(query(FORGET).bind(agent.as_uuid())).await.map(|_| ())
}

/// Writes what hellos said; at most one for each agent.
///
/// # Errors
/// [`Error`].
pub async fn upsert(tx: &mut Tx, all: &[Liveness]) -> Result<(), Error> {
    if all.is_empty() {
        return Ok(());
    }
    let ids: Vec<AgentId> = all.iter().map(|l| l.agent_id).collect();
    let signed = |f: fn(&Liveness) -> u64| all.iter().map(|l| row::signed(f(l))).collect::<Vec<i64>>();
    let query = query(UPSERT)
        .bind(uuids(&ids))
        .bind(
            all.iter()
                .map(|l| l.session.session_id.as_uuid())
                .collect::<Vec<_>>(),
        )
        .bind(
            all.iter()
                .map(|l| l.session.journal_id.as_uuid())
                .collect::<Vec<_>>(),
        )
        .bind(signed(|l| l.session.incarnation))
        .bind(all.iter().map(|l| Instant(l.seen_at)).collect::<Vec<_>>())
        .bind(
            all.iter()
                .map(|l| row::signed_small(l.have_epoch))
                .collect::<Vec<_>>(),
        )
        .bind(signed(|l| l.have_generation))
        .bind(signed(|l| l.control_epoch))
        .bind(all.iter().map(|l| text(&l.agent_version)).collect::<Vec<_>>())
        .bind(signed(|l| l.free_disk_bytes))
        .bind(all.iter().map(|l| l.clock_offset_us).collect::<Vec<_>>())
        .bind(all.iter().map(|l| l.draining).collect::<Vec<_>>())
        .bind(signed(|l| l.regressions))
        .bind(all.iter().map(|l| l.reads_lifts).collect::<Vec<_>>())
        .bind(all.iter().map(|l| l.looks_when_asked).collect::<Vec<_>>());
    tx.run(query).await.map(|_| ())
}
