//! How soon each planted bug is found: the measure of the simulator itself.

use writ_protocol::planted::{Bug, choose};

use super::many::{Wanted, many};
use super::{Options, SPAN};

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

/// Within how many seeds, from the first on, a bug is found.
pub const fn within(bug: Bug) -> u64 {
    match bug {
        Bug::GapTaken | Bug::StrangerTaken | Bug::JournalIdKept | Bug::DamageCut => 4_000,
        _ => 2_000,
    }
}

/// Hunts one bug.
pub fn hunt(bug: Bug) -> Hunt {
    let wanted = Wanted {
        first: Options {
            span: SPAN,
            ..Options::of(1)
        },
        seeds: within(bug),
        until_failure: true,
        threads: 0,
    };
    let tally = many(&wanted, || choose(Some(bug)));
    let first = tally.failed.first();
    Hunt {
        bug,
        within: within(bug),
        found: first.and_then(|(seed, outcome)| Some((*seed, outcome.violations.first()?.rule))),
    }
}
