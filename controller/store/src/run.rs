//! Runs, and what they carry out: bundles and plans.

pub mod moved;
mod rollout;

use sqlx::postgres::PgRow;
use sqlx::query;
use sqlx::types::Json;
use writ_domain::rollout::Rollout;
use writ_domain::run::RunState;
use writ_protocol::digest::Digest;
use writ_protocol::id::RunId;
use writ_protocol::manifest::{BundleRef, OrderKind};
use writ_protocol::time::Timestamp;
use writ_protocol::trace::TraceContext;

use crate::agent::Selector;
use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::text;
use crate::tx::Tx;

pub use rollout::RolloutRow;

statements! {
    STORE_BUNDLE = "-- bundle.store
        INSERT INTO bundle (digest, length, bytes, project, config_digest, graph_digest, budget, author, created_at, rollout, targets)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (digest) DO NOTHING";
    READ_BUNDLE = "-- bundle.read
        SELECT digest, length, bytes, project, config_digest, graph_digest, budget, rollout, targets FROM bundle WHERE digest = $1";
    CHUNK = "-- bundle.chunk
        SELECT substring(bytes FROM $2 FOR $3) AS chunk FROM bundle WHERE digest = $1";
    OUTSTANDING_BUNDLES = "-- bundle.outstanding
        SELECT DISTINCT b.digest, b.length FROM run r JOIN bundle b ON b.digest = r.bundle_digest WHERE r.deadline_at IS NOT NULL";
    CREATE = "-- run.create
        INSERT INTO run (run_id, kind, project, state, bundle_digest, plan_digest, ordered_by, reason, created_at, updated_at, ended_at,
                         deadline_at, traceparent, rollout)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11, $12, $13)";
    READ = "-- run.read
        SELECT r.*, b.length AS bundle_length FROM run r JOIN bundle b ON b.digest = r.bundle_digest WHERE r.run_id = $1";
    BY_IDS = "-- run.by_ids
        SELECT r.*, b.length AS bundle_length FROM run r JOIN bundle b ON b.digest = r.bundle_digest WHERE r.run_id = ANY($1)";
    OVERDUE = "-- run.overdue
        SELECT run_id FROM run WHERE deadline_at <= $1 ORDER BY deadline_at LIMIT $2";
    LOCK = "-- run.lock
        SELECT r.*, b.length AS bundle_length FROM run r JOIN bundle b ON b.digest = r.bundle_digest
        WHERE r.run_id = ANY($1) ORDER BY r.run_id FOR NO KEY UPDATE OF r";
    SPREADING = "-- run.spreading
        SELECT run_id FROM run WHERE run_id = ANY($1) AND rollout IS NOT NULL AND ended_at IS NULL ORDER BY run_id";
    PAGE = "-- run.page
        SELECT r.*, b.length AS bundle_length FROM run r JOIN bundle b ON b.digest = r.bundle_digest
        WHERE ($1::uuid IS NULL OR r.run_id < $1) AND ($2::text IS NULL OR r.state = $2) ORDER BY r.run_id DESC LIMIT $3";
    SET_STATE = "-- run.set_state
        UPDATE run SET state = $2, updated_at = $3, ended_at = $4, deadline_at = $5 WHERE run_id = $1";
    STORE_PLAN = "-- plan.store
        INSERT INTO plan (digest, document, envelope, bundle_digest, run_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (digest) DO NOTHING";
    LATER_OF_PLAN = "-- run.later_of_plan
        SELECT run_id FROM run WHERE run_id > $1 AND plan_digest = $2 ORDER BY run_id LIMIT 1";
    READ_PLAN = "-- plan.read
        SELECT digest, document, envelope, bundle_digest, run_id FROM plan WHERE digest = $1";
    PLAN_OF_RUN = "-- plan.of_run
        SELECT digest, document, envelope, bundle_digest, run_id FROM plan WHERE run_id = $1 ORDER BY created_at LIMIT 1";
}

/// A bundle with its bytes.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its name and size.
    pub name: BundleRef,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The project.
    pub project: String,
    /// Digest of the config.
    pub config_digest: Digest,
    /// Digest of the graph.
    pub graph_digest: Digest,
    /// What an author allows a run to cost: micro-units and currency.
    pub budget: Option<(u64, String)>,
    /// How its author lets an apply spread over its hosts.
    pub rollout: Option<Rollout>,
    /// Whom it is for; none of bundles from before that was kept.
    pub targets: Option<Selector>,
}

/// A run's row.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub run_id: RunId,
    /// What it asks of its agents.
    pub kind: OrderKind,
    /// The project.
    pub project: String,
    /// Where it stands.
    pub state: RunState,
    /// What it carries out.
    pub bundle: BundleRef,
    /// The plan that was reviewed.
    pub plan_digest: Option<Digest>,
    /// Where its trace goes on from; none of runs from before traces were kept.
    pub traceparent: Option<TraceContext>,
    /// Who asked for it.
    pub ordered_by: String,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// When all its orders were terminal.
    pub ended_at: Option<Timestamp>,
    /// When the sweeper looks at it.
    pub deadline_at: Option<Timestamp>,
    /// How it spreads over its hosts; none where it went to all at once.
    pub rollout: Option<RolloutRow>,
}

/// A stored plan.
#[derive(Clone, Debug)]
pub struct StoredPlan {
    /// Its name.
    pub digest: Digest,
    /// Its canonical bytes.
    pub document: Vec<u8>,
    /// The plan role's statement about it.
    pub envelope: Vec<u8>,
    /// The bundle it applies.
    pub bundle_digest: Digest,
    /// The check run that it was made from.
    pub run_id: RunId,
}

/// Stores a bundle; one with the same name is the same bundle.
///
/// # Errors
/// [`Error`].
pub async fn store_bundle(tx: &mut Tx, bundle: &Bundle, author: &str, now: Timestamp) -> Result<(), Error> {
    let query = query(STORE_BUNDLE)
        .bind(bundle.name.digest.as_bytes().as_slice())
        .bind(row::signed(bundle.name.length))
        .bind(&bundle.bytes)
        .bind(&bundle.project)
        .bind(bundle.config_digest.as_bytes().as_slice())
        .bind(bundle.graph_digest.as_bytes().as_slice())
        .bind(bundle.budget.as_ref().map(Json))
        .bind(author)
        .bind(Instant(now))
        .bind(bundle.rollout.as_ref().map(Json))
        .bind(bundle.targets.as_ref().map(Json));
    tx.run(query).await.map(|_| ())
}

/// A bundle by name.
///
/// # Errors
/// [`Error`].
pub async fn read_bundle(tx: &mut Tx, digest: &Digest) -> Result<Option<Bundle>, Error> {
    let Some(r) = tx
        .row(query(READ_BUNDLE).bind(digest.as_bytes().as_slice()))
        .await?
    else {
        return Ok(None);
    };
    let budget = row::get::<Option<Json<(u64, String)>>>(&r, "budget")?;
    Ok(Some(Bundle {
        name: BundleRef {
            digest: row::digest(&r, "digest")?,
            length: row::count(&r, "length")?,
        },
        bytes: row::get(&r, "bytes")?,
        project: row::get(&r, "project")?,
        config_digest: row::digest(&r, "config_digest")?,
        graph_digest: row::digest(&r, "graph_digest")?,
        budget: budget.map(|b| b.0),
        rollout: row::get::<Option<Json<Rollout>>>(&r, "rollout")?.map(|said| said.0),
        targets: row::get::<Option<Json<Selector>>>(&r, "targets")?.map(|said| said.0),
    }))
}

/// Part of a bundle: `length` bytes from `offset`.
///
/// # Errors
/// [`Error`].
pub async fn bundle_chunk(
    tx: &mut Tx,
    digest: &Digest,
    offset: u64,
    length: u32,
) -> Result<Option<Vec<u8>>, Error> {
    let (from, count) = (
        i32::try_from(offset.saturating_add(1)).unwrap_or(i32::MAX),
        row::signed_small(length),
    );
    let query = query(CHUNK)
        .bind(digest.as_bytes().as_slice())
        .bind(from)
        .bind(count);
    tx.row(query).await?.map(|r| row::get(&r, "chunk")).transpose()
}

/// Bundles of runs that have not ended, which are those with a deadline.
///
/// # Errors
/// [`Error`].
pub async fn outstanding_bundles(tx: &mut Tx) -> Result<Vec<BundleRef>, Error> {
    let rows = tx.rows(query(OUTSTANDING_BUNDLES)).await?;
    rows.iter()
        .map(|r| {
            Ok(BundleRef {
                digest: row::digest(r, "digest")?,
                length: row::count(r, "length")?,
            })
        })
        .collect()
}

/// Stores a new run.
///
/// # Errors
/// [`Error`].
pub async fn create(tx: &mut Tx, run: &Run) -> Result<(), Error> {
    let query = query(CREATE)
        .bind(run.run_id.as_uuid())
        .bind(kind_name(run.kind))
        .bind(&run.project)
        .bind(run.state.name())
        .bind(run.bundle.digest.as_bytes().as_slice())
        .bind(run.plan_digest.as_ref().map(|d| d.as_bytes().to_vec()))
        .bind(&run.ordered_by)
        .bind(run.reason.as_deref().map(text))
        .bind(Instant(run.created_at))
        .bind(run.ended_at.map(Instant))
        .bind(run.deadline_at.map(Instant))
        .bind(run.traceparent.map(|place| place.to_string()))
        .bind(run.rollout.as_ref().map(rollout::bound));
    tx.run(query).await.map(|_| ())
}

/// A run by id.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, id: RunId) -> Result<Option<Run>, Error> {
    tx.row(query(READ).bind(id.as_uuid()))
        .await?
        .as_ref()
        .map(read_run)
        .transpose()
}

/// Runs by id, in no order.
///
/// # Errors
/// [`Error`].
pub async fn by_ids(tx: &mut Tx, ids: &[RunId]) -> Result<Vec<Run>, Error> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(RunId::as_uuid).collect();
    tx.rows(query(BY_IDS).bind(ids))
        .await?
        .iter()
        .map(read_run)
        .collect()
}

/// Runs whose deadline has passed.
///
/// # Errors
/// [`Error`].
pub async fn overdue(tx: &mut Tx, now: Timestamp, limit: u32) -> Result<Vec<RunId>, Error> {
    let rows = tx
        .rows(query(OVERDUE).bind(Instant(now)).bind(i64::from(limit)))
        .await?;
    rows.iter()
        .map(|r| row::uuid(r, "run_id", RunId::from_uuid))
        .collect()
}

/// Runs by id, locked in order until the transaction ends.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx, ids: &[RunId]) -> Result<Vec<Run>, Error> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(RunId::as_uuid).collect();
    tx.rows(query(LOCK).bind(ids))
        .await?
        .iter()
        .map(read_run)
        .collect()
}

/// Of these runs those that spread over their hosts and are not over.
///
/// # Errors
/// [`Error`].
pub async fn spreading(tx: &mut Tx, ids: &[RunId]) -> Result<Vec<RunId>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<uuid::Uuid> = ids.iter().map(RunId::as_uuid).collect();
    let rows = tx.rows(query(SPREADING).bind(ids)).await?;
    rows.iter()
        .map(|r| row::uuid(r, "run_id", RunId::from_uuid))
        .collect()
}

/// Runs, newest first, from before an id; of one state where it is given.
///
/// # Errors
/// [`Error`].
pub async fn page(
    tx: &mut Tx,
    before: Option<RunId>,
    state: Option<RunState>,
    limit: u32,
) -> Result<Vec<Run>, Error> {
    let query = query(PAGE)
        .bind(before.map(|id| id.as_uuid()))
        .bind(state.map(RunState::name))
        .bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_run).collect()
}

/// Sets where a run stands.
///
/// # Errors
/// [`Error`].
pub async fn set_state(tx: &mut Tx, run: &Run, now: Timestamp) -> Result<(), Error> {
    let query = query(SET_STATE)
        .bind(run.run_id.as_uuid())
        .bind(run.state.name())
        .bind(Instant(now))
        .bind(run.ended_at.map(Instant))
        .bind(run.deadline_at.map(Instant));
    tx.run(query).await.map(|_| ())
}

/// Stores a plan; one with the same name is the same plan.
///
/// # Errors
/// [`Error`].
pub async fn store_plan(tx: &mut Tx, plan: &StoredPlan, now: Timestamp) -> Result<(), Error> {
    let query = query(STORE_PLAN)
        .bind(plan.digest.as_bytes().as_slice())
        .bind(&plan.document)
        .bind(&plan.envelope)
        .bind(plan.bundle_digest.as_bytes().as_slice())
        .bind(plan.run_id.as_uuid())
        .bind(Instant(now));
    tx.run(query).await.map(|_| ())
}

/// A plan by name.
///
/// # Errors
/// [`Error`].
pub async fn read_plan(tx: &mut Tx, digest: &Digest) -> Result<Option<StoredPlan>, Error> {
    tx.row(query(READ_PLAN).bind(digest.as_bytes().as_slice()))
        .await?
        .as_ref()
        .map(read_stored)
        .transpose()
}

/// The plan made from a check run.
///
/// # Errors
/// [`Error`].
pub async fn plan_of(tx: &mut Tx, run: RunId) -> Result<Option<StoredPlan>, Error> {
    tx.row(query(PLAN_OF_RUN).bind(run.as_uuid()))
        .await?
        .as_ref()
        .map(read_stored)
        .transpose()
}

/// The first run of a plan that was ordered after a run of it; run ids grow with time.
///
/// # Errors
/// [`Error`].
pub async fn later_of_plan(tx: &mut Tx, after: RunId, plan: &Digest) -> Result<Option<RunId>, Error> {
    let query = query(LATER_OF_PLAN)
        .bind(after.as_uuid())
        .bind(plan.as_bytes().as_slice());
    tx.row(query)
        .await?
        .map(|r| row::uuid(&r, "run_id", RunId::from_uuid))
        .transpose()
}

/// The name of a kind of order.
pub const fn kind_name(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::Check => "check",
        OrderKind::Apply => "apply",
    }
}

fn read_stored(r: &PgRow) -> Result<StoredPlan, Error> {
    Ok(StoredPlan {
        digest: row::digest(r, "digest")?,
        document: row::get(r, "document")?,
        envelope: row::get(r, "envelope")?,
        bundle_digest: row::digest(r, "bundle_digest")?,
        run_id: row::uuid(r, "run_id", RunId::from_uuid)?,
    })
}

fn read_run(r: &PgRow) -> Result<Run, Error> {
    let state: String = row::get(r, "state")?;
    let kind = match row::get::<String>(r, "kind")?.as_str() {
        "check" => OrderKind::Check,
        "apply" => OrderKind::Apply,
        _ => return Err(Error::Inconsistent { what: "run.kind" }),
    };
    Ok(Run {
        run_id: row::uuid(r, "run_id", RunId::from_uuid)?,
        kind,
        project: row::get(r, "project")?,
        state: RunState::of(&state).ok_or(Error::Inconsistent { what: "run.state" })?,
        bundle: BundleRef {
            digest: row::digest(r, "bundle_digest")?,
            length: row::count(r, "bundle_length")?,
        },
        plan_digest: row::maybe_digest(r, "plan_digest")?,
        traceparent: row::trace(r, "traceparent")?,
        ordered_by: row::get(r, "ordered_by")?,
        reason: row::get(r, "reason")?,
        created_at: row::time(r, "created_at")?,
        ended_at: row::maybe_time(r, "ended_at")?,
        deadline_at: row::maybe_time(r, "deadline_at")?,
        rollout: rollout::read(r)?,
    })
}
