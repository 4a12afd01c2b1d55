//! Ids and chance: the one place of the workspace that makes them, so that a run with a seed repeats.
//!
//! Shells hold an [`IdSource`] and hand finished ids to pure code. Generators are derived by name from one seed, so that one more draw in
//! one place does not change what another place draws. Nothing here makes keys.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;
use writ_protocol::trace::TraceContext;

use crate::clock::Clock;

/// The random part of a version 7 UUID, in bytes.
const UUID_RANDOM: usize = 10;

/// Where ids and random bytes come from.
pub trait IdSource: Send + Sync + Debug {
    /// A new version 7 UUID: ordered by the wall clock to the millisecond, random below it.
    fn uuid(&self) -> Uuid;

    /// Fills `buffer` with random bytes.
    fn random(&self, buffer: &mut [u8]);
}

/// A place in a trace that begins here; `sampled` is whether it is recorded.
pub fn begin_trace(ids: &dyn IdSource, sampled: bool) -> TraceContext {
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    ids.random(&mut trace);
    ids.random(&mut span);
    TraceContext::new(u128::from_be_bytes(trace), u64::from_be_bytes(span), sampled)
}

/// The kernel gives no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the kernel gives no random bytes; run where getrandom(2) is allowed")]
pub struct NoRandomness(#[source] getrandom::Error);

/// Ids from the kernel's generator: what production uses.
#[derive(Debug, Clone)]
pub struct SystemIds {
    clock: Arc<dyn Clock>,
}

impl SystemIds {
    /// A source of ids stamped by `clock`.
    ///
    /// # Errors
    /// When the kernel gives no randomness, so that a process that could not make a unique id does not start.
    pub fn new(clock: Arc<dyn Clock>) -> Result<Self, NoRandomness> {
        let mut probe = [0; 1];
        getrandom::fill(&mut probe).map_err(NoRandomness)?;
        Ok(Self { clock })
    }
}

impl IdSource for SystemIds {
    fn uuid(&self) -> Uuid {
        let mut random = [0; UUID_RANDOM];
        self.random(&mut random);
        uuid_v7(self.clock.as_ref(), &random)
    }

    fn random(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            // Fail closed: a predictable id or nonce would be accepted as a unique one. The kernel answered when this source was made,
            // so this is a machine or a system call filter gone wrong under a running process.
            tracing::error!(%error, "kernel stopped giving random bytes; aborting");
            std::process::abort();
        }
    }
}

/// Ids that repeat for a seed: for tests and the simulator, never for production.
pub struct SeededIds {
    clock: Arc<dyn Clock>,
    rng: Mutex<StdRng>,
}

impl SeededIds {
    /// The source called `name` under `seed`, stamped by `clock`.
    pub fn new(seed: u64, name: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            rng: Mutex::new(named_rng(seed, name)),
        }
    }
}

impl Debug for SeededIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeededIds").finish_non_exhaustive()
    }
}

impl IdSource for SeededIds {
    fn uuid(&self) -> Uuid {
        let mut random = [0; UUID_RANDOM];
        self.random(&mut random);
        uuid_v7(self.clock.as_ref(), &random)
    }

    fn random(&self, buffer: &mut [u8]) {
        self.rng
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(buffer);
    }
}

/// The generator called `name` under `seed`: equal arguments draw equal numbers within one build.
pub fn named_rng(seed: u64, name: &str) -> StdRng {
    // FNV-1a spreads the name over 64 bits; the generator's own expansion does the rest. Not for secrets.
    let digest = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    StdRng::seed_from_u64(seed.rotate_left(32) ^ digest)
}

/// A seed for [`named_rng`] drawn from `ids`: how a process seeds its jitter.
pub fn seed_from(ids: &dyn IdSource) -> u64 {
    let mut bytes = [0; 8];
    ids.random(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn uuid_v7(clock: &dyn Clock, random: &[u8; UUID_RANDOM]) -> Uuid {
    let millis = u64::try_from(clock.now().as_micros() / 1_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use writ_protocol::time::Timestamp;

    use super::*;
    use crate::clock::{ManualClock, SystemClock};

    fn standing_clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new(Timestamp::from_micros(1_790_000_000_123_456)))
    }

    #[test]
    fn ids_are_version_7_and_carry_the_clocks_millisecond() {
        let clock = standing_clock();
        let ids = SystemIds::new(Arc::clone(&clock) as Arc<dyn Clock>).expect("randomness");
        let id = ids.uuid();
        assert_eq!(id.get_version_num(), 7);
        let (secs, nanos) = id.get_timestamp().expect("version 7 has a time").to_unix();
        assert_eq!((secs, nanos / 1_000_000), (1_790_000_000, 123));
        clock.advance(Duration::from_millis(1));
        assert!(ids.uuid() > id, "a later millisecond sorts later");
    }

    #[test]
    fn system_ids_differ_within_one_millisecond() {
        let ids = SystemIds::new(standing_clock()).expect("randomness");
        let drawn: BTreeSet<Uuid> = (0..1_000).map(|_| ids.uuid()).collect();
        assert_eq!(drawn.len(), 1_000);
    }

    #[test]
    fn a_seed_and_a_name_repeat_and_another_name_does_not() {
        let draw = |seed, name: &str| {
            let ids = SeededIds::new(seed, name, standing_clock());
            [ids.uuid(), ids.uuid()]
        };
        assert_eq!(draw(7, "runs"), draw(7, "runs"));
        assert_ne!(draw(7, "runs"), draw(7, "orders"));
        assert_ne!(draw(7, "runs"), draw(8, "runs"));
    }

    #[test]
    fn a_clock_before_1970_still_gives_ids() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(-1)));
        assert_eq!(SeededIds::new(1, "early", clock).uuid().get_version_num(), 7);
    }

    #[test]
    fn seeds_come_from_the_source() {
        let ids = SystemIds::new(Arc::new(SystemClock)).expect("randomness");
        assert_ne!(seed_from(&ids), seed_from(&ids));
    }
}
