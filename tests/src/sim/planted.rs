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

/// Hunts one bug through the seeds from 1 on. A seed that fails without the bug has not found it.
pub fn hunt(bug: Bug) -> Hunt {
    let within = within(bug);
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

/// Within how many seeds, from the first on, a bug must be found: about four times what was seen, for a simulator that will change.
pub const fn within(bug: Bug) -> u64 {
    match bug {
        Bug::DoneForgotten | Bug::HaltIgnored | Bug::OpenForgotten => 5_000,
        Bug::DamageCut | Bug::StrangerTaken | Bug::CloneUnseen | Bug::ReminderLost => 1_600,
        Bug::JournalIdKept | Bug::OnceRetried => 700,
        Bug::IntentUnsynced
        | Bug::HaltDroppedUnlifted
        | Bug::UnackedRemoved
        | Bug::FlushSkipped
        | Bug::GoneUnsaid
        | Bug::OrderOfArrival
        | Bug::IndeterminateHidden
        | Bug::LeaseUnguarded
        | Bug::EpochForgotten
        | Bug::DuplicateTrusted => 400,
        Bug::GenerationUnsynced
        | Bug::LeaseIgnored
        | Bug::GrantIgnored
        | Bug::ResendForgotten
        | Bug::GapTaken
        | Bug::DeadlineIgnored
        | Bug::LateWordLost
        | Bug::FlightForgotten
        | Bug::FailuresForgotten
        | Bug::MarkBeforeCommit => 100,
    }
}
