//! Remediations: what would put drift right is shown before anybody says yes to it.

use serde_json::json;
use writ_protocol::id::RemediationId;

use super::Desk;
use super::drift::{choice_name, named, word};
use super::plans;
use crate::api::{Client, Remediation, RemediationPolicy};
use crate::args;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::{plain, table};

/// An id that can stand in an address.
fn id(text: &str) -> Result<&str, Fault> {
    match text.parse::<RemediationId>() {
        Ok(_) => Ok(text),
        Err(error) => Err(Fault::new(Exit::Usage, error.to_string())
            .help("writ drift remediations shows the ids of all of them")),
    }
}

fn one(desk: &Desk, remediation: &Remediation) -> anyhow::Result<()> {
    desk.printer
        .show(remediation, || told(std::slice::from_ref(remediation)))
}

/// Has findings put right.
pub(super) fn begin(desk: &Desk, client: &Client, args: &args::Remediate) -> anyhow::Result<()> {
    for finding in &args.findings {
        named(finding)?;
    }
    let begun = client.remediate(&args.findings, &args.reason)?;
    one(desk, &begun)?;
    desk.teller.say(&format!(
        "what would change is checked; writ drift remediation {} shows it, writ drift approve carries it out",
        plain(&begun.id)
    ));
    Ok(())
}

/// Lists them.
pub(super) fn list(desk: &Desk, client: &Client, query: &str) -> anyhow::Result<()> {
    desk.list(&client.remediations(query)?, told)
}

/// Shows one with its plan.
pub(super) fn show(desk: &Desk, client: &Client, remediation: &str) -> anyhow::Result<()> {
    let found = client.remediation(id(remediation)?)?;
    let plan = planned(client, &found)?;
    desk.printer.show(&found, || match plan {
        Some(plan) => format!("{}\n\n{plan}", whole(&found)),
        None => whole(&found),
    })
}

/// What it would change, for people.
fn planned(client: &Client, of: &Remediation) -> anyhow::Result<Option<String>> {
    let Some(digest) = &of.plan_digest else {
        return Ok(None);
    };
    Ok(Some(client.plan(digest)?.plan.render()))
}

/// Says yes, after what would change was shown.
pub(super) fn approve(desk: &Desk, client: &Client, remediation: &str, is_asked: bool) -> anyhow::Result<()> {
    let found = client.remediation(id(remediation)?)?;
    let (Some(digest), Some(plan)) = (&found.plan_digest, planned(client, &found)?) else {
        let what = format!("{} is {}: {}", found.id, found.state, found.detail);
        return Err(Fault::new(Exit::Failed, plain(&what))
            .help("wait until it is proposed; writ drift remediation shows it")
            .into());
    };
    if !is_asked {
        desk.teller.say(&plan);
        plans::approve(&desk.teller, "say --auto-approve where nobody can be asked")?;
    }
    one(desk, &client.approve_remediation(&found.id, digest)?)
}

/// Says no.
pub(super) fn decline(desk: &Desk, client: &Client, remediation: &str, reason: &str) -> anyhow::Result<()> {
    one(desk, &client.decline_remediation(id(remediation)?, reason)?)
}

/// What environments let happen without a person.
pub(super) fn policy(desk: &Desk, client: &Client, command: &args::Policy) -> anyhow::Result<()> {
    match command {
        args::Policy::List => desk.list(&client.remediation_policies()?, policies),
        args::Policy::Set(args) => {
            let environment = word("environment", &args.environment)?;
            let body = json!({ "mode": choice_name(&args.mode), "hostsAtOnce": args.hosts_at_once, "perHour": args.per_hour,
                "failuresMax": args.failures_max, "reason": args.reason });
            let set = client.set_remediation_policy(&environment, &body)?;
            desk.printer.show(&set, || policies(std::slice::from_ref(&set)))
        }
    }
}

fn told(all: &[Remediation]) -> String {
    let rows = all.iter().map(|one| {
        [
            one.id.clone(),
            one.state.clone(),
            one.agent.clone(),
            one.project.clone(),
            one.resources.join(" "),
            one.begun_by.clone(),
            one.created_at.clone(),
            one.detail.clone(),
        ]
    });
    table(
        [
            "remediation",
            "state",
            "host",
            "project",
            "resources",
            "by",
            "since",
            "detail",
        ],
        rows,
    )
}

fn whole(one: &Remediation) -> String {
    let mut rows = vec![
        ("remediation", one.id.clone()),
        ("state", format!("{}: {}", one.state, one.detail)),
        ("host", one.agent.clone()),
        ("project", one.project.clone()),
        ("begun by", format!("{}: {}", one.begun_by, one.reason)),
        ("since", one.created_at.clone()),
        ("check", one.check_run.clone()),
    ];
    rows.extend(one.approved_by.clone().map(|by| ("approved by", by)));
    rows.extend(one.run_id.clone().map(|run| ("run", run)));
    rows.extend(one.resources.iter().map(|id| ("resource", id.clone())));
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("{name:<11} {}", plain(value)))
        .collect();
    lines.join("\n")
}

fn policies(all: &[RemediationPolicy]) -> String {
    let rows = all.iter().map(|one| {
        let state = match &one.stopped_at {
            Some(at) => format!("stopped {at}"),
            None => "goes on".to_owned(),
        };
        [
            one.environment.clone(),
            one.mode.clone(),
            one.hosts_at_once.to_string(),
            one.per_hour.to_string(),
            one.failures_max.to_string(),
            state,
            one.set_by.clone(),
            one.reason.clone(),
        ]
    });
    table(
        [
            "environment",
            "mode",
            "hosts at once",
            "per hour",
            "failures",
            "state",
            "by",
            "reason",
        ],
        rows,
    )
}
