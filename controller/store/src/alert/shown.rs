//! Notifications as they are shown and counted.

use sqlx::query;
use writ_domain::alert::delivery::State;
use writ_protocol::id::AlertId;

use super::{Alert, read_alert};
use crate::error::Error;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    READ = "-- alert_shown.read
        SELECT * FROM alert WHERE alert_id = $1";
    PAGE = "-- alert_shown.page
        SELECT * FROM alert WHERE ($1::uuid IS NULL OR alert_id < $1) AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR receiver = $3)
        ORDER BY alert_id DESC LIMIT $4";
    COUNTS = "-- alert_shown.counts
        SELECT state, count(*) AS standing FROM alert WHERE state IN ('waiting', 'sending', 'dead') GROUP BY state";
}

/// Which notifications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// In this state.
    pub state: Option<State>,
    /// Of this receiver.
    pub receiver: Option<String>,
}

/// One.
///
/// # Errors
/// [`Error`].
pub async fn read(tx: &mut Tx, id: AlertId) -> Result<Option<Alert>, Error> {
    let found = tx.row(query(READ).bind(id.as_uuid())).await?;
    found.as_ref().map(read_alert).transpose()
}

/// Notifications from before one, newest first; the newest of all without one.
///
/// # Errors
/// [`Error`].
pub async fn page(
    tx: &mut Tx,
    which: &Which,
    before: Option<AlertId>,
    limit: u32,
) -> Result<Vec<Alert>, Error> {
    let query = query(PAGE)
        .bind(before.map(|id| id.as_uuid()))
        .bind(which.state.map(State::name))
        .bind(which.receiver.as_deref())
        .bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_alert).collect()
}

/// How many have not ended well, by state; those without any are missing.
///
/// # Errors
/// [`Error`].
pub async fn counts(tx: &mut Tx) -> Result<Vec<(State, u64)>, Error> {
    let rows = tx.rows(query(COUNTS)).await?;
    let read = |r: &sqlx::postgres::PgRow| {
        let state: String = row::get(r, "state")?;
        let state = State::of(&state).ok_or(Error::Inconsistent { what: "alert.state" })?;
        Ok((state, row::count(r, "standing")?))
    };
    rows.iter().map(read).collect()
}
