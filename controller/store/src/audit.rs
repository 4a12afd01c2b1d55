//! Who did what, and what changed for those who watch; both written in the transaction that does it.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use sqlx::query;
use writ_protocol::time::Timestamp;

use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::{json, text};
use crate::tx::Tx;

statements! {
    WRITE = "-- audit.write
        INSERT INTO audit (at, actor, verb, object, detail) VALUES ($1, $2, $3, $4, $5)";
    LIST = "-- audit.list
        SELECT audit_id, at, actor, verb, object, detail FROM audit WHERE audit_id > $1 ORDER BY audit_id LIMIT $2";
    TELL = "-- feed.tell
        INSERT INTO feed (at, topic, kind, body) SELECT $1, t, $3, b FROM unnest($2::text[], $4::jsonb[]) u(t, b)";
    AFTER = "-- feed.after
        SELECT xact::text::bigint AS xact, feed_id, at, topic, kind, body FROM feed
        WHERE (xact, feed_id) > ($1::text::xid8, $2) AND xact < pg_snapshot_xmin(pg_current_snapshot())
            AND (cardinality($3::text[]) = 0 OR topic = ANY($3)) AND topic <> ALL ($4::text[])
        ORDER BY xact, feed_id LIMIT $5";
    NEWEST = "-- feed.newest
        SELECT xact::text::bigint AS xact, feed_id FROM feed WHERE xact < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY xact DESC, feed_id DESC LIMIT 1";
    HOLDS = "-- feed.holds
        SELECT EXISTS (SELECT FROM feed WHERE xact = $1::text::xid8 AND feed_id = $2)";
    PRUNE = "-- feed.prune
        DELETE FROM feed WHERE at < $1";
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Its place.
    pub audit_id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What was done, such as `run.create`.
    pub verb: String,
    /// To what.
    pub object: String,
    /// The rest.
    pub detail: Value,
}

/// A place in the feed. Places are ordered by transaction first: numbers are drawn before transactions commit, so a reader that went by number
/// alone would pass over a change whose transaction was still open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The transaction's number.
    pub xact: i64,
    /// The change's number.
    pub feed_id: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.xact, self.feed_id)
    }
}

/// The text is no place in the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a place is two numbers joined by a hyphen, as 812-77")]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (xact, feed_id) = text.split_once('-').ok_or(NoPlace)?;
        let read = |part: &str| part.parse().ok().filter(|n| *n >= 0).ok_or(NoPlace);
        Ok(Self {
            xact: read(xact)?,
            feed_id: read(feed_id)?,
        })
    }
}

/// One change for those who watch.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedEntry {
    /// Its place.
    pub place: Place,
    /// When.
    pub at: Timestamp,
    /// What changed, such as `run:run_…` or `agents`.
    pub topic: String,
    /// How.
    pub kind: String,
    /// The rest.
    pub body: Value,
}

/// Who does something, and when.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: &'a str,
}

/// Writes a line of the audit log.
///
/// # Errors
/// [`Error`].
pub async fn write(tx: &mut Tx, act: Act<'_>, verb: &str, object: &str, detail: Value) -> Result<(), Error> {
    let query = query(WRITE)
        .bind(Instant(act.at))
        .bind(text(act.actor))
        .bind(verb)
        .bind(text(object))
        .bind(json(detail)?);
    tx.run(query).await.map(|_| ())
}

/// Lines after a place, oldest first.
///
/// # Errors
/// [`Error`].
pub async fn list(tx: &mut Tx, after: i64, limit: u32) -> Result<Vec<AuditEntry>, Error> {
    let rows = tx.rows(query(LIST).bind(after).bind(i64::from(limit))).await?;
    let read = |r| {
        Ok(AuditEntry {
            audit_id: row::get(r, "audit_id")?,
            at: row::time(r, "at")?,
            actor: row::get(r, "actor")?,
            verb: row::get(r, "verb")?,
            object: row::get(r, "object")?,
            detail: row::json(r, "detail")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Tells those who watch of changes of one kind: topic and body of each.
///
/// # Errors
/// [`Error`].
pub async fn tell(
    tx: &mut Tx,
    at: Timestamp,
    kind: &str,
    changes: Vec<(String, Value)>,
) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let (topics, bodies): (Vec<String>, Vec<Value>) = changes.into_iter().unzip();
    let bodies = bodies.into_iter().map(json).collect::<Result<Vec<_>, _>>()?;
    tx.run(query(TELL).bind(Instant(at)).bind(topics).bind(kind).bind(bodies))
        .await
        .map(|_| ())
}

/// Changes after a place, on these topics (all where none is named); never past a transaction that is still open.
///
/// # Errors
/// [`Error`].
pub async fn after(
    tx: &mut Tx,
    place: Place,
    topics: &[String],
    limit: u32,
) -> Result<Vec<FeedEntry>, Error> {
    after_without(tx, place, (topics, &[]), limit).await
}

/// The same without what is told on some topics, whatever is asked for.
///
/// # Errors
/// [`Error`].
pub async fn after_without(
    tx: &mut Tx,
    place: Place,
    (topics, hidden): (&[String], &[&str]),
    limit: u32,
) -> Result<Vec<FeedEntry>, Error> {
    let query = query(AFTER).bind(place.xact.to_string()).bind(place.feed_id);
    let query = query.bind(topics).bind(hidden).bind(i64::from(limit));
    let rows = tx.rows(query).await?;
    let read = |r| {
        Ok(FeedEntry {
            place: read_place(r)?,
            at: row::time(r, "at")?,
            topic: row::get(r, "topic")?,
            kind: row::get(r, "kind")?,
            body: row::json(r, "body")?,
        })
    };
    rows.iter().map(read).collect()
}

/// The newest place below all transactions that are still open; the beginning while there is none.
///
/// # Errors
/// [`Error`].
pub async fn newest(tx: &mut Tx) -> Result<Place, Error> {
    let rows = tx.rows(query(NEWEST)).await?;
    rows.first().map_or(Ok(Place::default()), read_place)
}

/// Whether the change at a place is still kept, so that nothing after it is forgotten either.
///
/// # Errors
/// [`Error`].
pub async fn holds(tx: &mut Tx, place: Place) -> Result<bool, Error> {
    let query = query(HOLDS).bind(place.xact.to_string()).bind(place.feed_id);
    tx.one(query, "exists").await
}

fn read_place(r: &sqlx::postgres::PgRow) -> Result<Place, Error> {
    Ok(Place {
        xact: row::get(r, "xact")?,
        feed_id: row::get(r, "feed_id")?,
    })
}

/// Forgets changes from before an instant.
///
/// # Errors
/// [`Error`].
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64, Error> {
    tx.run(query(PRUNE).bind(Instant(before))).await
}
