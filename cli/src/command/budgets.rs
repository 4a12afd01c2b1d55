//! `writ budget`: what may be promised to orders, and what is taken of it.

use serde_json::json;
use writ_protocol::reason::Code;

use super::Desk;
use crate::api::{Budget, Client};
use crate::args;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::{money, table};

pub(crate) fn run(desk: &Desk, command: args::Budget) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    match command {
        args::Budget::List => desk.list(&client.budgets()?, told)?,
        args::Budget::Show { budget } => one(desk, &client.budget(named(&budget)?)?)?,
        args::Budget::Set(args) => one(desk, &set(&client, &args)?)?,
    }
    Ok(Exit::Done)
}

fn one(desk: &Desk, budget: &Budget) -> anyhow::Result<()> {
    desk.printer.show(budget, || told(std::slice::from_ref(budget)))
}

/// Sets a budget; what the command line does not say stays as it is.
fn set(client: &Client, args: &args::SetBudget) -> anyhow::Result<Budget> {
    let name = named(&args.budget)?;
    let before = match client.budget(name) {
        Ok(before) => Some(before),
        Err(error) if is_missing(&error) => None,
        Err(error) => return Err(error),
    };
    let Some(cap) = args.cap.or_else(|| before.as_ref().map(|b| b.cap_micros)) else {
        return Err(Fault::new(
            Exit::Usage,
            format!("{name} has no budget yet, so it needs a cap"),
        )
        .help(format!("writ budget set {name} --cap AMOUNT"))
        .into());
    };
    let kept = |of: fn(&Budget) -> &String, new: &'static str| {
        before.as_ref().map_or(new, |b| of(b).as_str()).to_owned()
    };
    let mode = args.mode.map(|mode| mode.name().to_owned());
    let window = args.window.map(|window| window.name().to_owned());
    let body = json!({
        "capMicros": cap,
        "mode": mode.unwrap_or_else(|| kept(|b| &b.mode, "enforce")),
        "window": window.unwrap_or_else(|| kept(|b| &b.window, "none")),
    });
    client.set_budget(name, &body)
}

fn is_missing(error: &anyhow::Error) -> bool {
    let fault = error.downcast_ref::<Fault>();
    fault.is_some_and(|fault| fault.code == Some(Code::NotFound.to_string()))
}

/// A budget's name, as far as it can stand in an address; the controller knows the rest.
fn named(text: &str) -> Result<&str, Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text);
    }
    Err(
        Fault::new(Exit::Usage, format!("{text:?} is no name of a budget"))
            .help("one of: tenant, project:NAME, run:ID"),
    )
}

fn told(budgets: &[Budget]) -> String {
    let rows = budgets.iter().map(|b| {
        let window = match &b.window_began {
            Some(began) => format!("{} from {}", b.window, began.get(..10).unwrap_or(began)),
            None => "for good".to_owned(),
        };
        let spent = b.spent_micros.saturating_add(b.overrun_micros);
        [
            b.id.clone(),
            b.mode.clone(),
            window,
            money(b.cap_micros, &b.currency),
            money(spent, ""),
            money(b.reserved_micros, ""),
            money(b.disputed_micros, ""),
            money(b.left_micros, ""),
            b.refused.to_string(),
        ]
    });
    let head = [
        "budget", "mode", "window", "cap", "spent", "reserved", "disputed", "left", "refused",
    ];
    table(head, rows)
}
