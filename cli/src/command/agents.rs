//! `writ agent list|show|enroll|quarantine|release|rm`.

use super::Desk;
use crate::api::{Agent, NewJoinToken};
use crate::args;
use crate::exit::Exit;
use crate::output::table;

pub(crate) fn run(desk: &Desk, command: args::Agent) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    match command {
        args::Agent::List => {
            let agents = client.agents()?;
            desk.list(&agents, told)?;
        }
        args::Agent::Show { agent } => one(desk, &client.agent(&agent)?)?,
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
            one(desk, &client.change_agent(&agent, "quarantine", &reason)?)?;
        }
        args::Agent::Release { agent, reason } => {
            one(desk, &client.change_agent(&agent, "release", &reason)?)?;
        }
        args::Agent::Rm { agent, reason } => {
            client.remove_agent(&agent, &reason)?;
            desk.teller
                .say(&format!("{agent} is removed and its credentials are revoked"));
        }
    }
    Ok(Exit::Done)
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
