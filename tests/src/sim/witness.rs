//! Who watches while it happens: every start of a step, every word that was signed, and everything that must not be.

use std::collections::{BTreeMap, BTreeSet};

use writ_protocol::digest::Digest;
use writ_protocol::id::{AgentId, HaltId, JournalId, OrderId};
use writ_protocol::manifest::{Generation, Manifest};

/// Something that must not have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant, as `docs/reliability.md` names it.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
}

/// Most violations kept of one run.
const VIOLATIONS_MAX: usize = 16;

/// A word of a controller to an agent: what its delivery allows the agent to do.
#[derive(Clone, Debug, Default)]
pub struct Word {
    /// Orders and their leases, milliseconds.
    pub leases: Vec<(OrderId, u64)>,
}

/// A manifest that a controller signed.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Whose.
    pub agent_id: AgentId,
    /// Where it stands.
    pub at: Generation,
    /// What it orders.
    pub orders: BTreeSet<OrderId>,
}

/// Numbers for the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Steps that were started.
    pub starts: u64,
    /// Starts and restarts of agents.
    pub lives: u64,
    /// Frames that were committed.
    pub frames: u64,
    /// Orders of rollouts that were given to their agents.
    pub released: u64,
}

/// The watcher.
#[derive(Debug)]
pub struct Witness {
    violations: Vec<Violation>,
    once: BTreeMap<(AgentId, OrderId, String), u32>,
    words: BTreeMap<u64, Word>,
    signed: BTreeMap<Digest, Signed>,
    have: BTreeMap<AgentId, Generation>,
    /// The most that any life of the ledger had of a journal.
    committed: BTreeMap<(AgentId, JournalId), u64>,
    exempt: BTreeSet<AgentId>,
    is_calm: bool,
    /// Lifts that were signed: of which halt, and the control epoch that each began.
    lifted: BTreeSet<(HaltId, u64)>,
    drops_halts: bool,
    /// What happened how often.
    pub counts: Counts,
}

impl Default for Witness {
    fn default() -> Self {
        Self {
            violations: Vec::new(),
            once: BTreeMap::new(),
            words: BTreeMap::new(),
            signed: BTreeMap::new(),
            have: BTreeMap::new(),
            committed: BTreeMap::new(),
            exempt: BTreeSet::new(),
            is_calm: true,
            lifted: BTreeSet::new(),
            drops_halts: false,
            counts: Counts::default(),
        }
    }
}

impl Witness {
    /// Something must not have happened.
    pub fn accuse(&mut self, rule: &'static str, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { rule, what });
        }
    }

    /// What must not have happened.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The agent's disk was copied or put back: what rests on there being one of it is promised no more.
    pub fn exempt(&mut self, agent_id: AgentId) {
        self.exempt.insert(agent_id);
    }

    /// Whether nothing was broken so far but identities copied.
    pub const fn is_calm(&self) -> bool {
        self.is_calm
    }

    /// Something was broken.
    pub const fn disturb(&mut self) {
        self.is_calm = false;
    }

    /// A lift is signed.
    pub fn lifts(&mut self, halt_id: HaltId, control_epoch: u64) {
        self.lifted.insert((halt_id, control_epoch));
    }

    /// Whether anybody signed a lift of a halt that begins this control epoch.
    pub fn is_lifted(&self, halt_id: HaltId, control_epoch: u64) -> bool {
        self.lifted.contains(&(halt_id, control_epoch))
    }

    /// From here on, or no longer, who holds the director's key leaves the halts out of what is signed with it.
    pub const fn drop_halts(&mut self, drops: bool) {
        self.drops_halts = drops;
    }

    /// Whether the director leaves halts out.
    pub const fn drops_halts(&self) -> bool {
        self.drops_halts
    }

    /// Whether the agent was copied or put back.
    pub fn is_exempt(&self, agent_id: AgentId) -> bool {
        self.exempt.contains(&agent_id)
    }

    /// A `once` step starts; how often it did before.
    pub fn starts_once(&mut self, agent_id: AgentId, order_id: OrderId, step: &str) -> u32 {
        let count = self
            .once
            .entry((agent_id, order_id, step.to_owned()))
            .or_default();
        *count += 1;
        *count - 1
    }

    /// A controller says something to an agent.
    pub fn speak(&mut self, bytes: &[u8], word: Word) {
        self.words.insert(fingerprint(bytes), word);
    }

    /// What bytes say, if a controller said them.
    pub fn heard(&self, bytes: &[u8]) -> Word {
        self.words.get(&fingerprint(bytes)).cloned().unwrap_or_default()
    }

    /// A controller signs a manifest.
    pub fn signs(&mut self, digest: Digest, manifest: &Manifest) {
        if manifest.quarantined && !manifest.orders.is_empty() {
            self.accuse(
                "I9",
                format!("a manifest orders {} in quarantine", manifest.agent_id),
            );
        }
        let signed = Signed {
            agent_id: manifest.agent_id,
            at: manifest.at,
            orders: manifest.orders.iter().map(|o| o.order_id).collect(),
        };
        self.signed.insert(digest, signed);
    }

    /// The manifest of a digest, if a controller signed it.
    pub fn signed(&self, digest: &Digest) -> Option<&Signed> {
        self.signed.get(digest)
    }

    /// A transaction takes a frame.
    pub fn commits(&mut self, journal: (AgentId, JournalId), seq: u64) {
        let most = self.committed.entry(journal).or_default();
        *most = seq.max(*most);
    }

    /// The most that any life of the ledger had of a journal.
    pub fn committed(&self, journal: (AgentId, JournalId)) -> u64 {
        self.committed.get(&journal).copied().unwrap_or(0)
    }

    /// A hello says how far an agent is: never back.
    pub fn hello(&mut self, agent_id: AgentId, have: Generation) {
        let before = self.have.entry(agent_id).or_default();
        let (was, is_exempt) = (*before, self.exempt.contains(&agent_id));
        *before = was.max(have);
        if have < was && !is_exempt {
            self.accuse("I4", format!("{agent_id} had {was:?} and now has {have:?}"));
        }
    }
}

fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
