//! What is wanted here: the last plan of each project that was applied to its end, by name. The plans themselves come from the bundle cache or the
//! controller again, under the same signature.
//!
//! The file is written when nothing more urgent is to be done, so a crash may find it older than the journal. It says how far it goes, and what the
//! journal's frames behind that say was applied is added at the start.

use serde::{Deserialize, Serialize};
use writ_protocol::bundle::Bundle;
use writ_protocol::codec::{self, CodecError};
use writ_protocol::exec::RunMode;
use writ_protocol::id::{AgentId, JournalId, OrderId, RunId};
use writ_protocol::manifest::BundleRef;
use writ_protocol::record::drift::LOOKS_MAX;

/// Most projects whose plans are held to one host; an older one gives way to a newer one.
pub const DESIRED_MAX: usize = LOOKS_MAX;
/// Largest file read.
const FILE_BYTES_MAX: usize = 64 << 10;

/// A plan that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// Its project.
    pub project: String,
    /// The order that applied it.
    pub order_id: OrderId,
    /// That order's run.
    pub run_id: RunId,
    /// The bundle.
    pub bundle: BundleRef,
}

/// An order that the journal says was applied to its end; which project it is of, its bundle knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Sequence number of the record of its end.
    pub seq: u64,
    /// The order.
    pub order_id: OrderId,
    /// Its run.
    pub run_id: RunId,
    /// The bundle.
    pub bundle: BundleRef,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Whose host this was. Another agent on the same disk wants nothing of what this one wanted.
    pub agent_id: AgentId,
    /// The journal that `upto` counts in.
    pub journal_id: JournalId,
    /// Ends of orders up to this sequence number are part of it.
    pub upto: u64,
    /// One a project, the oldest first.
    pub desired: Vec<Desired>,
}

impl Kept {
    /// Nothing, as of a journal's beginning.
    pub const fn nothing(agent_id: AgentId, journal_id: JournalId) -> Self {
        Self {
            agent_id,
            journal_id,
            upto: 0,
            desired: Vec::new(),
        }
    }

    /// What a file says, as this agent and this journal may use it.
    ///
    /// # Errors
    /// [`CodecError`]: it is damaged.
    pub fn read(bytes: &[u8], agent_id: AgentId, journal_id: JournalId) -> Result<Self, CodecError> {
        let mut kept: Self = codec::from_msgpack("desired state", bytes, FILE_BYTES_MAX)?;
        if kept.agent_id != agent_id {
            return Ok(Self::nothing(agent_id, journal_id));
        }
        if kept.journal_id != journal_id {
            (kept.journal_id, kept.upto) = (journal_id, 0);
        }
        Ok(kept)
    }

    /// The file.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::to_msgpack("desired state", self)
    }

    /// Puts a plan in the place of the one of its project. Gives the project that had to give way, if one had to.
    pub fn put(&mut self, desired: Desired) -> Option<String> {
        self.desired.retain(|kept| kept.project != desired.project);
        self.desired.push(desired);
        (self.desired.len() > DESIRED_MAX).then(|| self.desired.remove(0).project)
    }
}

/// The plan of an applied bundle, where the host is to be held to it: the whole of a config, applied in earnest.
pub fn wanted(bundle: &Bundle, applied: &Applied) -> Option<Desired> {
    let graph = bundle.graph();
    (graph.selection.is_none() && graph.mode == RunMode::Strict).then(|| Desired {
        project: graph.project.clone(),
        order_id: applied.order_id,
        run_id: applied.run_id,
        bundle: applied.bundle,
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use writ_protocol::digest::Digest;

    use super::*;

    fn desired(project: &str) -> Desired {
        Desired {
            project: project.into(),
            order_id: OrderId::from_uuid(Uuid::from_u128(1)),
            run_id: RunId::from_uuid(Uuid::from_u128(2)),
            bundle: BundleRef {
                digest: Digest::of(project.as_bytes()),
                length: 7,
            },
        }
    }

    fn ids(n: u128) -> (AgentId, JournalId) {
        let id = Uuid::from_u128(n);
        (AgentId::from_uuid(id), JournalId::from_uuid(id))
    }

    #[test]
    fn each_project_has_its_last_plan_and_the_oldest_gives_way() {
        let (agent, journal) = ids(1);
        let mut kept = Kept::nothing(agent, journal);
        for n in 0..DESIRED_MAX {
            assert_eq!(kept.put(desired(&n.to_string())), None);
        }
        assert_eq!(kept.put(desired("0")), None, "again");
        assert_eq!(kept.put(desired("new")), Some("1".into()));
        assert_eq!(kept.desired.len(), DESIRED_MAX);
    }

    #[test]
    fn a_file_is_read_by_its_own_agent_and_counts_in_its_own_journal() {
        let (agent, journal) = ids(1);
        let (other_agent, other_journal) = ids(2);
        let mut kept = Kept::nothing(agent, journal);
        kept.put(desired("web"));
        kept.upto = 9;
        let bytes = kept.encode().expect("encodes");
        assert_eq!(Kept::read(&bytes, agent, journal).expect("reads"), kept);
        let after_loss = Kept::read(&bytes, agent, other_journal).expect("reads");
        assert_eq!((after_loss.upto, after_loss.desired.len()), (0, 1));
        let stranger = Kept::read(&bytes, other_agent, journal).expect("reads");
        assert_eq!(stranger, Kept::nothing(other_agent, journal));
        for cut in 0..bytes.len() {
            Kept::read(bytes.get(..cut).expect("cut"), agent, journal).expect_err("damaged");
        }
    }

    #[test]
    fn as_many_plans_as_may_be_have_room_in_the_file() {
        let (agent, journal) = ids(1);
        let mut kept = Kept::nothing(agent, journal);
        for n in 0..DESIRED_MAX {
            let mut name = n.to_string();
            name.push_str(&"p".repeat(writ_protocol::limits::NAME_BYTES_MAX - name.len()));
            kept.put(desired(&name));
        }
        assert!(kept.encode().expect("encodes").len() <= FILE_BYTES_MAX);
    }
}
