//! Prices by version: written once for each, never changed.

use sqlx::query;
use writ_protocol::cost::RateCard;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::json;
use crate::tx::Tx;

statements! {
    ADD = "-- rate_card.add
        INSERT INTO rate_card (version, card, since) VALUES ($1, $2, $3) ON CONFLICT (version) DO NOTHING";
    READ_ALL = "-- rate_card.all
        SELECT card FROM rate_card ORDER BY version";
}

/// Adds a card, unless its version is there already, with whatever prices.
///
/// # Errors
/// [`Error`].
pub async fn add(tx: &mut Tx, card: &RateCard, now: Timestamp) -> Result<(), Error> {
    let add = query(ADD)
        .bind(row::signed_small(card.version))
        .bind(json(card)?)
        .bind(Instant(now));
    tx.run(add).await.map(|_| ())
}

/// Every card, by version.
///
/// # Errors
/// [`Error`].
pub async fn all(tx: &mut Tx) -> Result<Vec<RateCard>, Error> {
    let rows = tx.rows(query(READ_ALL)).await?;
    rows.iter().map(|r| row::json(r, "card")).collect()
}
