//! `writ plan` and `writ apply`: a check of the hosts, what it found, and carrying it out.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use writ_plan::compile::Given;
use writ_plan::plan::Plan;
use writ_protocol::digest::Digest;
use writ_protocol::reason::Code;

use super::{Desk, author, review};
use crate::api::{Client, Order, PlanAnswer, Rollout, Run};
use crate::args;
use crate::exit::Exit;
use crate::fault::{Fault, exit_of};
use crate::interrupt::Interrupt;
use crate::output::{Format, Teller, money, plain};
use crate::watch::Watch;

pub(crate) fn plan(desk: &Desk, args: &args::Plan) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    let given = author::given(&args.values)?;
    let patience = Duration::from_secs(args.patience.timeout);
    let answer = make(desk, &client, (&args.path, &given), patience)?;
    write_out(desk, args, &answer)?;
    show(desk, &answer)?;
    Ok(if args.detailed_exitcode && answer.plan.has_changes() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

/// Keeps a plan in a file where that is asked for.
pub(super) fn write_out(desk: &Desk, args: &args::Plan, answer: &PlanAnswer) -> anyhow::Result<()> {
    let Some(file) = &args.out else { return Ok(()) };
    // The very bytes that the digest is of: `sha256sum FILE` names the plan.
    fs::write(file, answer.plan.encode()?).with_context(|| format!("writing {}", file.display()))?;
    let door = match &args.door {
        door if door.ssh.is_meant() => format!("--ssh {} ", door.ssh.ssh.join(",")),
        door if door.local => "--local ".to_owned(),
        _ => String::new(),
    };
    desk.teller.say(&format!(
        "the plan is in {}; next: writ apply {door}{0}",
        file.display()
    ));
    Ok(())
}

/// A plan as data: with what was found on each host as one digest.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    answer: &'a PlanAnswer,
    results: BTreeMap<&'a str, Digest>,
}

/// Shows a plan.
pub(super) fn show(desk: &Desk, answer: &PlanAnswer) -> anyhow::Result<()> {
    let results = answer.plan.results()?;
    desk.printer.show(&Shown { answer, results }, || told(answer))
}

pub(super) fn told(answer: &PlanAnswer) -> String {
    format!("{}\nplan {}", answer.plan.render().trim_end(), answer.digest)
}

/// Refuses additions to what is made already.
pub(super) fn nothing_added(given: &Given) -> anyhow::Result<()> {
    if *given == Given::default() {
        return Ok(());
    }
    let what = "a plan says already what it is made from, and nothing can be added to it";
    Err(Fault::new(Exit::Invalid, what)
        .help("name the config instead: writ apply PATH")
        .into())
}

/// Checks the hosts against a config and gives the plan, whose digest is computed here again.
fn make(
    desk: &Desk,
    client: &Client,
    (path, given): (&Path, &Given),
    patience: Duration,
) -> anyhow::Result<PlanAnswer> {
    let sources = author::sources(desk, path, given)?;
    let run = client.submit_check(&sources)?;
    warn(desk, &run);
    desk.teller
        .say(&format!("checking {} hosts ({})", run.orders.len(), run.id));
    let ended = follow(desk, client, &run.id, patience)?;
    if !ended.has_succeeded() {
        return Err(failed(&ended).into());
    }
    planned(client, &run.id)
}

/// Tells what the controller has to say about an order that it made all the same.
fn warn(desk: &Desk, run: &Run) {
    for notice in &run.notices {
        desk.teller.say(&format!("warning: {}", plain(notice)));
    }
}

/// The plan that a check run made.
pub(crate) fn planned(client: &Client, run: &str) -> anyhow::Result<PlanAnswer> {
    let answer = client.plan_of(run)?;
    let found = answer.plan.digest()?;
    if found != answer.digest {
        let what = format!(
            "the controller calls the plan {}, and it is {found}",
            answer.digest
        );
        return Err(Fault::coded(writ_protocol::reason::Code::DigestMismatch, what).into());
    }
    Ok(answer)
}

fn follow(desk: &Desk, client: &Client, run: &str, patience: Duration) -> anyhow::Result<Run> {
    let interrupt = Interrupt::install_leaving()?;
    let lines = desk.json_lines.then_some(desk.printer);
    Watch {
        client,
        teller: &desk.teller,
        interrupt: &interrupt,
        patience,
        lines,
    }
    .follow(run)
}

pub(crate) fn apply(desk: &Desk, args: &args::Apply) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    let patience = Duration::from_secs(args.patience.timeout);
    let given = author::given(&args.values)?;
    let digest = match chosen(&args.what)? {
        Chosen::Plan(plan, digest) => {
            nothing_added(&given)?;
            desk.teller.say(plan.render().trim_end());
            digest
        }
        Chosen::Digest(digest) => {
            nothing_added(&given)?;
            digest
        }
        Chosen::Config => {
            let answer = make(desk, &client, (Path::new(&args.what), &given), patience)?;
            desk.teller.say(&told(&answer));
            if !answer.plan.has_changes() {
                desk.teller.say("nothing would change");
            }
            answer.digest
        }
    };
    if !args.auto_approve {
        approve(&desk.teller, &format!("writ apply {digest} --auto-approve"))?;
    }
    let spread = args.spread;
    let shares = (spread.concurrency, spread.error_threshold);
    let run = client.submit_rollout(&digest, shares, spread.leave_out_new_hosts)?;
    warn(desk, &run);
    if args.no_wait {
        desk.printer
            .show(&run, || format!("{} is under way; writ run watch {0}", run.id))?;
        return Ok(Exit::Done);
    }
    desk.teller
        .say(&format!("applying on {} hosts ({})", run.orders.len(), run.id));
    let ended = follow(desk, &client, &run.id, patience)?;
    if !desk.json_lines {
        desk.printer.show(&ended, || summary(&ended))?;
    }
    if args.detailed_exitcodes {
        return detailed(&client, &ended);
    }
    if ended.has_succeeded() {
        return Ok(Exit::Done);
    }
    if ended.exit() == Exit::Stale {
        let steps = client.steps(&ended.id)?;
        desk.teller.say(review::moved(&steps).trim_end());
    }
    Err(failed(&ended).into())
}

/// What `apply` was given.
pub(super) enum Chosen {
    Plan(Box<Plan>, Digest),
    Digest(Digest),
    Config,
}

pub(super) fn chosen(what: &str) -> anyhow::Result<Chosen> {
    if let Ok(digest) = what.parse() {
        return Ok(Chosen::Digest(digest));
    }
    // A plan is compact JSON, which a config never is.
    match fs::read(what) {
        Ok(bytes) if bytes.starts_with(b"{\"version\":") => {
            let plan = Plan::decode(&bytes).with_context(|| format!("reading the plan {what}"))?;
            Ok(Chosen::Plan(Box::new(plan), Digest::of(&bytes)))
        }
        _ => Ok(Chosen::Config),
    }
}

/// Asks a person. Without a terminal nobody can be asked; `unasked` is the command that does not ask.
pub(super) fn approve(teller: &Teller, unasked: &str) -> anyhow::Result<()> {
    let refused = |what: &str| Fault::new(Exit::ApprovalPending, what).help(unasked);
    if !std::io::stdin().is_terminal() {
        return Err(refused("nobody is here to approve the plan").into());
    }
    teller.say("");
    write!(anstream::stderr(), "Carry out this plan? Only \"yes\" is yes: ").ok();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("reading the answer")?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(refused("the plan was not approved").into())
    }
}

/// 0 nothing changed, 2 changed, 4 failed, 6 both.
fn detailed(client: &Client, run: &Run) -> anyhow::Result<Exit> {
    let changed = client
        .steps(&run.id)?
        .iter()
        .any(|step| step.outcome == "changed");
    Ok(match (changed, run.has_succeeded()) {
        (false, true) => Exit::Done,
        (true, true) => Exit::Changes,
        (false, false) => Exit::ApplyFailed,
        (true, false) => Exit::ApplyMixed,
    })
}

/// A run that did not succeed, as an error. It is to have all of its orders.
pub(crate) fn failed(run: &Run) -> Fault {
    // What ended a rollout says more than the first of the hosts that it ended for, and so does what the exit code stands for.
    let (stopped, exit) = (Some(Code::RolloutStopped.to_string()), run.exit());
    let told = |order: &&Order| {
        let code = order.code.as_deref().and_then(|code| code.parse().ok());
        code.map(exit_of) == Some(exit)
    };
    let worst = run.orders.iter().find(|order| order.code == stopped);
    let worst = worst.or_else(|| run.orders.iter().find(told));
    let worst = worst.or_else(|| run.orders.iter().find(|order| order.code.is_some()));
    let mut fault = Fault::new(exit, format!("{} ended {}", run.id, run.state));
    if let Some(order) = worst {
        fault.code.clone_from(&order.code);
        let detail = order.detail.clone().unwrap_or_default();
        let words = format!("{}: {} {} {detail}", fault.message, order.agent_name, order.state);
        words.trim_end().clone_into(&mut fault.message);
    }
    if fault.exit == Exit::Stale {
        return fault.help("make a new plan and review it: writ plan");
    }
    fault.help(format!("writ run show {}", run.id))
}

/// A run in a few lines.
pub(crate) fn summary(run: &Run) -> String {
    let mut counts: BTreeMap<String, u64> = run.counts.clone();
    if counts.is_empty() {
        for order in &run.orders {
            *counts.entry(order.state.clone()).or_default() += 1;
        }
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let cost = money(run.cost_micros, run.currency.as_deref().unwrap_or_default());
    let rollout = run.rollout.as_ref().map_or_else(String::new, spread);
    format!(
        "{} {} {}: {}, cost {cost}{rollout}",
        run.kind,
        run.id,
        run.state,
        counts.join(", ")
    )
}

/// How a run spreads over its hosts, in a line of its own.
fn spread(rollout: &Rollout) -> String {
    let waves: Vec<String> = rollout.waves.iter().map(ToString::to_string).collect();
    format!(
        "\nrollout over {} hosts: {} at once, waves up to {}; {} failed, {} may; {} wait for their turn",
        rollout.targets,
        rollout.concurrency,
        waves.join(", "),
        rollout.failed,
        rollout.error_threshold,
        rollout.held,
    )
}

impl Desk {
    /// Whether data goes to people.
    pub(crate) fn for_people(&self) -> bool {
        self.printer.format == Format::Table && !self.json_lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_a_plan_and_a_config_are_told_apart() {
        let digest = Digest::of(b"x");
        assert!(matches!(chosen(&digest.to_hex()).unwrap(), Chosen::Digest(d) if d == digest));
        assert!(matches!(chosen("writ.yaml").unwrap(), Chosen::Config));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        fs::write(&path, b"{\"version\":1,\"project\":7}").unwrap();
        let Err(error) = chosen(&path.display().to_string()) else {
            panic!("half a plan is no plan")
        };
        assert!(error.to_string().contains("reading the plan"));
    }
}
