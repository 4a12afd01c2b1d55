//! Rows to values: a value that does not decode is an inconsistency of the database and is named.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{Decode, Postgres, Row as _, Type};
use uuid::Uuid;
use writ_protocol::digest::Digest;
use writ_protocol::time::Timestamp;
use writ_protocol::trace::TraceContext;

use crate::error::Error;
use crate::instant::Instant;

pub(crate) fn get<'r, T: Decode<'r, Postgres> + Type<Postgres>>(
    row: &'r PgRow,
    what: &'static str,
) -> Result<T, Error> {
    row.try_get(what).map_err(|_| Error::Inconsistent { what })
}

pub(crate) fn uuid<T>(row: &PgRow, what: &'static str, wrap: impl FnOnce(Uuid) -> T) -> Result<T, Error> {
    get::<Uuid>(row, what).map(wrap)
}

pub(crate) fn time(row: &PgRow, what: &'static str) -> Result<Timestamp, Error> {
    get::<Instant>(row, what).map(|i| i.0)
}

pub(crate) fn maybe_time(row: &PgRow, what: &'static str) -> Result<Option<Timestamp>, Error> {
    get::<Option<Instant>>(row, what).map(|i| i.map(|i| i.0))
}

pub(crate) fn digest(row: &PgRow, what: &'static str) -> Result<Digest, Error> {
    Digest::from_slice(&get::<Vec<u8>>(row, what)?).map_err(|_| Error::Inconsistent { what })
}

pub(crate) fn maybe_digest(row: &PgRow, what: &'static str) -> Result<Option<Digest>, Error> {
    let bytes = get::<Option<Vec<u8>>>(row, what)?;
    bytes
        .map(|b| Digest::from_slice(&b).map_err(|_| Error::Inconsistent { what }))
        .transpose()
}

pub(crate) fn json<T: DeserializeOwned>(row: &PgRow, what: &'static str) -> Result<T, Error> {
    row.try_get::<Json<T>, _>(what)
        .map(|j| j.0)
        .map_err(|_| Error::Inconsistent { what })
}

pub(crate) fn labels(row: &PgRow, what: &'static str) -> Result<BTreeMap<String, String>, Error> {
    json(row, what)
}

/// A count or length that the database keeps as a signed number.
pub(crate) fn count(row: &PgRow, what: &'static str) -> Result<u64, Error> {
    u64::try_from(get::<i64>(row, what)?).map_err(|_| Error::Inconsistent { what })
}

pub(crate) fn maybe_count(row: &PgRow, what: &'static str) -> Result<Option<u64>, Error> {
    let value = get::<Option<i64>>(row, what)?;
    value
        .map(|v| u64::try_from(v).map_err(|_| Error::Inconsistent { what }))
        .transpose()
}

pub(crate) fn small(row: &PgRow, what: &'static str) -> Result<u32, Error> {
    u32::try_from(get::<i32>(row, what)?).map_err(|_| Error::Inconsistent { what })
}

pub(crate) fn maybe_small(row: &PgRow, what: &'static str) -> Result<Option<u32>, Error> {
    let value = get::<Option<i32>>(row, what)?;
    value
        .map(|v| u32::try_from(v).map_err(|_| Error::Inconsistent { what }))
        .transpose()
}

pub(crate) fn parsed<T: std::str::FromStr>(row: &PgRow, what: &'static str) -> Result<T, Error> {
    get::<String>(row, what)?
        .parse()
        .map_err(|_| Error::Inconsistent { what })
}

/// A place in a trace. Nothing rests on it, so one that cannot be read is none.
pub(crate) fn trace(row: &PgRow, what: &'static str) -> Result<Option<TraceContext>, Error> {
    let text = get::<Option<String>>(row, what)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// A number for the database; anything beyond its range has been refused before, so it is held at the range's end.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn signed_small(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
