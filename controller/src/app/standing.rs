//! Whether a plan still stands: what was reviewed was a config, for certain hosts, under a policy. Where another policy rules by now, or the config
//! means other hosts, that review says nothing about what would be done, and the plan is refused. What its hosts look like the agents ask themselves.

use std::collections::BTreeMap;

use writ_plan::plan::Plan;
use writ_protocol::id::AgentId;
use writ_protocol::reason::Code;
use writ_store::{Tx, agent, run};

use super::{App, Error};

/// Most names of hosts that a refusal tells.
const NAMES_MAX: usize = 5;

/// What hosts that a config selects by now, and did not when it was planned, are to an apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Newcomers {
    /// A reason to plan again.
    #[default]
    Refuse,
    /// Nothing: it is carried out on the hosts of its plan.
    LeaveOut,
}

impl App {
    /// Refuses a plan that was made under another policy, or whose config means other hosts by now.
    ///
    /// # Errors
    /// W0172.
    pub(super) async fn still_stands(
        &self,
        tx: &mut Tx,
        (plan, bundle): (&Plan, &run::Bundle),
        newcomers: Newcomers,
    ) -> Result<(), Error> {
        let (Some(policy), Some(selector)) = (plan.policy_digest, &bundle.targets) else {
            return Err(outdated(
                "the plan is from before plans said under which policy and for whom they were made",
            ));
        };
        let present = self.signer.policy_digest();
        if policy != present {
            let (was, is) = (policy.short(), present.short());
            return Err(outdated(format!(
                "the trust policy changed since the plan was made ({is}, and it was {was})"
            )));
        }
        let mut planned: BTreeMap<AgentId, &str> = plan
            .hosts
            .iter()
            .map(|host| (host.agent_id, host.name.as_str()))
            .collect();
        let mut new = Vec::new();
        let selected = agent::targets(tx, selector).await?;
        for target in &selected {
            if planned.remove(&target.agent_id).is_none() {
                new.push(target.name.as_str());
            }
        }
        let gone: Vec<&str> = planned.into_values().collect();
        if !gone.is_empty() {
            return Err(outdated(format!(
                "the config's targets no longer select {}",
                listed(&gone)
            )));
        }
        if newcomers == Newcomers::Refuse && !new.is_empty() {
            return Err(outdated(format!(
                "the config's targets select {} now, which the plan did not look at",
                listed(&new)
            )));
        }
        Ok(())
    }
}

fn outdated(detail: impl Into<String>) -> Error {
    Error::new(Code::PlanOutdated, detail.into())
}

/// A few names, and how many more there are.
fn listed(names: &[&str]) -> String {
    let shown = names
        .iter()
        .take(NAMES_MAX)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_are_told_and_how_many_more() {
        assert_eq!(listed(&["a", "b"]), "a, b");
        assert_eq!(
            listed(&["a", "b", "c", "d", "e", "f", "g"]),
            "a, b, c, d, e and 2 more"
        );
    }
}
