//! One identity, one process: how two processes with one identity are told from one that was started again.
//!
//! An agent counts its starts on its disk. A new session with a higher incarnation is a restart. A session that speaks with an incarnation that
//! another session has used, or a lower one, is a second process: a cloned disk, or one restored from an old copy.

use writ_protocol::id::{JournalId, SessionId};

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

/// What a hello means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The known process goes on.
    Same,
    /// The first hello, or a restart: this session is now the known one.
    New,
    /// Two processes share the identity.
    Clone,
}

/// Compares a hello's session with the known one.
pub fn judge(known: Option<&Session>, hello: &Session) -> Verdict {
    #[cfg(feature = "planted")]
    if writ_protocol::planted::is(writ_protocol::planted::Bug::CloneUnseen) {
        return Verdict::New;
    }
    match known {
        None => Verdict::New,
        Some(known) if known == hello => Verdict::Same,
        // One process keeps its journal and its count of starts for life.
        Some(known) if known.session_id == hello.session_id => Verdict::Clone,
        Some(known) if hello.incarnation > known.incarnation => Verdict::New,
        Some(_) => Verdict::Clone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn session(id: u128, journal: u128, incarnation: u64) -> Session {
        let (session_id, journal_id) = (
            SessionId::from_uuid(Uuid::from_u128(id)),
            JournalId::from_uuid(Uuid::from_u128(journal)),
        );
        Session {
            session_id,
            journal_id,
            incarnation,
        }
    }

    #[test]
    fn restarts_are_new_and_second_speakers_are_clones() {
        let known = session(1, 1, 5);
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
}
