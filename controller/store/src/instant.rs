//! Instants in PostgreSQL's binary form: microseconds since 2000-01-01T00:00:00Z.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type, TypeInfo as _};
use writ_protocol::time::Timestamp;

/// From the Unix epoch to PostgreSQL's, microseconds.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
/// The years 1 to 9999, microseconds since the Unix epoch: what both the database and RFC 3339 can say. A clock that is set to anything else,
/// as an agent's may be, is written down as the nearest of these; its frame holds what it said.
const WRITABLE: (i64, i64) = (-62_135_596_800_000_000, 253_402_207_200_000_000);

/// The instant, or the nearest one that can be written.
pub fn writable(instant: Timestamp) -> Timestamp {
    Timestamp::from_micros(instant.as_micros().clamp(WRITABLE.0, WRITABLE.1))
}

/// A [`Timestamp`] as a `timestamptz`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant(pub(crate) Timestamp);

impl Type<Postgres> for Instant {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("TIMESTAMPTZ")
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        ty.name() == "TIMESTAMPTZ"
    }
}

impl PgHasArrayType for Instant {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_TIMESTAMPTZ")
    }
}

impl Encode<'_, Postgres> for Instant {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = writable(self.0).as_micros().saturating_sub(POSTGRES_EPOCH);
        buffer.extend_from_slice(&micros.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Instant {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() != PgValueFormat::Binary {
            return Ok(Self(Timestamp::parse(value.as_str()?)?));
        }
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        let micros = micros
            .checked_add(POSTGRES_EPOCH)
            .ok_or("instant is out of range")?;
        Ok(Self(Timestamp::from_micros(micros)))
    }
}
