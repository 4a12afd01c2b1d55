//! Steps and artefacts, read from records when they are stored.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::types::Json;
use sqlx::{Postgres, query};
use writ_protocol::digest::Digest;
use writ_protocol::exec::{Measured, Source, Sources, Usage, byte_seconds};
use writ_protocol::id::{JournalId, OrderId, RunId};
use writ_protocol::record::StepResult;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

statements! {
    STORE = "-- step.store
        INSERT INTO step (order_id, step, attempt, outcome, code, detail, cost_micros, started_at, ended_at, journal_id, seq, cpu_user_us,
                          cpu_system_us, wall_us, peak_memory_bytes, memory_byte_seconds, read_bytes, written_bytes, network_bytes, processes,
                          lower_bound, sources)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                             $8::timestamptz[], $9::timestamptz[], $10::uuid[], $11::bigint[], $12::bigint[],
                             $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[],
                             $21::boolean[], $22::jsonb[])
        ON CONFLICT (order_id, step, attempt) DO NOTHING";
    STORE_ARTEFACTS = "-- artefact.store
        INSERT INTO artefact (order_id, step, path, digest, length)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::bigint[])
        ON CONFLICT (order_id, step, path) DO UPDATE SET digest = EXCLUDED.digest, length = EXCLUDED.length";
    OF_RUN = "-- step.of_run
        SELECT s.order_id, s.seq, e.raw FROM step s JOIN run_order o USING (order_id)
        JOIN event e ON e.agent_id = o.agent_id AND e.journal_id = s.journal_id AND e.seq = s.seq
        WHERE o.run_id = $1 AND (s.order_id, s.seq) > ($2, $3) ORDER BY s.order_id, s.seq LIMIT $4";
    ARTEFACTS_OF_RUN = "-- artefact.of_run
        SELECT a.order_id, ag.name AS agent_name, a.step, a.path, a.digest, a.length
        FROM artefact a JOIN run_order o USING (order_id) JOIN agent ag USING (agent_id)
        WHERE o.run_id = $1 AND ($2::uuid IS NULL OR (ag.name, a.order_id, a.step, a.path) > (
            (SELECT of.name FROM run_order last JOIN agent of USING (agent_id) WHERE last.order_id = $2), $2, $3, $4))
        ORDER BY ag.name, a.order_id, a.step, a.path LIMIT $5";
}

/// A step's record as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredStep {
    /// The order.
    pub order_id: OrderId,
    /// Its number in its journal.
    pub seq: u64,
    /// Its frame.
    pub raw: Vec<u8>,
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// A step's result and where its record is.
pub type Placed<'a> = (JournalId, u64, &'a StepResult);

/// An artefact of a run.
#[derive(Clone, Debug)]
pub struct Artefact {
    /// The order it came from.
    pub order_id: OrderId,
    /// The agent's name.
    pub agent_name: String,
    /// The step that produced it.
    pub step: String,
    /// Its path on the host.
    pub path: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Their number.
    pub length: u64,
}

/// Which artefact: no two have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtefactPlace {
    /// The order it came from.
    pub order_id: OrderId,
    /// The step that produced it.
    pub step: String,
    /// Its path on the host.
    pub path: String,
}

/// Stores steps and their artefacts; orders must be known.
///
/// # Errors
/// [`Error`].
pub async fn store(tx: &mut Tx, steps: &[Placed<'_>]) -> Result<(), Error> {
    if steps.is_empty() {
        return Ok(());
    }
    let results = || steps.iter().map(|(.., result)| *result);
    let first = query(STORE)
        .bind(results().map(|r| r.order_id.as_uuid()).collect::<Vec<_>>())
        .bind(results().map(|r| text(&r.step)).collect::<Vec<_>>())
        .bind(
            results()
                .map(|r| row::signed_small(r.attempt))
                .collect::<Vec<_>>(),
        )
        .bind(results().map(|r| r.outcome.name()).collect::<Vec<_>>())
        .bind(
            results()
                .map(|r| r.code.map(|c| c.to_string()))
                .collect::<Vec<_>>(),
        )
        .bind(results().map(|r| text(&r.detail)).collect::<Vec<_>>())
        .bind(results().map(|r| row::signed(r.cost_micros)).collect::<Vec<_>>())
        .bind(results().map(|r| Instant(r.started_at)).collect::<Vec<_>>())
        .bind(results().map(|r| Instant(r.ended_at)).collect::<Vec<_>>())
        .bind(
            steps
                .iter()
                .map(|(journal, ..)| journal.as_uuid())
                .collect::<Vec<_>>(),
        )
        .bind(
            steps
                .iter()
                .map(|(_, seq, _)| row::signed(*seq))
                .collect::<Vec<_>>(),
        );
    tx.run(with_usage(first, steps)).await?;
    store_artefacts(tx, steps).await
}

/// The later values of [`STORE`]: what each step used.
fn with_usage<'q>(query: Query<'q>, steps: &[Placed<'_>]) -> Query<'q> {
    let all = |of: fn(&Usage) -> u64| {
        let values = steps.iter().map(|(.., result)| row::signed(of(&result.usage)));
        values.collect::<Vec<_>>()
    };
    // A figure that nobody measured is none.
    let known = |source: fn(&Sources) -> Source, of: fn(&Measured) -> u64| {
        let values = steps.iter().map(|(.., result)| {
            let measured = result.usage.measured.as_ref();
            let found = measured.filter(|m| source(&m.sources) != Source::Unknown);
            found.map(|m| row::signed(of(m)))
        });
        values.collect::<Vec<_>>()
    };
    let usages = || steps.iter().map(|(.., result)| &result.usage);
    query
        .bind(all(|u| u.cpu_user_us))
        .bind(all(|u| u.cpu_system_us))
        .bind(all(|u| u.wall_us))
        .bind(all(|u| u.peak_memory_bytes))
        .bind(all(|u| byte_seconds(u.held())))
        .bind(all(|u| u.read_bytes))
        .bind(all(|u| u.written_bytes))
        .bind(known(|s| s.network, |m| m.network_bytes))
        .bind(known(|s| s.processes, |m| m.processes))
        .bind(usages().map(|u| u.lower_bound).collect::<Vec<_>>())
        .bind(usages().map(|u| Json(u.sources())).collect::<Vec<_>>())
}

async fn store_artefacts(tx: &mut Tx, steps: &[Placed<'_>]) -> Result<(), Error> {
    let mut artefacts: Vec<_> = steps
        .iter()
        .flat_map(|(.., r)| r.artefacts.iter().map(move |a| (*r, a)))
        .collect();
    // One statement must not touch a row twice.
    artefacts.sort_by(|(ra, a), (rb, b)| {
        (ra.order_id, &ra.step, &a.path, ra.attempt).cmp(&(rb.order_id, &rb.step, &b.path, rb.attempt))
    });
    artefacts.reverse();
    artefacts
        .dedup_by(|(ra, a), (rb, b)| (ra.order_id, &ra.step, &a.path) == (rb.order_id, &rb.step, &b.path));
    if artefacts.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(STORE_ARTEFACTS)
        .bind(
            artefacts
                .iter()
                .map(|(r, _)| r.order_id.as_uuid())
                .collect::<Vec<_>>(),
        )
        .bind(artefacts.iter().map(|(r, _)| text(&r.step)).collect::<Vec<_>>())
        .bind(artefacts.iter().map(|(_, a)| text(&a.path)).collect::<Vec<_>>())
        .bind(
            artefacts
                .iter()
                .map(|(_, a)| a.digest.as_bytes().as_slice())
                .collect::<Vec<_>>(),
        )
        .bind(
            artefacts
                .iter()
                .map(|(_, a)| row::signed(a.length))
                .collect::<Vec<_>>(),
        );
    tx.run(query).await.map(|_| ())
}

/// Steps of a run after a place, by order and sequence.
///
/// # Errors
/// [`Error`].
pub async fn of_run(
    tx: &mut Tx,
    run: RunId,
    after: (OrderId, u64),
    limit: u32,
) -> Result<Vec<StoredStep>, Error> {
    let query = query(OF_RUN)
        .bind(run.as_uuid())
        .bind(after.0.as_uuid())
        .bind(row::signed(after.1))
        .bind(i64::from(limit));
    let rows = tx.rows(query).await?;
    rows.iter()
        .map(|r| {
            Ok(StoredStep {
                order_id: row::uuid(r, "order_id", OrderId::from_uuid)?,
                seq: row::count(r, "seq")?,
                raw: row::get(r, "raw")?,
            })
        })
        .collect()
}

/// Artefacts of a run behind one of them, by host; none behind one that is not known.
///
/// # Errors
/// [`Error`].
pub async fn artefacts_of_run(
    tx: &mut Tx,
    run: RunId,
    after: Option<&ArtefactPlace>,
    limit: u32,
) -> Result<Vec<Artefact>, Error> {
    let query = query(ARTEFACTS_OF_RUN)
        .bind(run.as_uuid())
        .bind(after.map(|place| place.order_id.as_uuid()))
        .bind(after.map_or("", |place| &place.step))
        .bind(after.map_or("", |place| &place.path))
        .bind(i64::from(limit));
    let rows = tx.rows(query).await?;
    let read = |r: &PgRow| {
        Ok(Artefact {
            order_id: row::uuid(r, "order_id", OrderId::from_uuid)?,
            agent_name: row::get(r, "agent_name")?,
            step: row::get(r, "step")?,
            path: row::get(r, "path")?,
            digest: row::digest(r, "digest")?,
            length: row::count(r, "length")?,
        })
    };
    rows.iter().map(read).collect()
}
