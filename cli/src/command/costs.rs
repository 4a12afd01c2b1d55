//! `writ cost`: what orders cost, and which of them nobody knows.

use super::{Desk, cost_reports};
use crate::api::{Client, CostLine, CostReport, UnknownCost};
use crate::args;
use crate::clock::now;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::{money, table};

/// How often a report is read again whose ledger moved between its pages.
const READS_MAX: u32 = 5;
/// Most orders of unknown cost that are told to people; machines are given all.
const UNKNOWN_TOLD_MAX: usize = 20;

pub(crate) fn run(desk: &Desk, command: &args::Cost) -> anyhow::Result<Exit> {
    match command {
        args::Cost::Report { by, window } => {
            let client = desk.client()?;
            let query = query(window)?;
            let mut report = read(&client, by.name(), &query)?;
            report.unknown = client.unknown_costs(&query)?;
            show(desk, &report)?;
        }
        args::Cost::Top { by, limit, window } => {
            let query = query(window)?;
            let report = desk.client()?.cost_top(by.name(), *limit, &query)?;
            show(desk, &report)?;
        }
        args::Cost::Reports => cost_reports::list(desk)?,
        args::Cost::Sign { week } => cost_reports::sign(desk, week)?,
        args::Cost::Fetch { week, out, digest } => cost_reports::fetch(desk, week, out, digest.as_deref())?,
        args::Cost::Verify { folder, root } => cost_reports::verify(desk, folder, root.as_deref())?,
    }
    Ok(Exit::Done)
}

fn query(window: &args::CostWindow) -> Result<String, Fault> {
    let (from, to) = window.instants(now());
    let instants = [("from", from), ("to", to)].map(|(name, at)| at.map(|at| format!("&{name}={at}")));
    let project = window.project.as_ref().map(|project| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if project.is_empty() || !project.chars().all(plain) {
            let what = format!("{project:?} is no name of a project");
            return Err(Fault::new(Exit::Usage, what));
        }
        Ok(format!("&project={project}"))
    });
    let parts = instants.into_iter().flatten().chain(project.transpose()?);
    Ok(parts.collect())
}

/// All lines of a report, of one state of the ledger: lines that were read while it moved do not add up, and are read again.
fn read(client: &Client, by: &str, window: &str) -> anyhow::Result<CostReport> {
    for _ in 0..READS_MAX {
        let report = client.costs(by, window)?;
        if adds_up(&report) {
            return Ok(report);
        }
    }
    Err(Fault::new(
        Exit::Failed,
        "the ledger moved each time that the report was read, so its lines do not add up to its total",
    )
    .help("name a window that is over: --to 1m")
    .into())
}

fn adds_up(report: &CostReport) -> bool {
    let sum = |of: fn(&CostLine) -> u64| report.items.iter().map(of).fold(0, u64::saturating_add);
    let lines = (
        sum(|line| line.cost_micros),
        sum(|line| line.unknown_micros),
        sum(|line| line.open_micros),
    );
    let total = &report.total;
    lines == (total.cost_micros, total.unknown_micros, total.open_micros)
}

fn show(desk: &Desk, report: &CostReport) -> anyhow::Result<()> {
    if desk.json_lines {
        return report.items.iter().try_for_each(|line| desk.printer.line(line));
    }
    desk.printer.show(report, || told(report))
}

fn told(report: &CostReport) -> String {
    let row = |key: &str, line: &CostLine| {
        [
            key.to_owned(),
            line.orders.to_string(),
            money(line.cost_micros, ""),
            money(line.unknown_micros, ""),
            money(line.counted_micros, &report.currency),
            money(line.open_micros, ""),
            versions(&line.rate_cards),
        ]
    };
    let lines = report.items.iter().map(|line| row(&line.key, line));
    let total = CostLine {
        key: String::new(),
        ..report.total.clone()
    };
    let head = [
        &report.by, "orders", "cost", "unknown", "counted", "open", "rates",
    ];
    let mut parts = vec![
        format!("{} to {}", report.from, report.to),
        table(head, lines.chain([row("total", &total)])),
    ];
    if !report.unknown.is_empty() {
        parts.push("\ncost not known, counted as the whole grant:".to_owned());
        parts.push(unknown(&report.unknown, &report.currency));
        let more = report.unknown.len().saturating_sub(UNKNOWN_TOLD_MAX);
        if more > 0 {
            parts.push(format!("and {more} more: -o json"));
        }
    }
    parts.join("\n")
}

fn unknown(orders: &[UnknownCost], currency: &str) -> String {
    let rows = orders.iter().take(UNKNOWN_TOLD_MAX).map(|one| {
        [
            one.run_id.clone(),
            one.agent_name.clone(),
            one.state.clone(),
            one.why.clone(),
            money(one.cost_micros, ""),
            money(one.counted_micros, currency),
        ]
    });
    table(["run", "agent", "state", "why", "known", "counted"], rows)
}

fn versions(cards: &[u32]) -> String {
    let all: Vec<String> = cards.iter().map(|version| format!("v{version}")).collect();
    all.join(",")
}
