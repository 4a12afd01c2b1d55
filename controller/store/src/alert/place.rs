//! Until where the feed was read for alerts. Whoever holds the row makes them; the row moves in the transaction that writes them down, so that a
//! change is made into notifications once, whichever controller ends when.

use sqlx::query;

use crate::audit::Place;
use crate::error::Error;
use crate::row;
use crate::statement::statements;
use crate::tx::Tx;

statements! {
    BEGIN = "-- alert_place.begin
        INSERT INTO alert_place (xact, feed_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    EXISTS = "-- alert_place.exists
        SELECT EXISTS (SELECT FROM alert_place)";
    LOCK = "-- alert_place.lock
        SELECT xact, feed_id FROM alert_place FOR UPDATE SKIP LOCKED";
    SAVE = "-- alert_place.save
        UPDATE alert_place SET xact = $1, feed_id = $2";
}

/// Begins at a place, where nobody has begun.
///
/// # Errors
/// [`Error`].
pub async fn begin(tx: &mut Tx, place: Place) -> Result<(), Error> {
    tx.run(query(BEGIN).bind(place.xact).bind(place.feed_id))
        .await
        .map(|_| ())
}

/// Whether somebody has begun.
///
/// # Errors
/// [`Error`].
pub async fn exists(tx: &mut Tx) -> Result<bool, Error> {
    tx.one(query(EXISTS), "exists").await
}

/// The place, held until the end of the transaction; none while another holds it, or nobody has begun.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx) -> Result<Option<Place>, Error> {
    let found = tx.row(query(LOCK)).await?;
    let read = |r: &sqlx::postgres::PgRow| {
        Ok(Place {
            xact: row::get(r, "xact")?,
            feed_id: row::get(r, "feed_id")?,
        })
    };
    found.as_ref().map(read).transpose()
}

/// Moves on to a place.
///
/// # Errors
/// [`Error`].
pub async fn save(tx: &mut Tx, place: Place) -> Result<(), Error> {
    tx.run(query(SAVE).bind(place.xact).bind(place.feed_id))
        .await
        .map(|_| ())
}
