//! `writ drift scan`: hosts are asked to look now, waited for, and what differs is listed. Looking changes nothing there.

use std::time::Duration;

use serde::Serialize;

use super::Desk;
use super::drift::{Filters, is_loud, query, told, word};
use crate::api::{Client, Finding, Scan, ScanMissing};
use crate::args;
use crate::clock::Deadline;
use crate::exit::Exit;
use crate::fault;
use crate::interrupt::Interrupt;
use crate::output::plain;

/// Pause between two questions how far it has come.
const PAUSE: Duration = Duration::from_millis(500);

/// All of it, for machines.
#[derive(Serialize)]
struct Answer<'a> {
    scan: &'a Scan,
    findings: &'a [Finding],
}

pub(super) fn scan(desk: &Desk, client: &Client, args: &args::Scan) -> anyhow::Result<Exit> {
    let chosen = chosen(args)?;
    let asked = client.ask_for_scan(&chosen)?;
    if args.no_wait {
        desk.printer.show(&asked, || {
            format!(
                "{} watched projects on hosts are asked; writ drift hosts says when each was looked at",
                asked.watches
            )
        })?;
        return Ok(Exit::Done);
    }
    let deadline = Deadline::after(Duration::from_secs(args.timeout));
    let scan = wait(desk, client, (&chosen, asked), &deadline)?;
    let found = client.findings(&query(&chosen))?;
    if desk.json_lines {
        desk.list(&found, told)?;
    } else {
        let answer = Answer {
            scan: &scan,
            findings: &found,
        };
        desk.printer.show(&answer, || told(&found))?;
    }
    desk.teller
        .say(&format!("looked at {} of {}", scan.looked, scan.watches));
    for one in &scan.missing {
        desk.teller.say(&words(one));
    }
    let missing = scan.watches.saturating_sub(scan.looked);
    let unnamed = missing.saturating_sub(u64::try_from(scan.missing.len()).unwrap_or(u64::MAX));
    if unnamed > 0 {
        desk.teller.say(&format!("and {unnamed} more have not looked"));
    }
    Ok(match () {
        () if found.iter().any(is_loud) => Exit::Changes,
        () if scan.coming > 0 => Exit::TimedOut,
        // Nobody knows how it stands there.
        () if missing > 0 => Exit::Changes,
        () => Exit::Done,
    })
}

fn chosen(args: &args::Scan) -> anyhow::Result<Filters> {
    let given = [
        ("host", "agent", &args.of.host),
        ("project", "project", &args.of.project),
        ("environment", "environment", &args.environment),
    ];
    let mut all = Filters::new();
    for (what, name, value) in given {
        if let Some(value) = value {
            all.push((name, word(what, value)?));
        }
    }
    Ok(all)
}

/// Waits until every host has looked from which a look may be expected, or patience is over.
fn wait(
    desk: &Desk,
    client: &Client,
    (chosen, asked): (&Filters, Scan),
    deadline: &Deadline,
) -> anyhow::Result<Scan> {
    let interrupt = Interrupt::install_leaving()?;
    let mut of = chosen.clone();
    // The colons and the dot of a time may stand in a query as they are.
    of.push(("since", asked.asked_at.clone()));
    let (of, mut newest) = (query(&of), asked);
    desk.teller
        .say(&format!("asked {} of {} to look", newest.coming, newest.watches));
    while newest.coming > 0 && !deadline.is_over() {
        interrupt.wait(PAUSE);
        interrupt.check()?;
        match client.scan(&of) {
            Ok(now) => {
                if now.looked > newest.looked && now.coming > 0 {
                    desk.teller
                        .say(&format!("looked at {} of {}", now.looked, now.watches));
                }
                newest = now;
            }
            // The hosts have been asked, and go on.
            Err(error) if fault::exit(&error) == Exit::Unreachable && !deadline.is_over() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(newest)
}

fn words(one: &ScanMissing) -> String {
    let (host, project) = (plain(&one.agent), plain(&one.project));
    let seen = one.last_seen.as_deref().map_or_else(|| "never".to_owned(), plain);
    match one.why.as_str() {
        "offline" => {
            format!("{host}: not looked at {project}: offline, last heard {seen}; it looks when it is back")
        }
        "quarantined" => format!("{host}: not looked at {project}: quarantined; writ agent release {host}"),
        "unable" => format!(
            "{host}: not looked at {project}: its drift watch is off, or its agent is too old to be asked"
        ),
        "coming" => format!(
            "{host}: not looked at {project} in time: it is busy, or was just lost; last heard {seen}"
        ),
        other => format!("{host}: not looked at {project}: {}", plain(other)),
    }
}
