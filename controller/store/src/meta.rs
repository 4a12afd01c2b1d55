//! The database's own life: its epoch, its control epoch, and what tells a restored database from the one before.

use sqlx::query;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    INIT = "-- meta.init
        INSERT INTO meta (tenant, epoch, system_identifier, timeline)
        SELECT $1, 1, s.system_identifier, c.timeline_id FROM pg_control_system() s, pg_control_checkpoint() c
        ON CONFLICT (one) DO NOTHING";
    READ = "-- meta.read
        SELECT m.tenant, m.epoch, m.control_epoch,
               m.system_identifier = s.system_identifier AND m.timeline = c.timeline_id AS same_life
        FROM meta m, pg_control_system() s, pg_control_checkpoint() c";
    RAISE_EPOCH = "-- meta.raise_epoch
        -- Two databases restored from one backup must not take the same number: the seconds since 2026, which an integer holds until 2094.
        UPDATE meta SET epoch = greatest(epoch + 1, floor(extract(epoch FROM clock_timestamp() - timestamptz '2026-01-01 00:00:00+00'))::integer),
               system_identifier = s.system_identifier, timeline = c.timeline_id
        FROM pg_control_system() s, pg_control_checkpoint() c RETURNING epoch";
    CLOCK = "-- meta.clock
        SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS clock";
    NEXT_CONTROL_EPOCH = "-- meta.next_control_epoch
        UPDATE meta SET control_epoch = control_epoch + 1 RETURNING control_epoch";
}

/// The database's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The tenant that it belongs to.
    pub tenant: String,
    /// Number of its life.
    pub epoch: u32,
    /// How many halts and lifts there have been.
    pub control_epoch: u64,
    /// Whether the server is the one that the epoch was written on; false after a restore or a failover.
    pub same_life: bool,
}

/// Writes the first epoch, unless there is one.
///
/// # Errors
/// [`Error`].
pub async fn init(tx: &mut Tx, tenant: &str) -> Result<(), Error> {
    tx.run(query(INIT).bind(tenant)).await.map(|_| ())
}

/// Reads the life; none in a database that was never begun.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx) -> Result<Option<Meta>, Error> {
    let Some(found) = tx.row(query(READ)).await? else {
        return Ok(None);
    };
    Ok(Some(Meta {
        tenant: row::get(&found, "tenant")?,
        epoch: row::small(&found, "epoch")?,
        control_epoch: row::count(&found, "control_epoch")?,
        same_life: row::get(&found, "same_life")?,
    }))
}

/// Begins a new life after a restore; gives the new epoch, which no earlier life had, not even one that this database does not know of.
///
/// # Errors
/// [`Error`].
pub async fn raise_epoch(tx: &mut Tx) -> Result<u32, Error> {
    let epoch: i32 = tx.one(query(RAISE_EPOCH), "epoch").await?;
    u32::try_from(epoch).map_err(|_| Error::Inconsistent { what: "epoch" })
}

/// What time it is by the ledger's own clock, when the statement runs and not when the transaction began.
///
/// # Errors
/// [`Error`].
pub async fn clock(tx: &mut Tx) -> Result<Timestamp, Error> {
    let micros: i64 = tx.one(query(CLOCK), "clock").await?;
    Ok(Timestamp::from_micros(micros))
}

/// Counts one more halt or lift; the row stays locked until the transaction ends, so that they have an order.
///
/// # Errors
/// [`Error`].
pub async fn next_control_epoch(tx: &mut Tx) -> Result<u64, Error> {
    let epoch: i64 = tx.one(query(NEXT_CONTROL_EPOCH), "control_epoch").await?;
    u64::try_from(epoch).map_err(|_| Error::Inconsistent {
        what: "control_epoch",
    })
}
