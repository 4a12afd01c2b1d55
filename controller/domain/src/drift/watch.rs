//! How long an answer about a host is believed: an agent looks at everything once per interval and tells so with its hellos; one that has been silent
//! for longer may have seen anything meanwhile.

use std::time::Duration;

use writ_protocol::time::Timestamp;

/// An answer that is older says nothing of how the host is now: five times the interval at which agents look
/// where nobody says otherwise.
pub const BELIEVED_FOR: Duration = Duration::from_secs(15 * 60);

/// How a host stands to a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// All that is watched was as it should be at the last look.
    Clean,
    /// Something differs.
    Differs,
    /// The last look is too old, did not see everything, or could not name everything.
    Unknown,
}

impl Standing {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Differs => "differs",
            Self::Unknown => "unknown",
        }
    }
}

/// How a host stands, by when it was looked at, how many differences are known there, and how many resources nobody could see or name.
pub fn standing(looked_at: Timestamp, differing: u64, unseen: u64, now: Timestamp) -> Standing {
    if now.since(looked_at) > BELIEVED_FOR {
        Standing::Unknown
    } else if differing > 0 {
        Standing::Differs
    } else if unseen > 0 {
        Standing::Unknown
    } else {
        Standing::Clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_seen_lately_is_never_clean() {
        let at = Timestamp::from_millis(1_000_000_000);
        let late = at.plus(BELIEVED_FOR).plus(Duration::from_millis(1));
        for (differing, unseen, now, wanted) in [
            (0, 0, at, Standing::Clean),
            (0, 0, at.plus(BELIEVED_FOR), Standing::Clean),
            (0, 0, late, Standing::Unknown),
            (1, 0, late, Standing::Unknown),
            (1, 1, at, Standing::Differs),
            (0, 1, at, Standing::Unknown),
            // A clock that stands before the look.
            (0, 0, at.minus(BELIEVED_FOR), Standing::Clean),
        ] {
            assert_eq!(
                standing(at, differing, unseen, now),
                wanted,
                "{differing} {unseen} {now}"
            );
        }
    }
}
