//! `writ show` and `writ diff`: looking at plans again, and at what a stale one rested on.

use std::fmt::Write as _;

use writ_plan::plan::{Plan, compare};
use writ_protocol::digest::Digest;
use writ_protocol::reason::Code;
use writ_protocol::record::StepResult;

use super::Desk;
use super::plans::{self, Chosen, chosen};
use crate::api::{PlanAnswer, Step};
use crate::args::{Diff, Show};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::{plain, table};

/// Most lines about what moved on stale hosts; the run shows all of it.
const MOVED_MAX: usize = 20;

pub(crate) fn show(desk: &Desk, args: &Show) -> anyhow::Result<Exit> {
    let answer = read(desk, &args.what)?;
    let Some(name) = &args.host else {
        if !args.by_host || !desk.for_people() {
            plans::show(desk, &answer)?;
            return Ok(Exit::Done);
        }
        desk.printer.show(&answer, || {
            let text = answer.plan.render_by_host(None);
            format!("{}\nplan {}", text.trim_end(), answer.digest)
        })?;
        return Ok(Exit::Done);
    };
    let host = answer.plan.hosts.iter().find(|host| host.name == *name);
    let host = host.ok_or_else(|| {
        let names = answer.plan.hosts.iter().map(|host| host.name.as_str());
        let help = crate::nearest::did_you_mean(name, names);
        let what = format!("{name:?} is no host of this plan");
        Fault::new(Exit::Invalid, what)
            .help(help.unwrap_or_else(|| "`writ show PLAN --by-host` names them all".to_owned()))
    })?;
    desk.printer.show(host, || {
        let text = answer.plan.render_by_host(Some(name));
        format!("{}\nplan {}", text.trim_end(), answer.digest)
    })?;
    Ok(Exit::Done)
}

pub(crate) fn diff(desk: &Desk, args: &Diff) -> anyhow::Result<Exit> {
    let (old, new) = (read(desk, &args.old)?, read(desk, &args.new)?);
    let differences = old.plan.compare(&new.plan);
    let value = serde_json::json!({ "old": old.digest, "new": new.digest, "differences": differences });
    desk.printer.show(&value, || compare::render(&differences))?;
    Ok(if differences.is_empty() {
        Exit::Done
    } else {
        Exit::Changes
    })
}

/// A plan from its file, or from the controller by its digest, which is computed here again.
fn read(desk: &Desk, what: &str) -> anyhow::Result<PlanAnswer> {
    match chosen(what)? {
        Chosen::Plan(plan, digest) => Ok(PlanAnswer { digest, plan: *plan }),
        Chosen::Digest(digest) => {
            let answer = desk.client()?.plan(&digest)?;
            same(&answer.plan, &digest)?;
            Ok(answer)
        }
        Chosen::Config => Err(Fault::new(
            Exit::Invalid,
            format!("{what} is neither a plan's file nor a plan's digest"),
        )
        .help("writ plan PATH --out FILE writes one")
        .into()),
    }
}

fn same(plan: &Plan, wanted: &Digest) -> anyhow::Result<()> {
    let found = plan.digest()?;
    if found == *wanted {
        return Ok(());
    }
    let what = format!("the controller gave the plan {found} for {wanted}");
    Err(Fault::coded(Code::DigestMismatch, what).into())
}

/// What differs by now on hosts whose plan is stale, from the steps of the run.
pub(crate) fn moved(steps: &[Step]) -> String {
    let stale = Code::Stale.to_string();
    let moved: Vec<&Step> = steps
        .iter()
        .filter(|step| step.code.as_deref() == Some(stale.as_str()))
        .collect();
    let rows = moved.iter().map(|step| {
        let changes = step.rest.get("changes").and_then(serde_json::Value::as_array);
        let texts: Vec<String> = changes.into_iter().flatten().map(change).collect();
        [step.agent_name.clone(), step.step.clone(), texts.join("; ")]
    });
    moved_rows(rows.collect())
}

/// The same of one host, from what its agent said itself.
pub(super) fn moved_here(host: &str, results: &[StepResult]) -> String {
    let stale = results.iter().filter(|result| result.code == Some(Code::Stale));
    let rows = stale.map(|result| {
        let all = result.changes.iter();
        let texts: Vec<String> = all
            .map(|one| plain(&format!("{} {} -> {}", one.attribute, one.got, one.want)))
            .collect();
        [host.to_owned(), result.step.clone(), texts.join("; ")]
    });
    moved_rows(rows.collect())
}

fn moved_rows(rows: Vec<[String; 3]>) -> String {
    let more = rows.len().saturating_sub(MOVED_MAX);
    let mut text = table(["host", "resource", "now"], rows.into_iter().take(MOVED_MAX));
    if more > 0 {
        // Writing to a String does not fail.
        let _ = write!(text, "\nand {more} more");
    }
    text
}

fn change(value: &serde_json::Value) -> String {
    let part = |name: &str| value.get(name).and_then(|v| v.as_str()).unwrap_or_default();
    let text = format!("{} {} -> {}", part("attribute"), part("got"), part("want"));
    plain(&text)
}
