//! Reminders that orders of a run have moved: written with the orders, taken off when the run was settled after them.

use sqlx::query;
use writ_protocol::id::RunId;

use crate::error::Error;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    NOTE = "-- run_moved.note
        INSERT INTO run_moved (run_id) SELECT * FROM unnest($1::uuid[])";
    LIST = "-- run_moved.list
        SELECT place, run_id FROM run_moved ORDER BY place LIMIT $1";
    DONE = "-- run_moved.done
        DELETE FROM run_moved WHERE place = ANY($1)";
}

/// That orders of a run have moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reminder {
    /// Its place among the reminders.
    pub place: i64,
    /// The run.
    pub run_id: RunId,
}

/// Writes down that orders of runs have moved. Waits for nobody.
///
/// # Errors
/// [`Error`].
pub async fn note(tx: &mut Tx, runs: impl IntoIterator<Item = RunId>) -> Result<(), Error> {
    let ids: Vec<uuid::Uuid> = runs.into_iter().map(|id| id.as_uuid()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    tx.run(query(NOTE).bind(ids)).await.map(|_| ())
}

/// The oldest reminders.
///
/// # Errors
/// [`Error`].
pub async fn list(tx: &mut Tx, limit: u32) -> Result<Vec<Reminder>, Error> {
    let rows = tx.rows(query(LIST).bind(i64::from(limit))).await?;
    let read = |r| {
        Ok(Reminder {
            place: row::get(r, "place")?,
            run_id: row::uuid(r, "run_id", RunId::from_uuid)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Takes reminders off the list; those that another has taken off already are no error.
///
/// # Errors
/// [`Error`].
pub async fn done(tx: &mut Tx, places: &[i64]) -> Result<(), Error> {
    tx.run(query(DONE).bind(places)).await.map(|_| ())
}
