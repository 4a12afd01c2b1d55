//! Looks that somebody asked for. The ledger says when somebody did, in its signed answers to hellos, and says it again until it knows of a look since.
//! So each such time has everything looked at once, however often it is said, and looks are no more often than may be.

use std::time::Duration;

use writ_chassis::clock::BootInstant;
use writ_protocol::record::LookCause;
use writ_protocol::time::Timestamp;

use super::{Ask, Due, Now, Rules};

/// Shortest time between two looks at everything that somebody asked for.
pub(super) const ASKED_LOOKS_MIN: Duration = Duration::from_secs(5);
/// How often a look that was asked for is told of once more, where the ledger does not have it.
pub(super) const RETOLD_MAX: u32 = 5;
/// How far ahead of this clock the ledger's may be, to say by it when something was asked.
const AHEAD_MAX: Duration = Duration::from_secs(10);

/// A look that somebody asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// When, by the ledger's clock.
    since: Timestamp,
    /// When the looks were due.
    due_at: BootInstant,
    /// How often they were told of once more.
    retold: u32,
}

impl Rules {
    /// Has everything looked at once for each time at which somebody asked, and no more often than may be; a time that was answered is told of again.
    pub(super) fn ask(&mut self, since: Timestamp, now: Now) -> Option<Ask> {
        if self.asked.is_some_and(|asked| asked.since >= since) {
            if self.is_answer_owed() {
                return None;
            }
            let asked = self.asked.as_mut().filter(|asked| asked.retold < RETOLD_MAX)?;
            asked.retold += 1;
            for project in self.projects.values_mut() {
                project.hello_told = None;
            }
            return (!self.projects.is_empty()).then_some(Ask::Answer { is_repeated: true });
        }
        let next = self.asked.map(|last| last.due_at.plus(ASKED_LOOKS_MIN));
        let due_at = next.map_or(now.boot, |at| at.max(now.boot));
        self.asked = Some(Asked {
            since,
            due_at,
            retold: 0,
        });
        self.all_due(LookCause::Asked, Now { boot: due_at, ..now });
        None
    }

    /// Whether a look that somebody asked for is still to be.
    pub(super) fn is_answer_owed(&self) -> bool {
        let is_asked = |due: &Due| due.is_asked;
        self.looking.as_ref().is_some_and(|looking| looking.due.is_asked)
            || self
                .projects
                .values()
                .any(|p| p.due.as_ref().is_some_and(is_asked))
    }

    /// When a look that begins now began, by the ledger's clock: not before it was asked for, however the clocks differ.
    pub(super) fn began(&self, now: Now) -> Timestamp {
        let asked = self.asked.map(|asked| asked.since);
        let asked = asked.filter(|since| since.since(now.wall) <= AHEAD_MAX);
        asked.map_or(now.wall, |since| since.max(now.wall))
    }
}
