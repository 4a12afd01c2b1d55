//! Leases of orders: how long an agent may start new steps after its last word with the ledger, and when the ledger gives up waiting.

use std::time::Duration;

use writ_protocol::time::Timestamp;

/// Length of a lease unless the configuration says otherwise.
pub const LEASE: Duration = Duration::from_secs(180);
/// Shortest lease that can be configured: below it one lost hello would end work.
pub const LEASE_MIN: Duration = Duration::from_secs(2);
/// Longest lease that can be configured.
pub const LEASE_MAX: Duration = Duration::from_secs(3_600);

/// When an accepted order without further word becomes `unresolved`.
///
/// The agent stops starting steps one lease after the word it last had; the step that then runs may take as long as its own wall limit, and its
/// record needs a moment to arrive. Two leases cover the usual case; a record that comes later still counts.
pub fn give_up_at(heard_at: Timestamp, lease: Duration) -> Timestamp {
    heard_at.plus(lease).plus(lease)
}

/// The latest instant at which an agent out of reach may still start a step.
pub fn stops_by(heard_at: Timestamp, lease: Duration) -> Timestamp {
    heard_at.plus(lease)
}

/// The time that an agent needs to end a step's processes, and to look at its clock: a step of a wall limit that was started at the last moment
/// has ended by then.
const END_WITHIN: Duration = Duration::from_secs(10);

/// The latest instant at which a step that was started until `last_start` still runs, where its wall limit is `wall_ms`.
pub fn ends_by(last_start: Timestamp, wall_ms: u64) -> Timestamp {
    last_start.plus(Duration::from_millis(wall_ms)).plus(END_WITHIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_gives_up_after_the_agent_has_stopped() {
        let heard = Timestamp::from_millis(1_000);
        assert!(give_up_at(heard, LEASE) > stops_by(heard, LEASE));
    }

    #[test]
    fn an_agent_starts_nothing_after_a_lease_and_ends_what_it_started_within_its_wall() {
        let heard = Timestamp::from_millis(1_000);
        let last = stops_by(heard, Duration::from_secs(60));
        assert_eq!(last, Timestamp::from_millis(61_000));
        assert_eq!(
            ends_by(last, 5_000),
            Timestamp::from_millis(66_000).plus(END_WITHIN)
        );
    }
}
