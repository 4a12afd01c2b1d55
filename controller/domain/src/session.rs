//! One identity, one process: how two processes with one identity are told from one that was started again.
//!
//! An agent counts its starts on its disk. A new session with a higher incarnation is a restart. A session that speaks with an incarnation that
//! another session has used, or a lower one, is a second process: a cloned disk, or one restored from an old copy. Only words that came before the
//! known process was heard are none: the last word of a former life can wait in a controller that cannot reach its ledger, and be read after the
//! first of the next. A second process that lives speaks again.

use writ_protocol::id::{JournalId, SessionId};
use writ_protocol::time::Timestamp;

/// A life of an agent's process, as hellos show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub session_id: SessionId,
    /// The journal it writes.
    pub journal_id: JournalId,
    /// How often the agent had started.
    pub incarnation: u64,
}

/// A session that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which.
    pub session: Session,
    /// When a controller took its last hello from the bus.
    pub at: Timestamp,
}

/// What a hello means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The known process goes on.
    Same,
    /// The first hello, or a restart: this session is now the known one.
    New,
    /// A word of a former life that was read late; it means nothing any more.
    Echo,
    /// Two processes share the identity.
    Clone,
}

/// Compares a hello's session, and when a controller took it from the bus, with the known one.
pub fn judge(known: Option<&Heard>, hello: &Heard) -> Verdict {
    #[cfg(feature = "planted")]
    if writ_protocol::planted::is(writ_protocol::planted::Bug::CloneUnseen) {
        return Verdict::New;
    }
    let Some(known) = known else {
        return Verdict::New;
    };
    let (before, said) = (&known.session, &hello.session);
    if before == said {
        Verdict::Same
    } else if before.session_id == said.session_id {
        // One process keeps its journal and its count of starts for life.
        Verdict::Clone
    } else if said.incarnation > before.incarnation {
        Verdict::New
    } else if said.incarnation < before.incarnation && hello.at < known.at {
        Verdict::Echo
    } else {
        Verdict::Clone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn heard(id: u128, journal: u128, incarnation: u64, at: i64) -> Heard {
        let (session_id, journal_id) = (
            SessionId::from_uuid(Uuid::from_u128(id)),
            JournalId::from_uuid(Uuid::from_u128(journal)),
        );
        let session = Session {
            session_id,
            journal_id,
            incarnation,
        };
        Heard {
            session,
            at: Timestamp::from_micros(at),
        }
    }

    #[test]
    fn restarts_are_new_and_second_speakers_are_clones() {
        let known = heard(1, 1, 5, 10);
        let session = |id, journal, incarnation| heard(id, journal, incarnation, 10);
        assert_eq!(judge(None, &known), Verdict::New);
        assert_eq!(judge(Some(&known), &known), Verdict::Same);
        assert_eq!(judge(Some(&known), &session(2, 1, 6)), Verdict::New);
        assert_eq!(
            judge(Some(&known), &session(2, 9, 6)),
            Verdict::New,
            "a restart may begin a new journal"
        );
        assert_eq!(
            judge(Some(&known), &session(2, 1, 5)),
            Verdict::Clone,
            "both copies started once"
        );
        assert_eq!(
            judge(Some(&known), &session(2, 1, 4)),
            Verdict::Clone,
            "the original goes on beside its copy"
        );
        assert_eq!(judge(Some(&known), &session(1, 2, 5)), Verdict::Clone);
    }

    #[test]
    fn a_word_of_a_former_life_that_was_read_late_is_an_echo() {
        let known = heard(2, 1, 6, 10);
        assert_eq!(judge(Some(&known), &heard(1, 1, 5, 9)), Verdict::Echo);
        assert_eq!(
            judge(Some(&known), &heard(1, 1, 5, 10)),
            Verdict::Clone,
            "it spoke after it should have ended"
        );
        assert_eq!(
            judge(Some(&known), &heard(3, 1, 6, 9)),
            Verdict::Clone,
            "no life shares its number with another"
        );
        assert_eq!(judge(Some(&known), &heard(2, 9, 6, 9)), Verdict::Clone);
        assert_eq!(judge(Some(&known), &heard(3, 1, 7, 9)), Verdict::New);
        assert_eq!(judge(Some(&known), &heard(2, 1, 6, 9)), Verdict::Same);
    }
}
