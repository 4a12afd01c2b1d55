//! What an environment's policy lets happen without a person. Nothing, unless somebody said so; and never more than it says.

use std::time::Duration;

use crate::drift::Class;

/// Over which the remediations of a policy are counted.
pub const RATE_SPAN: Duration = Duration::from_secs(3_600);
/// Over which those of one finding, and those that failed, are counted.
pub const AGAIN_SPAN: Duration = Duration::from_secs(24 * 3_600);
/// Most of one finding within [`AGAIN_SPAN`] without a person: something else undoes them.
pub const AGAIN_MAX: u32 = 3;

/// What becomes of drift in an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// It is told, and nothing else. So it is where nobody said anything.
    #[default]
    Audit,
    /// What would put it right is checked and proposed to people.
    Propose,
    /// It is put right within the bounds, and proposed beyond them.
    Autocorrect,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Audit, Self::Propose, Self::Autocorrect];

    /// Its name in the ledger and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Propose => "propose",
            Self::Autocorrect => "autocorrect",
        }
    }

    /// The mode of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What somebody said about an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of drift.
    pub mode: Mode,
    /// Most hosts of the environment that are worked on at once.
    pub hosts_at_once: u32,
    /// Most remediations within an hour that nobody asked for.
    pub per_hour: u32,
    /// So many that failed within a day stop it until somebody sets the policy again.
    pub failures_max: u32,
    /// Whether it was stopped.
    pub is_stopped: bool,
}

/// What is under way in an environment, and what was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Hosts that are worked on.
    pub hosts: u32,
    /// Remediations that nobody asked for, within [`RATE_SPAN`].
    pub within_hour: u32,
    /// Those that failed within [`AGAIN_SPAN`], since the policy was set.
    pub failed: u32,
}

/// What is known of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// What it is about.
    pub class: Class,
    /// Whether it comes and goes.
    pub is_flapping: bool,
    /// Remediations of it within [`AGAIN_SPAN`].
    pub times: u32,
}

/// Why something is left to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Held {
    /// Nobody said that it may.
    #[error("the environment's policy is to tell of drift only")]
    Audit,
    /// It was stopped.
    #[error("too many remediations failed; the policy must be set again")]
    Stopped,
    /// As many hosts are worked on as may be.
    #[error("as many hosts of the environment are worked on as may be at once")]
    Hosts,
    /// As many began as may within an hour.
    #[error("as many remediations began within the hour as may")]
    Rate,
    /// It comes back.
    #[error("the finding comes back after it was put right: something else changes it")]
    ComesBack,
    /// Nobody could see.
    #[error("what differs is not known")]
    Unseen,
    /// The mode asks people.
    #[error("the environment's policy is to propose")]
    Proposes,
    /// The check found changes of resources without a finding.
    #[error("resources would change that have no finding, or whose finding somebody accepted")]
    Beyond,
    /// A program of the plan would run.
    #[error("a command of the plan would run")]
    Command,
    /// Something would be removed.
    #[error("something that is there would be removed or replaced")]
    Destroys,
}

impl Held {
    /// Whether time lifts it, so that nobody needs to say yes.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Hosts | Self::Rate)
    }
}

/// Whether a remediation of a finding may begin without being asked for: to be checked, and proposed at least.
///
/// # Errors
/// [`Held`], the first that holds it.
pub fn may_begin(policy: &Policy, load: Load, finding: Past) -> Result<(), Held> {
    if policy.mode == Mode::Audit {
        return Err(Held::Audit);
    }
    if policy.is_stopped || load.failed >= policy.failures_max {
        return Err(Held::Stopped);
    }
    if finding.class == Class::Unknown {
        return Err(Held::Unseen);
    }
    if finding.is_flapping || finding.times >= AGAIN_MAX {
        return Err(Held::ComesBack);
    }
    within(policy, load)
}

fn within(policy: &Policy, load: Load) -> Result<(), Held> {
    if load.hosts >= policy.hosts_at_once {
        return Err(Held::Hosts);
    }
    if load.within_hour >= policy.per_hour {
        return Err(Held::Rate);
    }
    Ok(())
}

/// What a checked plan would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Changes of resources that are neither of its findings nor told by them that something changed.
    pub beyond: bool,
    /// Commands that would run.
    pub commands: bool,
    /// Things that would be gone, or have another thing in their place.
    pub destroys: bool,
}

/// Whether it may be carried out without a person, beside everything else that is under way: the bounds may have become narrower since it began.
///
/// # Errors
/// [`Held`], the first that holds it.
pub fn may_carry_out(policy: &Policy, load: Load, effect: Effect) -> Result<(), Held> {
    match policy.mode {
        Mode::Audit => return Err(Held::Audit),
        Mode::Propose => return Err(Held::Proposes),
        Mode::Autocorrect => {}
    }
    if policy.is_stopped || load.failed >= policy.failures_max {
        return Err(Held::Stopped);
    }
    if effect.beyond {
        return Err(Held::Beyond);
    }
    if effect.commands {
        return Err(Held::Command);
    }
    if effect.destroys {
        return Err(Held::Destroys);
    }
    within(policy, load)
}
