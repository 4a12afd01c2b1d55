//! How soon each planted bug is found: the measure of the simulator itself.

use writ_protocol::planted::{Bug, choose};

use super::many::{Wanted, many};
use super::{Options, run};

/// What came of the hunt for one bug.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub bug: Bug,
    /// Within how many seeds it must be found.
    pub within: u64,
    /// The first seed that found it, and the invariant that broke; none when it was missed.
    pub found: Option<(u64, &'static str)>,
}

/// Seeds that are spent on a bug that none is known to find, where it is asked for by name.
pub const UNKNOWN: u64 = 4_000;

/// Hunts one bug through the seeds from 1 on. A seed that fails without the bug has not found it.
pub fn hunt(bug: Bug) -> Hunt {
    let within = within(bug).unwrap_or(UNKNOWN);
    let mut hunt = Hunt {
        bug,
        within,
        found: None,
    };
    let mut from = 1;
    while hunt.found.is_none() && from <= within {
        let wanted = Wanted {
            first: Options::of(from),
            seeds: within - from + 1,
            until_failure: true,
            within: None,
            threads: 0,
        };
        let tally = many(&wanted, || choose(Some(bug)));
        let Some((seed, outcome)) = tally.failed.first() else {
            break;
        };
        choose(None);
        let is_sound = run(&Options::of(*seed)).is_ok_and(|without| without.violations.is_empty());
        let rule = outcome.violations.first().map(|violation| violation.rule);
        hunt.found = rule.filter(|_| is_sound).map(|rule| (*seed, rule));
        from = seed + 1;
    }
    hunt
}

/// Within how many seeds, from the first on, a bug must be found: about four times what was seen, for a simulator that will change. None for
/// a bug that no seed is known to find.
pub const fn within(bug: Bug) -> Option<u64> {
    match bug {
        // Nobody is away for long enough, and then back with the end of an order that was given up.
        Bug::LateWordLost => None,
        Bug::DoneForgotten | Bug::HaltIgnored | Bug::OpenForgotten => Some(3_000),
        Bug::DamageCut | Bug::StrangerTaken => Some(1_600),
        Bug::JournalIdKept | Bug::CloneUnseen => Some(700),
        Bug::IntentUnsynced
        | Bug::UnackedRemoved
        | Bug::GoneUnsaid
        | Bug::OrderOfArrival
        | Bug::OnceRetried
        | Bug::IndeterminateHidden
        | Bug::LeaseUnguarded
        | Bug::EpochForgotten
        | Bug::DuplicateTrusted => Some(400),
        Bug::GenerationUnsynced
        | Bug::FlushSkipped
        | Bug::LeaseIgnored
        | Bug::GrantIgnored
        | Bug::ResendForgotten
        | Bug::GapTaken
        | Bug::DeadlineIgnored
        | Bug::MarkBeforeCommit => Some(100),
    }
}
