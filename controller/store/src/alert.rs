//! Notifications: who was told of what, and what was kept back. They are made from the feed; [`place`] is until where it was read.

pub mod place;
pub mod shown;

use sqlx::postgres::PgRow;
use sqlx::query;
use writ_domain::alert::admit::Seen;
use writ_domain::alert::delivery::{Delivery, State};
use writ_domain::drift::Severity;
use writ_protocol::id::AlertId;
use writ_protocol::time::Timestamp;

use crate::audit::Place;
use crate::error::Error;
use crate::instant::Instant;
use crate::row;
use crate::statement::statements;
use crate::text::{json, text};
use crate::tx::Tx;

/// Most events of one notification; further ones begin another.
pub const GROUP_MAX: i32 = 50;
/// Longest word of a receiver that is kept, characters.
const ANSWER_CHARS_MAX: usize = 512;

statements! {
    ADD = "-- alert.add
        INSERT INTO alert (alert_id, receiver, rule, severity, state, reason, happenings, dedup_keys, group_key, xact, feed_id, made_at, due_at,
            attempts, attempts_before, ended_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, ARRAY[$8], $9, $10, $11, $12, $13, 0, 0, $14)
        ON CONFLICT ON CONSTRAINT alert_once DO NOTHING";
    JOIN = "-- alert.join
        UPDATE alert SET happenings = happenings || $3, dedup_keys = dedup_keys || $4 WHERE alert_id = (
            SELECT alert_id FROM alert WHERE receiver = $1 AND group_key = $2 AND state = 'waiting' AND attempts = 0
                AND jsonb_array_length(happenings) < $5
            ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)";
    SEEN = "-- alert.seen
        SELECT EXISTS (SELECT FROM alert WHERE receiver = $1 AND state <> 'dropped' AND due_at > $2 AND made_at > $2 AND $3 = ANY (dedup_keys)) AS is_same,
            (SELECT due_at FROM alert WHERE receiver = $1 AND state <> 'dropped' AND (severity = 'critical') = $4
             ORDER BY due_at DESC OFFSET $5 LIMIT 1) AS oldest,
            (SELECT count(*) FROM alert WHERE receiver = $1 AND state = 'waiting' AND (severity = 'critical') = $4) AS waiting";
    CLAIM = "-- alert.claim
        SELECT * FROM alert WHERE receiver = $1 AND state = 'waiting' AND due_at <= $2 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED";
    OVERDUE = "-- alert.overdue
        SELECT * FROM alert WHERE state = 'sending' AND lease_until <= $1 ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED";
    LOCK = "-- alert.lock
        SELECT * FROM alert WHERE alert_id = $1 FOR UPDATE";
    SAVE = "-- alert.save
        UPDATE alert SET state = $2, attempts = $3, attempts_before = $4, due_at = $5, lease_until = $6, tried_at = coalesce($7, tried_at),
            answer = coalesce($8, answer), ended_at = $9
        WHERE alert_id = $1";
    PRUNE = "-- alert.prune
        DELETE FROM alert WHERE alert_id = ANY (ARRAY(SELECT alert_id FROM alert WHERE ended_at < $1 ORDER BY ended_at LIMIT $2))";
}

/// One notification of one receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Its id, by which its receiver knows it when it comes twice.
    pub alert_id: AlertId,
    /// To whom.
    pub receiver: String,
    /// Under which rule.
    pub rule: String,
    /// How bad the first event is.
    pub severity: Severity,
    /// Why it is not sent; none where it is, or was.
    pub reason: Option<String>,
    /// What happened, the first first.
    pub happenings: Vec<serde_json::Value>,
    /// How it stands.
    pub delivery: Delivery,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was last tried.
    pub tried_at: Option<Timestamp>,
    /// What the receiver said to that, or why it could not be asked.
    pub answer: Option<String>,
    /// When it was taken, was given up or was dropped.
    pub ended_at: Option<Timestamp>,
}

/// What a new one is besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// What makes another one the same.
    pub dedup_key: &'a str,
    /// What others that come with it have in common.
    pub group_key: Option<&'a str>,
    /// The change that it was made from.
    pub place: Option<Place>,
}

/// Adds one; that of the same change and receiver stays where there is one.
///
/// # Errors
/// [`Error`].
pub async fn add(tx: &mut Tx, one: &Alert, origin: &Origin<'_>) -> Result<(), Error> {
    let query = query(ADD)
        .bind(one.alert_id.as_uuid())
        .bind(&one.receiver)
        .bind(&one.rule)
        .bind(one.severity.name())
        .bind(one.delivery.state.name())
        .bind(&one.reason)
        .bind(json(&one.happenings)?)
        .bind(text(origin.dedup_key))
        .bind(origin.group_key.map(text))
        .bind(origin.place.map(|place| place.xact))
        .bind(origin.place.map(|place| place.feed_id))
        .bind(Instant(one.made_at))
        .bind(Instant(one.delivery.due))
        .bind(one.ended_at.map(Instant));
    tx.run(query).await.map(|_| ())
}

/// Adds an event to one of its group that waits and was not tried yet; whether there is one.
///
/// # Errors
/// [`Error`].
pub async fn join(
    tx: &mut Tx,
    (receiver, group_key): (&str, &str),
    happening: &serde_json::Value,
    dedup_key: &str,
) -> Result<bool, Error> {
    let query = query(JOIN)
        .bind(receiver)
        .bind(text(group_key))
        .bind(json([happening])?)
        .bind(text(dedup_key))
        .bind(GROUP_MAX);
    Ok(tx.run(query).await? > 0)
}

/// What a receiver had lately: whether the same since an instant, when the one that is `most` places back was due among those as critical, and how
/// many of these wait.
///
/// # Errors
/// [`Error`].
pub async fn seen(
    tx: &mut Tx,
    receiver: &str,
    (dedup_key, since): (&str, Timestamp),
    (is_critical, most): (bool, u32),
) -> Result<Seen, Error> {
    let query = query(SEEN)
        .bind(receiver)
        .bind(Instant(since))
        .bind(text(dedup_key))
        .bind(is_critical)
        .bind(i64::from(most.saturating_sub(1)));
    let found = tx.row(query).await?;
    let r = found.ok_or(Error::Inconsistent { what: "alert.seen" })?;
    Ok(Seen {
        is_same: row::get(&r, "is_same")?,
        oldest_in_rate: row::maybe_time(&r, "oldest")?,
        waiting: row::count(&r, "waiting")?,
    })
}

/// Those of a receiver that are due, the longest due first, held until the end of the transaction; what another holds is passed over.
///
/// # Errors
/// [`Error`].
pub async fn due(tx: &mut Tx, receiver: &str, now: Timestamp, limit: u32) -> Result<Vec<Alert>, Error> {
    let query = query(CLAIM)
        .bind(receiver)
        .bind(Instant(now))
        .bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_alert).collect()
}

/// Those that whoever sends them had time enough for, held as [`due`] holds them.
///
/// # Errors
/// [`Error`].
pub async fn overdue(tx: &mut Tx, now: Timestamp, limit: u32) -> Result<Vec<Alert>, Error> {
    let query = query(OVERDUE).bind(Instant(now)).bind(i64::from(limit));
    tx.rows(query).await?.iter().map(read_alert).collect()
}

/// One, held until the end of the transaction.
///
/// # Errors
/// [`Error`].
pub async fn lock(tx: &mut Tx, id: AlertId) -> Result<Option<Alert>, Error> {
    let found = tx.row(query(LOCK).bind(id.as_uuid())).await?;
    found.as_ref().map(read_alert).transpose()
}

/// Writes down how one stands, and what is new of its last try.
///
/// # Errors
/// [`Error`].
pub async fn save(tx: &mut Tx, one: &Alert) -> Result<(), Error> {
    let answer: Option<String> = one
        .answer
        .as_ref()
        .map(|said| said.chars().take(ANSWER_CHARS_MAX).collect());
    let query = query(SAVE)
        .bind(one.alert_id.as_uuid())
        .bind(one.delivery.state.name())
        .bind(i64::from(one.delivery.attempts))
        .bind(i64::from(one.delivery.attempts_before))
        .bind(Instant(one.delivery.due))
        .bind(one.delivery.lease_until.map(Instant))
        .bind(one.tried_at.map(Instant))
        .bind(answer.as_deref().map(text))
        .bind(one.ended_at.map(Instant));
    tx.run(query).await.map(|_| ())
}

/// Forgets what ended before an instant, of the oldest `limit`; how many.
///
/// # Errors
/// [`Error`].
pub async fn prune(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, Error> {
    tx.run(query(PRUNE).bind(Instant(before)).bind(i64::from(limit)))
        .await
}

fn read_alert(r: &PgRow) -> Result<Alert, Error> {
    let wrong = |what| Error::Inconsistent { what };
    let (severity, state): (String, String) = (row::get(r, "severity")?, row::get(r, "state")?);
    let count = |what| Ok::<u32, Error>(u32::try_from(row::count(r, what)?).unwrap_or(u32::MAX));
    Ok(Alert {
        alert_id: row::uuid(r, "alert_id", AlertId::from_uuid)?,
        receiver: row::get(r, "receiver")?,
        rule: row::get(r, "rule")?,
        severity: Severity::of(&severity).ok_or(wrong("alert.severity"))?,
        reason: row::get(r, "reason")?,
        happenings: row::json(r, "happenings")?,
        delivery: Delivery {
            state: State::of(&state).ok_or(wrong("alert.state"))?,
            attempts: count("attempts")?,
            attempts_before: count("attempts_before")?,
            due: row::time(r, "due_at")?,
            lease_until: row::maybe_time(r, "lease_until")?,
        },
        made_at: row::time(r, "made_at")?,
        tried_at: row::maybe_time(r, "tried_at")?,
        answer: row::get(r, "answer")?,
        ended_at: row::maybe_time(r, "ended_at")?,
    })
}
