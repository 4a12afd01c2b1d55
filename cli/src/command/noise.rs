//! Known noise: what may differ for a time. It is signed here, with a key that never leaves this machine.

use std::path::PathBuf;

use writ_protocol::id::SuppressionId;
use writ_protocol::key::SigningKey;
use writ_protocol::record::Change;
use writ_protocol::suppression::Suppression;
use writ_protocol::time::Timestamp;

use super::Desk;
use crate::api::{Client, Finding, SuppressionKept};
use crate::args;
use crate::clock;
use crate::dev::trust::load_key;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::table;

/// The key that signs: the one that is named, or the context's.
fn key(desk: &Desk, named: Option<&PathBuf>) -> anyhow::Result<SigningKey> {
    let path = match named {
        Some(path) => Some(path.clone()),
        None => desk.context()?.operator_key,
    };
    let missing = || {
        Fault::new(
            Exit::Usage,
            "what may differ is signed, and that needs your signing key",
        )
        .help("name its file with --key, or as operator_key in the context")
    };
    load_key(&path.ok_or_else(missing)?)
}

/// Until when, by what was said.
fn until(life: args::Life, now: Timestamp) -> Timestamp {
    match life {
        args::Life::For(span) => now.plus(span),
        args::Life::Until(at) => at,
    }
}

/// A new one of a project, with nothing else said.
fn begin(client: &Client, project: &str, reason: &str, life: args::Life) -> anyhow::Result<Suppression> {
    let now = clock::now();
    Ok(Suppression {
        tenant: client.suppression_terms()?.tenant,
        suppression_id: SuppressionId::from_uuid(clock::fresh_uuid()?),
        project: project.to_owned(),
        host: None,
        environment: None,
        resource: String::new(),
        critical: false,
        accepts: None,
        reason: reason.to_owned(),
        issued_at: now,
        expires_at: until(life, now),
    })
}

fn give(desk: &Desk, client: &Client, said: Suppression, named: Option<&PathBuf>) -> anyhow::Result<()> {
    said.validate().map_err(|rule| Fault::new(Exit::Usage, rule))?;
    let kept = client.suppress(said, &key(desk, named)?)?;
    desk.printer.show(&kept, || told(std::slice::from_ref(&kept)))
}

/// Says that something may differ for a time.
pub(super) fn suppress(desk: &Desk, client: &Client, args: &args::Suppress) -> anyhow::Result<()> {
    let said = Suppression {
        host: args.host.clone(),
        environment: args.environment.clone(),
        resource: args.resource.clone(),
        critical: args.critical,
        ..begin(client, &args.project, &args.signed.reason, args.signed.life)?
    };
    give(desk, client, said, args.signed.key.as_ref())
}

/// Takes just what a finding says, for a time.
pub(super) fn accept(
    desk: &Desk,
    client: &Client,
    one: Finding,
    signed: &args::SignedWord,
) -> anyhow::Result<()> {
    if one.unseen.is_some() || !matches!(one.state.as_str(), "open" | "acknowledged" | "expected") {
        let detail = format!(
            "{} is {}: what is taken must be seen to differ",
            one.id, one.state
        );
        return Err(Fault::new(Exit::Failed, detail)
            .help("writ drift show has what is known of it")
            .into());
    }
    let accepts = one.changes.into_iter().map(|change| Change {
        attribute: change.attribute,
        want: change.want,
        got: change.got,
    });
    let said = Suppression {
        host: Some(one.agent),
        resource: one.resource,
        accepts: Some(accepts.collect()),
        ..begin(client, &one.project, &signed.reason, signed.life)?
    };
    give(desk, client, said, signed.key.as_ref())
}

/// Lists them.
pub(super) fn list(desk: &Desk, client: &Client, args: &args::ListSuppressions) -> anyhow::Result<()> {
    let project = args
        .project
        .as_deref()
        .map(|name| super::drift::word("project", name));
    let mut query: Vec<String> = project
        .transpose()?
        .map(|name| format!("project={name}"))
        .into_iter()
        .collect();
    if args.all {
        query.push("ended=true".to_owned());
    }
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("?{}", query.join("&"))
    };
    desk.list(&client.suppressions(&query)?, told)
}

/// Takes one back.
pub(super) fn end(desk: &Desk, client: &Client, id: &str, reason: &str) -> anyhow::Result<()> {
    if let Err(error) = id.parse::<SuppressionId>() {
        let fault = Fault::new(Exit::Usage, error.to_string());
        return Err(fault.help("writ drift suppressions shows their ids").into());
    }
    let kept = client.end_suppression(id, reason)?;
    desk.printer.show(&kept, || told(std::slice::from_ref(&kept)))
}

fn told(all: &[SuppressionKept]) -> String {
    let rows = all.iter().map(|one| {
        let place = match (&one.host, &one.environment) {
            (Some(host), _) => host.clone(),
            (None, Some(environment)) => format!("env:{environment}"),
            (None, None) => "every host".to_owned(),
        };
        let what = match &one.accepts {
            Some(changes) => {
                let changes = changes.iter();
                let words = changes.map(|change| format!("{} is {}", change.attribute, change.got));
                words.collect::<Vec<_>>().join("; ")
            }
            None if one.critical => "whatever differs".to_owned(),
            None => "whatever differs and is not critical".to_owned(),
        };
        let until = match (&one.ended_at, &one.ended_by, &one.end_reason) {
            (Some(at), Some(by), Some(why)) => format!("ended {at} by {by}: {why}"),
            _ => one.expires_at.clone(),
        };
        [
            one.id.clone(),
            one.kind.clone(),
            one.project.clone(),
            place,
            one.resource.clone(),
            what,
            until,
            one.created_by.clone(),
            one.reason.clone(),
        ]
    });
    table(
        [
            "id",
            "kind",
            "project",
            "host",
            "resource",
            "may be so",
            "until",
            "by",
            "reason",
        ],
        rows,
    )
}
