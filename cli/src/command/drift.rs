//! `writ drift`: where hosts are not as their plans want them. Looking changes nothing.

use clap::ValueEnum;
use serde_json::Value;
use writ_protocol::id::DriftId;

use super::{Desk, noise, remediations, scan};
use crate::api::{Client, Finding, FindingEvent, WatchedHost};
use crate::args;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::{plain, table};

/// States of a finding that nobody need look at.
const QUIET: [&str; 2] = ["cleared", "expected"];
/// What is said of what nobody can see.
const UNKNOWN: &str = "unknown";
/// Longest words of a difference in a table, characters; `writ drift show` has them all.
const WORDS_MAX: usize = 60;
/// Seconds of a minute, an hour and a day.
const SPANS: [(u64, &str); 3] = [(86_400, "d"), (3_600, "h"), (60, "min")];

pub(crate) fn run(desk: &Desk, command: &args::Drift) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    match command {
        args::Drift::List(args) => {
            let found = client.findings(&query(&filters(args)?))?;
            desk.list(&found, told)?;
            if found.iter().any(is_loud) {
                return Ok(Exit::Changes);
            }
        }
        args::Drift::Show { finding } => {
            let found = client.finding(named(finding)?)?;
            desk.printer.show(&found, || {
                format!("{}\n\n{}", whole(&found.finding), past(&found.history))
            })?;
        }
        args::Drift::History { finding } => desk.list(&client.finding(named(finding)?)?.history, past)?,
        args::Drift::Hosts(of) => desk.list(&client.watched_hosts(&query(&of_filters(of)?))?, hosts)?,
        args::Drift::Acknowledge { finding, reason } => {
            let known = client.acknowledge_finding(named(finding)?, reason)?;
            desk.printer.show(&known, || told(std::slice::from_ref(&known)))?;
        }
        args::Drift::Accept { finding, signed } => {
            let one = client.finding(named(finding)?)?.finding;
            noise::accept(desk, &client, one, signed)?;
        }
        args::Drift::Suppress(args) => noise::suppress(desk, &client, args)?,
        args::Drift::Suppressions(args) => noise::list(desk, &client, args)?,
        args::Drift::Unsuppress { suppression, reason } => noise::end(desk, &client, suppression, reason)?,
        args::Drift::Scan(args) => return scan::scan(desk, &client, args),
        args::Drift::Gate(args) => return gate(desk, &client, args),
        args::Drift::Remediate(args) => remediations::begin(desk, &client, args)?,
        args::Drift::Remediations(args) => {
            let mut filters = of_filters(&args.of)?;
            filters.extend(args.state.map(|choice| ("state", choice_name(&choice))));
            remediations::list(desk, &client, &query(&filters))?;
        }
        args::Drift::Remediation { remediation } => remediations::show(desk, &client, remediation)?,
        args::Drift::Approve {
            remediation,
            auto_approve,
        } => remediations::approve(desk, &client, remediation, *auto_approve)?,
        args::Drift::Decline { remediation, reason } => {
            remediations::decline(desk, &client, remediation, reason)?;
        }
        args::Drift::Policy(command) => remediations::policy(desk, &client, command)?,
    }
    Ok(Exit::Done)
}

pub(super) fn is_loud(one: &Finding) -> bool {
    !QUIET.contains(&one.state.as_str())
}

/// Lists what stops a pipeline; nothing where it may go on.
fn gate(desk: &Desk, client: &Client, args: &args::Gate) -> anyhow::Result<Exit> {
    let of = query(&of_filters(&args.of)?);
    let mut found = client.findings(&of)?;
    found.retain(|one| {
        // A severity that this program does not know is not a mild one.
        let severity = args::SeverityChoice::from_str(&one.severity, true);
        is_loud(one) && (one.state == UNKNOWN || severity.map_or(true, |severity| severity >= args.fail_on))
    });
    let mut blind = client.watched_hosts(&of)?;
    blind.retain(|one| one.state == UNKNOWN);
    desk.list(&found, told)?;
    for host in &blind {
        let (name, project) = (plain(&host.agent), plain(&host.project));
        desk.teller.say(&format!(
            "{name}: nobody knows how {project} stands there; writ drift hosts says since when"
        ));
    }
    Ok(if found.is_empty() && blind.is_empty() {
        Exit::Done
    } else {
        Exit::Changes
    })
}

/// An id that can stand in an address.
pub(super) fn named(text: &str) -> Result<&str, Fault> {
    match text.parse::<DriftId>() {
        Ok(_) => Ok(text),
        Err(error) => {
            Err(Fault::new(Exit::Usage, error.to_string())
                .help("writ drift list shows the ids of all findings"))
        }
    }
}

/// A name that can stand in an address; the controller knows the rest.
pub(super) fn word(what: &str, text: &str) -> Result<String, Fault> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(Exit::Usage, format!("{text:?} is no name of a {what}")).help("writ drift hosts"))
}

pub(super) type Filters = Vec<(&'static str, String)>;

fn of_filters(of: &args::OfDrift) -> Result<Filters, Fault> {
    let host = of.host.as_deref().map(|name| word("host", name)).transpose()?;
    let project = of
        .project
        .as_deref()
        .map(|name| word("project", name))
        .transpose()?;
    let host = host.map(|name| ("agent", name));
    Ok(host
        .into_iter()
        .chain(project.map(|name| ("project", name)))
        .collect())
}

fn filters(args: &args::ListDrift) -> Result<Filters, Fault> {
    let mut all = of_filters(&args.of)?;
    all.extend(args.class.map(|choice| ("class", choice_name(&choice))));
    all.extend(args.severity.map(|choice| ("severity", choice_name(&choice))));
    all.extend(args.state.map(|choice| ("state", choice_name(&choice))));
    Ok(all)
}

/// The word that a choice is made by, which is also the API's.
pub(super) fn choice_name(choice: &impl ValueEnum) -> String {
    let value = choice.to_possible_value();
    value.map(|value| value.get_name().to_owned()).unwrap_or_default()
}

pub(super) fn query(filters: &Filters) -> String {
    let pairs: Vec<String> = filters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if pairs.is_empty() {
        return String::new();
    }
    format!("?{}", pairs.join("&"))
}

/// What differs, in a few words.
fn words(one: &Finding) -> String {
    let changes = one.changes.iter();
    let changes = changes.map(|change| format!("{}: {} is {}", change.attribute, change.want, change.got));
    let unseen = one
        .unseen
        .iter()
        .map(|unseen| format!("{} {}", unseen.code, unseen.detail));
    let all: Vec<String> = unseen.chain(changes).collect();
    let all = all.join("; ");
    let short: String = all.chars().take(WORDS_MAX).collect();
    if short.len() == all.len() {
        all
    } else {
        format!("{short}…")
    }
}

pub(super) fn told(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|one| {
        let state = if one.flapping {
            format!("{} (flapping)", one.state)
        } else {
            one.state.clone()
        };
        [
            one.id.clone(),
            one.severity.clone(),
            one.class.clone(),
            state,
            one.agent.clone(),
            one.project.clone(),
            one.resource.clone(),
            one.first_seen.clone(),
            words(one),
        ]
    });
    table(
        [
            "finding",
            "severity",
            "class",
            "state",
            "host",
            "project",
            "resource",
            "since",
            "want and got",
        ],
        rows,
    )
}

/// All of a finding.
fn whole(one: &Finding) -> String {
    let mut rows = vec![
        ("finding", one.id.clone()),
        ("host", one.agent.clone()),
        ("project", one.project.clone()),
        ("resource", one.resource.clone()),
        ("state", one.state.clone()),
        ("class", format!("{}, {}", one.class, one.severity)),
        (
            "came",
            format!(
                "{} times{}",
                one.occurrences,
                if one.flapping { ", flapping" } else { "" }
            ),
        ),
        ("first seen", one.first_seen.clone()),
        ("last seen", one.last_seen.clone()),
        (
            "last clean",
            one.last_clean.clone().unwrap_or_else(|| "never".to_owned()),
        ),
    ];
    if let (Some(who), Some(why)) = (&one.acknowledged_by, &one.reason) {
        rows.push(("known to", format!("{who}: {why}")));
    }
    if let Some(by) = &one.expected_by {
        rows.push(("expected", by.clone()));
    }
    for change in &one.changes {
        rows.push(("want", format!("{} {}", change.attribute, change.want)));
        rows.push(("got", format!("{} {}", change.attribute, change.got)));
    }
    if let Some(unseen) = &one.unseen {
        rows.push(("not seen", format!("{} {}", unseen.code, unseen.detail)));
    }
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("{name:<10} {}", plain(value)))
        .collect();
    lines.join("\n")
}

fn past(events: &[FindingEvent]) -> String {
    let rows = events.iter().map(|one| {
        let of = |field: &str| one.detail.get(field).and_then(Value::as_str).unwrap_or_default();
        [
            one.at.clone(),
            one.what.clone(),
            of("severity").to_owned(),
            of("class").to_owned(),
            one.actor.clone(),
            of("reason").to_owned(),
        ]
    });
    table(["at", "what", "severity", "class", "by", "reason"], rows)
}

fn hosts(all: &[WatchedHost]) -> String {
    let rows = all.iter().map(|one| {
        [
            one.agent.clone(),
            one.project.clone(),
            one.state.clone(),
            format!("{} ago", span(one.age_seconds)),
            one.watched.to_string(),
            one.unwatched.to_string(),
            one.differing.to_string(),
            one.unseen.to_string(),
            one.expected.to_string(),
        ]
    });
    table(
        [
            "host",
            "project",
            "state",
            "looked at",
            "watched",
            "unwatched",
            "differing",
            "unseen",
            "expected",
        ],
        rows,
    )
}

/// A span in its largest whole unit.
fn span(seconds: u64) -> String {
    let unit = SPANS.iter().find(|(length, _)| seconds >= 2 * length);
    unit.map_or_else(
        || format!("{seconds} s"),
        |(length, name)| format!("{} {name}", seconds / length),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_largest_unit() {
        let all = [0, 119, 120, 7_199, 7_200, 172_800].map(span);
        assert_eq!(all, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
    }
}
