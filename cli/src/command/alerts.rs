//! `writ alert`: who is told of what, what was sent, and what was not taken.

use serde_json::Value;
use writ_protocol::id::AlertId;

use super::Desk;
use crate::api::{Alert, AlertRule, Receiver};
use crate::args;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::{plain, table};

/// Longest words of an event in a table, characters; `writ alert show` has them all.
const WORDS_MAX: usize = 70;

pub(crate) fn run(desk: &Desk, command: &args::Alert) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    match command {
        args::Alert::Receivers => desk.list(&client.alert_receivers()?, receivers)?,
        args::Alert::Rules => desk.list(&client.alert_rules()?, rules)?,
        args::Alert::List(args) => {
            let query = query(args.receiver.as_deref(), args.state.map(args::AlertState::name))?;
            desk.list(&client.alerts(&query)?, told)?;
        }
        args::Alert::Dead { receiver } => {
            let found = client.alerts(&query(receiver.as_deref(), Some(args::AlertState::Dead.name()))?)?;
            desk.list(&found, told)?;
            if !found.is_empty() {
                return Ok(Exit::Changes);
            }
        }
        args::Alert::Show { alert } => one(desk, &client.alert(named(alert)?)?)?,
        args::Alert::Replay { alert } => one(desk, &client.replay_alert(named(alert)?)?)?,
        args::Alert::Test { receiver } => one(desk, &client.test_receiver(word(receiver)?)?)?,
    }
    Ok(Exit::Done)
}

fn one(desk: &Desk, alert: &Alert) -> anyhow::Result<()> {
    desk.printer.show(alert, || whole(alert))
}

/// An id that can stand in an address.
fn named(text: &str) -> Result<&str, Fault> {
    match text.parse::<AlertId>() {
        Ok(_) => Ok(text),
        Err(error) => Err(Fault::new(Exit::Usage, error.to_string())
            .help("writ alert list shows the ids of all notifications")),
    }
}

/// A name that can stand in an address; the controller knows the rest.
fn word(text: &str) -> Result<&str, Fault> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text);
    }
    Err(Fault::new(Exit::Usage, format!("{text:?} is no name of a receiver")).help("writ alert receivers"))
}

fn query(receiver: Option<&str>, state: Option<&str>) -> Result<String, Fault> {
    let receiver = receiver.map(word).transpose()?;
    let pairs = [("receiver", receiver), ("state", state)];
    let pairs = pairs
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    let all = pairs.collect::<Vec<_>>().join("&");
    Ok(if all.is_empty() { all } else { format!("?{all}") })
}

fn words(event: &Value, name: &str) -> String {
    plain(event.get(name).and_then(Value::as_str).unwrap_or("-"))
}

fn short(alert: &Alert) -> String {
    let first = alert.events.first().map(|event| words(event, "summary"));
    let first: String = first.unwrap_or_default().chars().take(WORDS_MAX).collect();
    match alert.events.len() {
        0 | 1 => first,
        count => format!("{first} (and {} more)", count - 1),
    }
}

fn told(alerts: &[Alert]) -> String {
    let rows = alerts.iter().map(|one| {
        let state = match &one.reason {
            Some(reason) => format!("{}: {}", one.state, plain(reason)),
            None => one.state.clone(),
        };
        [
            one.id.clone(),
            plain(&one.receiver),
            one.severity.clone(),
            state,
            one.attempts.to_string(),
            one.due_at.clone(),
            short(one),
        ]
    });
    table(
        [
            "notification",
            "receiver",
            "severity",
            "state",
            "tries",
            "due",
            "what",
        ],
        rows,
    )
}

fn whole(one: &Alert) -> String {
    let events: Vec<String> = one
        .events
        .iter()
        .map(|event| format!("  {} {}", words(event, "at"), words(event, "summary")))
        .collect();
    let events = events.join("\n");
    let dash = "-".to_owned();
    let answer = one.answer.as_deref().map(plain);
    format!(
        "{}\n\ntried  {}\nsaid   {}\nrule   {}\n\n{events}\n",
        told(std::slice::from_ref(one)),
        one.tried_at.as_ref().unwrap_or(&dash),
        answer.as_ref().unwrap_or(&dash),
        plain(&one.rule),
    )
}

fn receivers(all: &[Receiver]) -> String {
    let word = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let rows = all.iter().map(|one| {
        [
            one.name.clone(),
            one.kind.clone(),
            word(one.delivers),
            word(one.sees_security),
            format!("{} in {} s", one.rate_most, one.rate_per_seconds),
            one.quiet_hours.to_string(),
            one.tries.to_string(),
        ]
    });
    table(
        [
            "receiver",
            "kind",
            "delivers",
            "sees security",
            "takes",
            "quiet hours",
            "tries",
        ],
        rows,
    )
}

fn rules(all: &[AlertRule]) -> String {
    let rows = all.iter().map(|one| {
        let labels = one.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let only = [
            one.classes.join(" "),
            one.projects.join(" "),
            one.environments.join(" "),
            labels.collect::<Vec<_>>().join(" "),
        ];
        let only: Vec<String> = only.into_iter().filter(|text| !text.is_empty()).collect();
        [
            one.name.clone(),
            one.events.join(" "),
            one.at_least.clone(),
            plain(&only.join("; ")),
            one.receivers.join(" "),
        ]
    });
    table(["rule", "events", "at least", "only", "receivers"], rows)
}
