//! `writ agent list|show|enroll|quarantine|release|rm`.

use writ_protocol::reason::Code;

use super::Desk;
use crate::api::{Agent, Client, NewJoinToken};
use crate::args;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::nearest;
use crate::output::table;

pub(crate) fn run(desk: &Desk, command: args::Agent) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    match command {
        args::Agent::List => {
            let agents = client.agents()?;
            desk.list(&agents, told)?;
        }
        args::Agent::Show { agent } => one(desk, &known(&client, &agent, client.agent(&agent))?)?,
        args::Agent::Enroll { name, labels, ttl } => {
            let new = NewJoinToken {
                name,
                labels: labels.into_iter().collect(),
                ttl_seconds: ttl,
            };
            let token = client.create_join_token(&new)?;
            desk.teller.say("hand this to the host, once and in secret; there: writ-agent enroll --token FILE --state DIR");
            desk.printer
                .show(&serde_json::json!({ "token": token }), || token.clone())?;
        }
        args::Agent::Quarantine { agent, reason } => {
            let changed = client.change_agent(&agent, "quarantine", &reason);
            one(desk, &known(&client, &agent, changed)?)?;
        }
        args::Agent::Release { agent, reason } => {
            let changed = client.change_agent(&agent, "release", &reason);
            one(desk, &known(&client, &agent, changed)?)?;
        }
        args::Agent::Rm { agent, reason } => {
            let removed = known(&client, &agent, client.change_agent(&agent, "remove", &reason))?;
            desk.teller.say(&format!(
                "{agent} is removed for good: nothing of it is taken any more"
            ));
            one(desk, &removed)?;
        }
    }
    Ok(Exit::Done)
}

/// What was asked of an agent; where there is none of that name, the name that was probably meant.
fn known<T>(client: &Client, agent: &str, answer: anyhow::Result<T>) -> anyhow::Result<T> {
    answer.map_err(|error| {
        let unknown = Code::NotFound.to_string();
        let Some(fault) = error
            .downcast_ref::<Fault>()
            .filter(|f| f.code.as_ref() == Some(&unknown))
        else {
            return error;
        };
        let others = client.agents().unwrap_or_default();
        let meant = nearest::did_you_mean(agent, others.iter().map(|other| other.name.as_str()));
        let list = "`writ agent list` shows them all".to_owned();
        let help = meant.into_iter().chain([list]).collect::<Vec<_>>().join("\n");
        fault.clone().help(help).into()
    })
}

fn one(desk: &Desk, agent: &Agent) -> anyhow::Result<()> {
    desk.printer.show(agent, || told(std::slice::from_ref(agent)))
}

fn told(agents: &[Agent]) -> String {
    let rows = agents.iter().map(|agent| {
        let labels: Vec<String> = agent
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let seen = agent.last_seen.clone().unwrap_or_else(|| "never".to_owned());
        [
            agent.name.clone(),
            agent.state.clone(),
            seen,
            labels.join(","),
            agent.id.clone(),
        ]
    });
    table(["name", "state", "last seen", "labels", "id"], rows)
}
