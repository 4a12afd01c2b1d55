//! What a reviewer should look at twice, told from the resource and its change alone: the same labels for the same plan, everywhere.

use serde::{Deserialize, Serialize};
use writ_protocol::exec::Isolation;
use writ_protocol::graph::{Resource, Spec};
use writ_protocol::record::Change;

use super::Action;

/// One reason to look twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Something that is there will be gone, or have another thing in its place.
    Destroys,
    /// A service that runs is restarted or stopped.
    Restarts,
    /// A program of the author's choosing runs with the agent's rights, which on nearly every host are root's.
    RunsAsRoot,
    /// A command that nothing keeps from running at every apply.
    UnguardedCommand,
    /// A command that may reach out of the host.
    ReachesNetwork,
}

impl Risk {
    /// Every risk.
    pub const ALL: [Self; 5] = [
        Self::Destroys,
        Self::Restarts,
        Self::RunsAsRoot,
        Self::UnguardedCommand,
        Self::ReachesNetwork,
    ];

    /// The label that people read.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Destroys => "destroys",
            Self::Restarts => "restarts",
            Self::RunsAsRoot => "runs as root",
            Self::UnguardedCommand => "no guard",
            Self::ReachesNetwork => "reaches the network",
        }
    }
}

/// The risks of what would be done to a resource.
pub(super) fn of(resource: &Resource, action: Action, changes: &[Change]) -> Vec<Risk> {
    let mut risks = Vec::new();
    if action == Action::None {
        return risks;
    }
    let is_replaced = |change: &Change| change.attribute == "kind" && change.got != "absent";
    if action == Action::Delete || action == Action::Update && changes.iter().any(is_replaced) {
        risks.push(Risk::Destroys);
    }
    match &resource.spec {
        Spec::Service(_) => {
            let stops = |change: &Change| {
                change.attribute == "restart" || change.attribute == "running" && change.got == "yes"
            };
            if changes.iter().any(stops) {
                risks.push(Risk::Restarts);
            }
        }
        Spec::Command(command) => {
            if command.user.as_deref().is_none_or(|user| user == "root") {
                risks.push(Risk::RunsAsRoot);
            }
            let is_guarded = command.creates.is_some()
                || command.only_if.is_some()
                || command.unless.is_some()
                || command.only_when_notified;
            if !is_guarded {
                risks.push(Risk::UnguardedCommand);
            }
            // Without a wall the host's network is the step's.
            if !command.egress.is_empty() || command.isolation == Isolation::None {
                risks.push(Risk::ReachesNetwork);
            }
        }
        Spec::External(_) => risks.push(Risk::RunsAsRoot),
        Spec::File(_) | Spec::Package(_) | Spec::User(_) | Spec::Group(_) => {}
    }
    risks
}
