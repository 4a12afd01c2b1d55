//! `writ run PATH` and `writ run PATH --ssh HOSTS`, told apart from `writ run list|show|watch|logs|resume|cancel`.

use std::time::Duration;

use super::plans::{failed, summary};
use super::{Desk, here, ssh};
use crate::api::{Artefact, Run, Step};
use crate::args;
use crate::clock;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::output::{money, table};
use crate::tail::{self, Tail, Wanted};
use crate::watch::Watch;

pub(crate) fn run(desk: &Desk, args: args::Run) -> anyhow::Result<Exit> {
    match args.command {
        Some(command) => of_fleet(desk, command),
        None if args.here.ssh.is_meant() => ssh::run(desk, &args.here),
        None => here::run(desk, &args.here),
    }
}

fn of_fleet(desk: &Desk, command: args::RunCommand) -> anyhow::Result<Exit> {
    match command {
        args::RunCommand::List { limit } => list(desk, limit),
        args::RunCommand::Show { run } => show(desk, &run),
        args::RunCommand::Watch { run, patience } => watch(desk, &run, Duration::from_secs(patience.timeout)),
        args::RunCommand::Logs {
            run,
            host,
            step,
            since,
            follow,
        } => {
            let since = since.map(|since| since.instant(clock::now()));
            logs(desk, &run, Wanted { host, step, since }, follow)
        }
        args::RunCommand::Resume {
            run,
            budget,
            no_wait,
            patience,
        } => {
            let next = desk.client()?.resume_run(&run, budget)?;
            desk.teller.say(&format!("{} continues {run}", next.id));
            if no_wait {
                desk.printer.show(&next, || summary(&next))?;
                return Ok(Exit::Done);
            }
            watch(desk, &next.id, Duration::from_secs(patience.timeout))
        }
        args::RunCommand::Cancel { run, reason } => {
            let run = desk.client()?.cancel_run(&run, &reason)?;
            desk.printer.show(&run, || summary(&run))?;
            Ok(Exit::Done)
        }
    }
}

fn list(desk: &Desk, limit: usize) -> anyhow::Result<Exit> {
    let runs = desk.client()?.runs(limit)?;
    desk.list(&runs, |runs| {
        let rows = runs.iter().map(|run| {
            let at = run.created_at.clone().unwrap_or_default();
            [run.id.clone(), run.kind.clone(), run.state.clone(), at, cost(run)]
        });
        table(["run", "kind", "state", "ordered at", "cost"], rows)
    })?;
    Ok(Exit::Done)
}

fn cost(run: &Run) -> String {
    money(run.cost_micros, run.currency.as_deref().unwrap_or_default())
}

fn show(desk: &Desk, id: &str) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    let (run, steps, artefacts) = (client.run(id)?, client.steps(id)?, client.artefacts(id)?);
    let value = serde_json::json!({ "run": run, "steps": steps, "artefacts": artefacts });
    desk.printer.show(&value, || told(&run, &steps, &artefacts))?;
    Ok(Exit::Done)
}

/// A run with its hosts, the steps worth reading, and its artefacts.
pub(crate) fn told(run: &Run, steps: &[Step], artefacts: &[Artefact]) -> String {
    let words =
        |texts: [Option<&String>; 2]| texts.into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
    let orders = run.orders.iter().map(|order| {
        [
            order.agent_name.clone(),
            order.state.clone(),
            words([order.code.as_ref(), order.detail.as_ref()]),
        ]
    });
    let worth = steps
        .iter()
        .filter(|step| step.outcome != "unchanged")
        .map(|step| {
            let cost = money(step.cost_micros, run.currency.as_deref().unwrap_or_default());
            let reason = words([step.code.as_ref(), step.detail.as_ref()]);
            [
                step.agent_name.clone(),
                step.step.clone(),
                step.outcome.clone(),
                cost,
                reason,
            ]
        });
    let reached = steps.iter().flat_map(|step| {
        step.connections().into_iter().map(|connection| {
            let decision = if connection.allowed { "allowed" } else { "refused" };
            [
                step.agent_name.clone(),
                step.step.clone(),
                format!("{}:{}", connection.host, connection.port),
                decision.to_owned(),
                connection.times.to_string(),
                connection.sent_bytes.to_string(),
                connection.received_bytes.to_string(),
                connection.reason,
            ]
        })
    });
    let files = artefacts.iter().map(|file| {
        [
            file.agent_name.clone(),
            file.path.clone(),
            file.length.to_string(),
            file.digest.to_hex(),
        ]
    });
    let parts = [
        summary(run),
        table(["host", "state", "reason"], orders),
        table(["host", "step", "outcome", "cost", "reason"], worth),
        table(
            [
                "host",
                "step",
                "destination",
                "decision",
                "times",
                "sent",
                "received",
                "rule",
            ],
            reached,
        ),
        table(["host", "artefact", "bytes", "sha256"], files),
    ];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn watch(desk: &Desk, id: &str, patience: Duration) -> anyhow::Result<Exit> {
    let (client, interrupt) = (desk.client()?, Interrupt::install_leaving()?);
    let lines = desk.json_lines.then_some(desk.printer);
    let watch = Watch {
        client: &client,
        teller: &desk.teller,
        interrupt: &interrupt,
        patience,
        lines,
    };
    let run = watch.follow(id)?;
    if !desk.json_lines {
        desk.printer.show(&run, || summary(&run))?;
    }
    if run.has_succeeded() {
        Ok(Exit::Done)
    } else {
        Err(failed(&run).into())
    }
}

fn logs(desk: &Desk, id: &str, wanted: Wanted, follow: bool) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    if follow {
        let interrupt = Interrupt::install_leaving()?;
        let tail = Tail {
            client: &client,
            teller: &desk.teller,
            interrupt: &interrupt,
            printer: desk.printer,
            as_json: !desk.for_people(),
            wanted,
        };
        tail.follow(id)?;
    } else {
        let outputs = tail::recorded(&client, id, &wanted)?;
        desk.list(&outputs, |outputs| {
            outputs.iter().map(tail::told).collect::<Vec<_>>().join("\n")
        })?;
    }
    Ok(Exit::Done)
}
