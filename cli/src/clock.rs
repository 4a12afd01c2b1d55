//! The one clock of the command, and ids in the order of its time. Everything else is handed instants.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use writ_protocol::time::Timestamp;

/// The wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the CLI's one reading of the wall clock"
)]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// An instant after which a wait is given up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// `wait` from now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the CLI's one reading of the monotonic clock"
    )]
    pub fn after(wait: Duration) -> Self {
        Self(Instant::now() + wait)
    }

    /// How long is left; zero when it is over.
    #[expect(
        clippy::disallowed_methods,
        reason = "the CLI's one reading of the monotonic clock"
    )]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether nothing is left.
    pub fn is_over(self) -> bool {
        self.left().is_zero()
    }
}

/// Measures how long something took.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the CLI's one reading of the monotonic clock"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// An id that nobody has had: later ones are greater (RFC 9562, version 7).
///
/// # Errors
/// When the system has no random bytes.
pub(crate) fn fresh_uuid() -> anyhow::Result<uuid::Uuid> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    let millis = u64::try_from(now().as_micros() / 1_000).unwrap_or_default();
    Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}
