//! Which orders and agents a halt covers, and which changes a lockdown forbids.

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

/// What somebody wants to change.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Something that is the whole tenant's: a token, the tenant's budget.
    Tenant,
    /// Something of a project: its budget, a schedule of its plans.
    Project(&'a str),
    /// An agent, or one to be.
    Agent {
        /// Which; none for one that does not exist yet.
        agent_id: Option<AgentId>,
        /// Labels that it has, and those that it is to have.
        labels: &'a [&'a BTreeMap<String, String>],
    },
    /// Orders.
    Run {
        /// The project.
        project: &'a str,
        /// The run that they go on with.
        continues: Option<RunId>,
        /// Who is to carry them out, with their labels.
        targets: &'a [(AgentId, BTreeMap<String, String>)],
    },
}

/// Whether a lockdown of this scope forbids the change.
pub fn locks(scope: &Scope, change: &Change<'_>) -> bool {
    let is_there =
        |labels: &BTreeMap<String, String>, name: &String| labels.get(ENVIRONMENT_LABEL) == Some(name);
    match (scope, change) {
        (Scope::All, _) => true,
        (Scope::Project(name), Change::Project(project) | Change::Run { project, .. }) => name == project,
        (Scope::Run(run), Change::Run { continues, .. }) => *continues == Some(*run),
        (Scope::Agent(agent), Change::Agent { agent_id, .. }) => *agent_id == Some(*agent),
        (Scope::Agent(agent), Change::Run { targets, .. }) => targets.iter().any(|(id, _)| id == agent),
        (Scope::Environment(name), Change::Agent { labels, .. }) => {
            labels.iter().any(|labels| is_there(labels, name))
        }
        (Scope::Environment(name), Change::Run { targets, .. }) => {
            targets.iter().any(|(_, labels)| is_there(labels, name))
        }
        (Scope::Project(_), Change::Tenant | Change::Agent { .. })
        | (Scope::Run(_) | Scope::Agent(_) | Scope::Environment(_), Change::Tenant | Change::Project(_))
        | (Scope::Run(_), Change::Agent { .. }) => false,
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

    #[test]
    fn a_lockdown_forbids_every_change_in_its_scope_and_no_other() {
        let (one, two) = (
            AgentId::from_uuid(Uuid::from_u128(1)),
            AgentId::from_uuid(Uuid::from_u128(2)),
        );
        let run = RunId::from_uuid(Uuid::from_u128(3));
        let label = |value: &str| BTreeMap::from([("env".to_owned(), value.to_owned())]);
        let (prod, dev) = (label("prod"), label("dev"));
        let targets = [(one, prod.clone()), (two, dev.clone())];
        let order = |project, continues, targets| Change::Run {
            project,
            continues,
            targets,
        };
        let agent = |agent_id, labels| Change::Agent { agent_id, labels };
        let (in_prod, moving, in_dev) = ([&prod], [&dev, &prod], [&dev]);
        let changes = [
            Change::Tenant,
            Change::Project("web"),
            Change::Project("db"),
            agent(Some(one), &in_prod),
            agent(Some(two), &moving),
            agent(None, &in_dev),
            order("web", None, &targets),
            order("db", Some(run), &targets[1..]),
        ];
        let forbidden = |scope: Scope| changes.each_ref().map(|change| locks(&scope, change));
        let (yes, no) = (true, false);
        for (scope, wanted) in [
            (Scope::All, [yes; 8]),
            (Scope::Project("web".into()), [no, yes, no, no, no, no, yes, no]),
            (Scope::Project("x".into()), [no; 8]),
            (Scope::Run(run), [no, no, no, no, no, no, no, yes]),
            (Scope::Run(RunId::from_uuid(Uuid::from_u128(9))), [no; 8]),
            (Scope::Agent(one), [no, no, no, yes, no, no, yes, no]),
            (Scope::Agent(two), [no, no, no, no, yes, no, yes, yes]),
            (
                Scope::Environment("prod".into()),
                [no, no, no, yes, yes, no, yes, no],
            ),
            (
                Scope::Environment("dev".into()),
                [no, no, no, no, yes, yes, yes, yes],
            ),
            (Scope::Environment("x".into()), [no; 8]),
        ] {
            assert_eq!(forbidden(scope.clone()), wanted, "{scope:?}");
        }
    }
}
