//! Which orders and agents a halt covers.

use std::collections::BTreeMap;

use writ_protocol::halt::Scope;
use writ_protocol::id::{AgentId, RunId};

/// The label that names an agent's environment.
pub const ENVIRONMENT_LABEL: &str = "env";

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The agent.
    pub agent_id: AgentId,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The order's run and project, when an order is asked about.
    pub order: Option<(RunId, &'a str)>,
}

/// Whether a halt of this scope stops the subject.
pub fn covers(scope: &Scope, subject: &Subject<'_>) -> bool {
    match scope {
        Scope::All => true,
        Scope::Agent(agent) => *agent == subject.agent_id,
        Scope::Environment(name) => subject.labels.get(ENVIRONMENT_LABEL) == Some(name),
        Scope::Project(name) => subject.order.is_some_and(|(_, project)| project == name),
        Scope::Run(run) => subject.order.is_some_and(|(id, _)| id == *run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_scope_covers_what_it_names_and_nothing_else() {
        let agent_id = AgentId::from_uuid(Uuid::from_u128(1));
        let run = RunId::from_uuid(Uuid::from_u128(2));
        let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
        let order = Subject {
            agent_id,
            labels: &labels,
            order: Some((run, "web")),
        };
        let idle = Subject { order: None, ..order };
        for (scope, of_order, of_agent) in [
            (Scope::All, true, true),
            (Scope::Agent(agent_id), true, true),
            (Scope::Agent(AgentId::from_uuid(Uuid::from_u128(9))), false, false),
            (Scope::Environment("prod".into()), true, true),
            (Scope::Environment("dev".into()), false, false),
            (Scope::Project("web".into()), true, false),
            (Scope::Project("db".into()), false, false),
            (Scope::Run(run), true, false),
        ] {
            assert_eq!(covers(&scope, &order), of_order, "{scope:?}");
            assert_eq!(covers(&scope, &idle), of_agent, "{scope:?}");
        }
    }
}
