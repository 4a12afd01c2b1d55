//! `writ slo`: what is promised, how much of the error budget is left, and how fast it burns.

use super::Desk;
use crate::api::Slo;
use crate::args;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::table;

pub(crate) fn run(desk: &Desk, command: &args::Slo) -> anyhow::Result<Exit> {
    let client = desk.client()?;
    match command {
        args::Slo::List => desk.list(&client.slos()?, told)?,
        args::Slo::Show { slo } => {
            let found = client.slo(named(slo)?)?;
            desk.printer.show(&found, || whole(&found))?;
        }
    }
    Ok(Exit::Done)
}

/// A name that can stand in an address.
fn named(text: &str) -> Result<&str, Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text);
    }
    let what = format!("{text:?} is no name of a service level");
    Err(Fault::new(Exit::Usage, what).help("writ slo list shows them all"))
}

fn told(slos: &[Slo]) -> String {
    let rows = slos.iter().map(|one| {
        [
            one.name.clone(),
            one.state.clone(),
            percent(Some(one.objective)),
            percent(one.current),
            percent(one.budget_left),
            format!("{} of {}", one.good, one.total),
            one.window.clone(),
        ]
    });
    let head = [
        "service level",
        "state",
        "objective",
        "current",
        "budget left",
        "good",
        "window",
    ];
    table(head, rows)
}

fn whole(one: &Slo) -> String {
    let rows = one.burn.iter().map(|burn| {
        let rate = burn
            .rate
            .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.2}"));
        [
            burn.window.clone(),
            rate,
            format!("{} of {}", burn.good, burn.total),
        ]
    });
    let burns = table(["over", "burns", "good"], rows);
    format!(
        "{}\ngood are: {}\n\n{burns}",
        told(std::slice::from_ref(one)),
        one.about
    )
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.2} %", share * 100.0))
}
