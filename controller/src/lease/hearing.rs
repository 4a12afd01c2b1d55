//! Whether the bus answers this controller, as its last answers tell.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use writ_domain::share::Ear;

use super::{LOOK, TTL};

/// How long an answer counts: some questions, and the wait for one that is lost.
pub const FRESH: Duration = Duration::from_secs(3);
/// From here on others have the shards. Longer than whoever lost the bus at the same moment is still said to hear: [`FRESH`], a look and [`TTL`]; else all
/// would give up their shards to each other when the bus is away.
pub const DEAF: Duration = Duration::from_secs(9);

const _: () = assert!(
    DEAF.as_millis() > FRESH.as_millis() + 2 * LOOK.as_millis() + TTL.as_millis(),
    "who is deaf must be so after all others are known to be"
);

/// When the bus last answered. Cheap to clone: every clone knows the same.
#[derive(Clone, Debug)]
pub struct Hearing {
    last: Arc<Mutex<Instant>>,
}

impl Default for Hearing {
    fn default() -> Self {
        Self::new()
    }
}

impl Hearing {
    /// It answers until the contrary is known.
    pub fn new() -> Self {
        Self {
            last: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// The bus has answered.
    pub fn note(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// What that means by now.
    pub fn ear(&self) -> Ear {
        let since = self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        if since < FRESH {
            Ear::Hears
        } else if since < DEAF {
            Ear::Unsure
        } else {
            Ear::Deaf
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_for_a_while_and_silence_is_deafness_only_after_long() {
        let hearing = Hearing::new();
        let moment = Duration::from_millis(1);
        assert_eq!(hearing.ear(), Ear::Hears);
        tokio::time::advance(FRESH.saturating_sub(moment)).await;
        assert_eq!(hearing.ear(), Ear::Hears);
        tokio::time::advance(moment).await;
        assert_eq!(hearing.ear(), Ear::Unsure);
        tokio::time::advance(DEAF.saturating_sub(FRESH)).await;
        assert_eq!(hearing.ear(), Ear::Deaf);
        hearing.clone().note();
        assert_eq!(hearing.ear(), Ear::Hears);
    }
}
