//! Event batches into the ledger: signatures, chains and one transaction, against a bare UNNEST insert of the very same rows by one statement
//! into a table of the same form. Rounds of both take turns, so that both see the same machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use uuid::Uuid;
use writ_agent::identity::Identity;
use writ_agent::journal::disk::sim::SimDisk;
use writ_agent::journal::{Journal, Stamp, Start};
use writ_agent::uplink::seal;
use writ_chassis::clock::{Clock as _, SystemClock};
use writ_controller::app::{App, Fence, Incoming, Outcome};
use writ_protocol::batch;
use writ_protocol::id::{ControllerId, OrderId, SessionId};
use writ_protocol::limits::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX};
use writ_protocol::record::Record;
use writ_protocol::subject::Shard;

use super::bed::{Bed, Plan, tell};
use super::stopwatch::Stopwatch;
use super::{Row, fleet};

mod records;

pub use records::Kind;

const BENCH: &str = "ingest";
const PEER: &str = "bare UNNEST insert of the same rows";
/// How long the lease of the bench holds.
const LEASE: Duration = Duration::from_secs(600);

/// How much is taken in.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Agents; each sends one batch in a round, and a round is a transaction.
    pub agents: usize,
    /// Rounds that count, after one that does not.
    pub rounds: usize,
    /// Frames in a batch, at most [`BATCH_FRAMES_MAX`].
    pub frames: usize,
}

/// What is measured: one hundred full batches to a transaction.
pub const SIZE: Size = Size {
    agents: 100,
    rounds: 12,
    frames: BATCH_FRAMES_MAX,
};

/// Measures both kinds of records.
///
/// # Errors
/// When the stage does not come up, or a batch is not taken whole.
pub fn run(size: Size, mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    let mut bed = Bed::set(Plan::default())?;
    let identities = fleet::enrol(&bed, size.agents, |_| {
        BTreeMap::from([("ingest".to_owned(), "true".to_owned())])
    })?;
    let identities: Vec<Arc<Identity>> = identities.into_iter().map(Arc::new).collect();
    for kind in [Kind::Output, Kind::Steps] {
        let mut writers = writers(&bed, &identities)?;
        // The controller lives until here, because it signs the manifests of the orders; from here on the ledger is the bench's alone.
        bed.stack().stop("controller-1")?;
        let outcome = one(&bed, size, kind, &mut writers)?;
        bed.stack().start("controller-1")?;
        let n = (size.agents * size.rounds * size.frames) as u64;
        report(Row::new(BENCH, kind.name(), n, outcome.0, "rows/s").over(outcome.1, PEER));
    }
    Ok(())
}

/// Rows a second of the product and of the bare insert.
fn one(bed: &Bed, size: Size, kind: Kind, writers: &mut [Writer]) -> anyhow::Result<(f64, f64)> {
    tell(&format!(
        "{} rounds of {} rows",
        size.rounds,
        size.agents * size.frames
    ));
    let (desk, runtime) = (bed.desk(), bed.runtime());
    let fences = runtime.block_on(claim(&desk))?;
    runtime.block_on(make_floor(bed))?;
    let (mut ours, mut bare) = (Duration::ZERO, Duration::ZERO);
    for round in 0..=size.rounds {
        let sealed = writers
            .iter_mut()
            .map(|writer| writer.batch(kind, size.frames))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let watch = Stopwatch::start();
        let outcomes = runtime.block_on(desk.ingest(&sealed, Some(&fences)))?;
        let took = watch.elapsed();
        ensure!(
            outcomes.iter().all(|o| o.outcome == Outcome::Accepted),
            "a batch was not taken: {outcomes:?}"
        );
        let columns = Columns::of(&sealed, writers)?;
        let watch = Stopwatch::start();
        runtime.block_on(columns.insert(bed))?;
        if round > 0 {
            ours += took;
            bare += watch.elapsed();
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
    let rows = (size.rounds * size.agents * size.frames) as f64;
    Ok((rows / ours.as_secs_f64(), rows / bare.as_secs_f64()))
}

async fn claim(desk: &App) -> anyhow::Result<Vec<Fence>> {
    let holder = ControllerId::from_uuid(Uuid::from_u128(1));
    let mut fences = Vec::new();
    for shard in Shard::all() {
        let fence = desk
            .acquire_lease(&App::shard_lease(shard), holder, LEASE)
            .await?;
        fences.push(fence.context("another controller holds a shard")?);
    }
    Ok(fences)
}

/// One agent's journal and the order it writes about.
struct Writer {
    me: Arc<Identity>,
    journal: Journal,
    order: records::Order,
    /// Records written so far, for names that differ.
    written: u64,
}

/// A fresh order for each agent, and a journal that has accepted it.
fn writers(bed: &Bed, identities: &[Arc<Identity>]) -> anyhow::Result<Vec<Writer>> {
    let run = bed.order("ingest")?;
    let asked = sqlx::query_as::<_, (Uuid, Uuid, i64)>(
        "SELECT agent_id, order_id, fencing_token FROM run_order WHERE run_id = $1::text::uuid",
    );
    let id: writ_protocol::id::RunId = run.id.parse()?;
    let rows = bed
        .runtime()
        .block_on(asked.bind(id.as_uuid().to_string()).fetch_all(bed.pool()))?;
    let orders: BTreeMap<Uuid, (Uuid, i64)> = rows.into_iter().map(|(a, o, t)| (a, (o, t))).collect();
    let writer = |me: &Arc<Identity>| {
        let (order_id, token) = orders
            .get(&me.card.identity.agent_id.as_uuid())
            .context("an order for each agent")?;
        let order = records::Order {
            id: OrderId::from_uuid(*order_id),
            run_id: id,
            fencing_token: u64::try_from(*token)?,
        };
        Writer::open(Arc::clone(me), order)
    };
    identities.iter().map(writer).collect()
}

impl Writer {
    fn open(me: Arc<Identity>, order: records::Order) -> anyhow::Result<Self> {
        let start = Start {
            session_id: SessionId::from_uuid(Uuid::from_u128(1)),
            // A journal of its own for each order, as nothing is acknowledged here and old frames need not be kept.
            fresh_id: writ_protocol::id::JournalId::from_uuid(order.id.as_uuid()),
            agent_version: "0.1.0".to_owned(),
            boot_id: "bench".to_owned(),
            stamp: stamp(),
        };
        let disk = Arc::new(SimDisk::new(1));
        let config = writ_agent::config::JournalConfig::default();
        let (journal, _) = Journal::open(disk, config, start, &mut |_| {})?;
        Ok(Self {
            me,
            journal,
            order,
            written: 0,
        })
    }

    /// The next batch: exactly `frames` frames, signed.
    fn batch(&mut self, kind: Kind, frames: usize) -> anyhow::Result<Incoming> {
        let next = self.journal.end().seq + 1;
        let first = if self.written == 0 { 1 } else { next };
        let mut records: Vec<Record> = Vec::with_capacity(frames);
        if self.written == 0 {
            records.push(self.order.accepted());
        }
        let have = usize::try_from(next - first)? + records.len();
        records.extend((have..frames).map(|at| kind.record(&self.order, self.written + at as u64)));
        self.written += frames as u64;
        self.journal.append(&records, stamp())?;
        self.journal.sync()?;
        let run = self
            .journal
            .read(first, frames, BATCH_BYTES_MAX)?
            .context("frames to send")?;
        ensure!(
            run.last_seq + 1 - run.first_seq == frames as u64,
            "a batch is not full"
        );
        let place = (self.journal.id(), self.journal.incarnation());
        let name = &self.me.card.identity;
        let message = seal(run, name, place, &self.me.artefact_key, SystemClock.now())?;
        Ok(Incoming {
            user_key: name.user_key.clone(),
            message: message.into(),
        })
    }
}

fn stamp() -> Stamp {
    Stamp {
        wall: SystemClock.now(),
        boot_ns: SystemClock.boot().as_nanos(),
    }
}

async fn make_floor(bed: &Bed) -> anyhow::Result<()> {
    sqlx::raw_sql("DROP TABLE IF EXISTS bench_event; CREATE TABLE bench_event (LIKE event INCLUDING ALL)")
        .execute(bed.pool())
        .await?;
    Ok(())
}

/// The rows of a round, column by column.
#[derive(Default)]
struct Columns {
    journals: Vec<Uuid>,
    seqs: Vec<i64>,
    agents: Vec<Uuid>,
    kinds: Vec<i16>,
    orders: Vec<Option<Uuid>>,
    walls: Vec<i64>,
    raws: Vec<Vec<u8>>,
}

impl Columns {
    fn of(sealed: &[Incoming], writers: &[Writer]) -> anyhow::Result<Self> {
        let mut columns = Self::default();
        for (incoming, writer) in sealed.iter().zip(writers) {
            let batch = batch::open(&incoming.message, &writer.me.artefact_key.public())?;
            for (frame, _, raw) in batch.frames() {
                let record = Record::decode(&frame)?;
                let order = record.as_ref().and_then(Record::order_id);
                columns.journals.push(batch.header().journal_id.as_uuid());
                columns.seqs.push(i64::try_from(frame.seq)?);
                columns.agents.push(batch.header().agent_id.as_uuid());
                columns.kinds.push(i16::from(frame.kind));
                columns.orders.push(order.map(|id| id.as_uuid()));
                columns.walls.push(frame.wall.as_micros());
                columns.raws.push(raw.to_vec());
            }
        }
        Ok(columns)
    }

    /// One statement, one transaction.
    async fn insert(&self, bed: &Bed) -> anyhow::Result<()> {
        let sql = "INSERT INTO bench_event (journal_id, seq, agent_id, kind, order_id, wall, received_at, raw)
            SELECT u.journal_id, u.seq, u.agent_id, u.kind, u.order_id, to_timestamp(u.wall / 1e6), now(), u.raw
            FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::smallint[], $5::uuid[], $6::bigint[], $7::bytea[])
                u(journal_id, seq, agent_id, kind, order_id, wall, raw)";
        let done = sqlx::query(sql)
            .bind(&self.journals)
            .bind(&self.seqs)
            .bind(&self.agents)
            .bind(&self.kinds)
            .bind(&self.orders)
            .bind(&self.walls)
            .bind(&self.raws)
            .execute(bed.pool())
            .await?;
        ensure!(done.rows_affected() == self.seqs.len() as u64, "rows are missing");
        Ok(())
    }
}
