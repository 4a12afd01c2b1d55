//! `writ halt`: stopping takes one, going on takes two: the operator's signature is made here, with a key that never leaves this machine.

use serde_json::{Value, json};
use writ_protocol::id::HaltId;

use super::Desk;
use crate::api::{Client, Halt, HaltStatus};
use crate::args;
use crate::dev::trust::load_key;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::table;

pub(crate) fn run(desk: &Desk, args: &args::Halt) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    let reason = args.reason.as_deref().unwrap_or_default();
    if let Some(id) = &args.release {
        release(desk, &client, id, args)?;
    } else if let Some(scope) = &args.scope {
        let action = if args.lockdown {
            "lockdown"
        } else if args.hard {
            "hard"
        } else {
            "soft"
        };
        let set = client.set_halt(&scope_of(&client, scope)?, action, reason)?;
        let set = with_progress(&client, vec![set])?;
        desk.list(&set, told)?;
    } else {
        desk.list(&with_progress(&client, client.halts()?)?, told)?;
    }
    Ok(Exit::Done)
}

fn release(desk: &Desk, client: &Client, id: &str, args: &args::Halt) -> anyhow::Result<()> {
    let halt_id: HaltId = id
        .parse()
        .map_err(|error| Fault::new(Exit::Usage, format!("{error}")))?;
    let key = match args
        .key
        .clone()
        .map_or_else(|| desk.context().map(|c| c.operator_key), |key| Ok(Some(key)))?
    {
        Some(path) => load_key(&path)?,
        None => {
            return Err(Fault::new(Exit::Usage, "lifting a halt needs your signing key")
                .help("name its file with --key, or as operator_key in the context")
                .into());
        }
    };
    let reason = args.reason.as_deref().unwrap_or_default();
    let lifted = client.lift_halt(halt_id, reason, &key)?;
    one(desk, &lifted)
}

/// The scope of a halt as the protocol says it.
fn scope_of(client: &Client, text: &str) -> anyhow::Result<Value> {
    let wrong = || {
        Fault::new(Exit::Usage, format!("{text:?} is no scope"))
            .help("one of: all, project:NAME, env:NAME, run:ID, agent:NAME")
    };
    if text == "all" {
        return Ok(json!("all"));
    }
    let (kind, name) = text
        .split_once(':')
        .filter(|(_, name)| !name.is_empty())
        .ok_or_else(wrong)?;
    Ok(match kind {
        "project" => json!({ "project": name }),
        "env" | "environment" => json!({ "environment": name }),
        "run" => json!({ "run": name }),
        "agent" => json!({ "agent": client.agent(name)?.id }),
        _ => return Err(wrong().into()),
    })
}

fn one(desk: &Desk, halt: &Halt) -> anyhow::Result<()> {
    desk.printer.show(halt, || told(std::slice::from_ref(halt)))
}

/// Halts in force, with how far they have come.
fn with_progress(client: &Client, mut halts: Vec<Halt>) -> anyhow::Result<Vec<Halt>> {
    for halt in halts.iter_mut().filter(|halt| halt.state == "set") {
        let status = client.halt_status(&halt.id)?;
        halt.rest
            .insert("progress".to_owned(), serde_json::to_value(status)?);
    }
    Ok(halts)
}

/// The progress of a halt for people: how many stopped, how many are not heard, and by when all have stopped.
fn progress(halt: &Halt) -> String {
    let status = halt.rest.get("progress").cloned();
    let Some(status) = status.and_then(|value| serde_json::from_value::<HaltStatus>(value).ok()) else {
        return "-".to_owned();
    };
    let latest = match &status.all_stopped_by {
        Some(at) => format!(" · all stopped at the latest by {at}"),
        None => String::new(),
    };
    let some = |count: u64, what: &str| match count {
        0 => String::new(),
        count => format!(" · {what} {count}"),
    };
    let open = some(status.ending, "ending") + &some(status.pending, "pending");
    let HaltStatus {
        stopped, unreachable, ..
    } = status;
    format!("stopped {stopped}{open} · unreachable {unreachable}{latest}")
}

fn told(halts: &[Halt]) -> String {
    let rows = halts.iter().map(|halt| {
        let scope = halt
            .scope
            .as_str()
            .map_or_else(|| halt.scope.to_string(), str::to_owned);
        [
            halt.id.clone(),
            halt.state.clone(),
            halt.action.clone(),
            progress(halt),
            scope,
            halt.reason.clone(),
        ]
    });
    table(["halt", "state", "action", "progress", "scope", "reason"], rows)
}

#[cfg(test)]
mod tests {
    use writ_protocol::halt;

    use super::*;

    #[test]
    fn scopes_are_those_of_the_protocol() {
        let client = Client::new("http://127.0.0.1:9", "t").unwrap();
        let read =
            |text: &str| serde_json::from_value::<halt::Scope>(scope_of(&client, text).unwrap()).unwrap();
        assert_eq!(read("all"), halt::Scope::All);
        assert_eq!(read("env:prod"), halt::Scope::Environment("prod".into()));
        assert_eq!(read("project:web"), halt::Scope::Project("web".into()));
        assert!(matches!(
            read("run:run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b"),
            halt::Scope::Run(_)
        ));
        for wrong in ["", "everything", "env:", "host:x"] {
            assert_eq!(
                crate::fault::exit(&scope_of(&client, wrong).unwrap_err()),
                Exit::Usage,
                "{wrong}"
            );
        }
    }
}
