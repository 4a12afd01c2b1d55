//! `writ schedule`: what is started when, and what became of each time.

use serde_json::{Value, json};
use writ_protocol::digest::Digest;

use super::Desk;
use super::plans::{self, Chosen};
use crate::api::{ComingTime, PastTime, Schedule};
use crate::args;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::table;

pub(crate) fn run(desk: &Desk, command: &args::Schedule) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    match command {
        args::Schedule::Create(args) => one(desk, &client.create_schedule(&body(args)?)?)?,
        args::Schedule::List => desk.list(&client.schedules()?, told)?,
        args::Schedule::Show { schedule } => one(desk, &client.schedule(named(schedule)?)?)?,
        args::Schedule::Pause { schedule, reason } => {
            one(desk, &client.change_schedule(named(schedule)?, "pause", reason)?)?;
        }
        args::Schedule::Resume { schedule, reason } => {
            one(desk, &client.change_schedule(named(schedule)?, "resume", reason)?)?;
        }
        args::Schedule::Delete { schedule } => {
            one(desk, &client.change_schedule(named(schedule)?, "remove", "")?)?;
        }
        args::Schedule::History { schedule, limit } => {
            desk.list(&client.schedule_history(named(schedule)?, *limit)?, past)?;
        }
        args::Schedule::Next { schedule, count } => {
            desk.list(&client.schedule_next(named(schedule)?, *count)?, coming)?;
        }
    }
    Ok(Exit::Done)
}

fn one(desk: &Desk, schedule: &Schedule) -> anyhow::Result<()> {
    desk.printer
        .show(schedule, || told(std::slice::from_ref(schedule)))
}

fn body(args: &args::CreateSchedule) -> anyhow::Result<Value> {
    let (starts, plan) = match (&args.starts.apply, &args.starts.check) {
        _ if args.starts.cost_report => ("cost_report", None),
        (Some(plan), _) => ("apply", Some(plan)),
        (None, plan) => ("check", plan.as_ref()),
    };
    let plan = plan.map(|text| digest(text)).transpose()?;
    let windows: Vec<Value> = args
        .windows
        .iter()
        .map(|(opens, minutes)| json!({ "opens": opens, "minutes": minutes }))
        .collect();
    let freezes: Vec<Value> = args
        .freezes
        .iter()
        .map(|(from, until)| json!({ "from": from, "until": until }))
        .collect();
    Ok(json!({
        "name": args.name,
        "starts": starts,
        "planDigest": plan,
        "rule": {
            "cron": args.cron,
            "zone": args.zone,
            "jitterSeconds": args.jitter,
            "catchUp": args.catch_up.name(),
            "catchUpMax": args.catch_up_max,
            "overlap": args.overlap.name(),
            "windows": windows,
            "freezes": freezes,
        },
    }))
}

/// The plan that a word means, by its digest.
fn digest(text: &str) -> anyhow::Result<Digest> {
    match plans::chosen(text)? {
        Chosen::Plan(_, digest) | Chosen::Digest(digest) => Ok(digest),
        Chosen::Config => Err(Fault::new(
            Exit::Usage,
            format!("{text:?} is neither a plan's file nor a plan's digest"),
        )
        .help("writ plan --out FILE makes one and shows its digest")
        .into()),
    }
}

/// A schedule's name, as far as it can stand in an address; the controller knows the rest.
fn named(text: &str) -> Result<&str, Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text);
    }
    Err(Fault::new(Exit::Usage, format!("{text:?} is no name of a schedule")).help("writ schedule list"))
}

fn told(schedules: &[Schedule]) -> String {
    let rows = schedules.iter().map(|one| {
        let of = |field: &str| one.rule.get(field).and_then(Value::as_str).unwrap_or_default();
        let plan = one.plan_digest.as_deref().and_then(|digest| digest.get(..12));
        let next = one.next.as_ref().map(|next| next.local.clone());
        [
            one.name.clone(),
            of("cron").to_owned(),
            of("zone").to_owned(),
            one.starts.clone(),
            plan.unwrap_or_default().to_owned(),
            if one.paused {
                "paused".to_owned()
            } else {
                next.unwrap_or_else(|| "never".to_owned())
            },
            one.queued.to_string(),
        ]
    });
    table(
        ["schedule", "cron", "zone", "starts", "plan", "next", "queued"],
        rows,
    )
}

fn past(times: &[PastTime]) -> String {
    let rows = times.iter().map(|one| {
        let at = match one.times {
            1 => one.at.clone(),
            more => format!("{} to {} ({more})", one.at, one.through),
        };
        let made = one.run_id.clone().or_else(|| one.detail.clone());
        [
            at,
            one.state.clone(),
            one.reason.clone().unwrap_or_default(),
            one.started_at.clone().unwrap_or_default(),
            made.unwrap_or_default(),
        ]
    });
    table(["time", "state", "reason", "started", "what"], rows)
}

fn coming(times: &[ComingTime]) -> String {
    let rows = times
        .iter()
        .map(|one| [one.local.clone(), one.at.clone(), one.due_at.clone()]);
    table(["time", "utc", "due"], rows)
}
