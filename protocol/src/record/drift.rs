//! What an agent found when it held a host against the last plan that was applied there.
//!
//! Every record tells the whole of one project, so a reader that has the newest one needs none before it. It is written when the answer is another
//! than the last one; that a look found the same again is told by the [`Look`]s of the next hello.

use serde::{Deserialize, Serialize};

use super::Change;
use crate::digest::{Digest, Hasher};
use crate::id::{OrderId, RunId};
use crate::reason::Code;
use crate::time::Timestamp;

/// Most resources that one record names; the others are counted.
pub const DIFFERING_MAX: usize = 256;
/// Most bytes of all differences of one record, as they are encoded; what does not fit is counted.
pub const DIFFERING_BYTES_MAX: usize = 48 << 10;
/// Most projects that a hello tells of.
pub const LOOKS_MAX: usize = 32;

/// Why the host was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookCause {
    /// A plan was applied, and this is what it left.
    Applied,
    /// The agent started.
    Started,
    /// The interval was over.
    Interval,
    /// The kernel told of a change at something that the plan describes.
    Event,
    /// Somebody asked for a look at everything.
    Asked,
}

impl LookCause {
    /// Its name in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Started => "started",
            Self::Interval => "interval",
            Self::Event => "event",
            Self::Asked => "asked",
        }
    }
}

/// A resource that is not as the plan wants it, or that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The resource's id.
    pub resource: String,
    /// What should be and what is; empty where nobody could see.
    pub changes: Vec<Change>,
    /// Why nobody could see.
    pub unseen: Option<Unseen>,
}

/// Why a resource could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unseen {
    /// Why.
    pub code: Code,
    /// Why, in words.
    pub detail: String,
}

/// What a look at one project's resources found, when that is another answer than the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftSeen {
    /// The project.
    pub project: String,
    /// The order that applied the plan.
    pub order_id: OrderId,
    /// Its run.
    pub run_id: RunId,
    /// The bundle that it applied.
    pub bundle: Digest,
    /// Why the host was looked at.
    pub cause: LookCause,
    /// When the first resource of the look was looked at, by the corrected clock. An event looks at what it names; of the rest the last look counts.
    pub looked_at: Timestamp,
    /// When that which caused the look was noticed: the event where there was one, else [`Self::looked_at`].
    pub noticed_at: Timestamp,
    /// Resources that are looked at.
    pub watched: u32,
    /// Resources of the plan that no look can judge without running a program of the plan: commands without a path that they create.
    pub unwatched: u32,
    /// Those that differ now, in the plan's order; at most [`DIFFERING_MAX`].
    pub differing: Vec<Difference>,
    /// Differing ones that had no room above. Where there are any, nothing is known of the resources that are not named.
    pub left_out: u32,
}

/// That a project's resources were looked at, and what the answer was: the answer's own record came before, when it was first found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Look {
    /// The project.
    pub project: String,
    /// The order that applied the plan.
    pub order_id: OrderId,
    /// When all of it was last looked at, by the corrected clock.
    pub looked_at: Timestamp,
    /// [`digest`] of what differed.
    pub differing: Digest,
}

/// What begins the bytes of [`digest`], so that no other digest is one of these.
const DIFFERING: &[u8] = b"writ differing v1\n";

/// The digest of an answer: SHA-256 over every text of it with its length before it, and over [`DriftSeen::left_out`].
pub fn digest(differing: &[Difference], left_out: u32) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(DIFFERING);
    hasher.update(&left_out.to_be_bytes());
    let mut text = |words: &str| {
        hasher.update(&u64::try_from(words.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(words.as_bytes());
    };
    for one in differing {
        text(&one.resource);
        text(&one.changes.len().to_string());
        for change in &one.changes {
            text(&change.attribute);
            text(&change.want);
            text(&change.got);
        }
        match &one.unseen {
            None => text(""),
            Some(unseen) => {
                text(&unseen.code.to_string());
                text(&unseen.detail);
            }
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn differs(resource: &str, got: &str) -> Difference {
        Difference {
            resource: resource.into(),
            changes: vec![Change {
                attribute: "mode".into(),
                want: "0644".into(),
                got: got.into(),
            }],
            unseen: None,
        }
    }

    #[test]
    fn another_answer_has_another_digest() {
        let unseen = Difference {
            changes: Vec::new(),
            unseen: Some(Unseen {
                code: Code::Internal,
                detail: "no".into(),
            }),
            ..differs("file:/a", "")
        };
        let answers = [
            (vec![], 0),
            (vec![], 1),
            (vec![differs("file:/a", "0600")], 0),
            (vec![differs("file:/a", "0666")], 0),
            (vec![differs("file:/b", "0600")], 0),
            (vec![differs("file:/a", "0600"), differs("file:/b", "0600")], 0),
            (vec![differs("file:/b", "0600"), differs("file:/a", "0600")], 0),
            (vec![unseen], 0),
        ];
        let digests: BTreeSet<_> = answers.iter().map(|(all, left)| digest(all, *left)).collect();
        assert_eq!(digests.len(), answers.len());
        assert_eq!(digest(&[differs("file:/a", "0600")], 0), digest(&answers[2].0, 0));
    }
}
