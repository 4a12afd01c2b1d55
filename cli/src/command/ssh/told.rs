//! What came of many hosts: for each its own report or its own failure, as JSON shows it, as people read it, and as one error for the shell.

use serde::Serialize;
use writ_plan::plan::HostPlan;
use writ_protocol::digest::Digest;
use writ_protocol::id::RunId;

use super::super::work::report::Report;
use crate::exit::Exit;
use crate::fault::{self, Fault};
use crate::output::{Teller, table};
use crate::ssh::Host;

/// What came of one host.
pub(super) struct Outcome {
    pub(super) host: String,
    /// What a look found, where it was only looked at.
    pub(super) found: Option<HostPlan>,
    pub(super) report: Option<Report>,
    pub(super) has_changed: bool,
    /// Not so where too many others failed before it was its turn.
    pub(super) is_begun: bool,
    pub(super) error: Option<anyhow::Error>,
}

impl Outcome {
    pub(super) fn of(host: &Host) -> Self {
        Self {
            host: host.name().to_owned(),
            found: None,
            report: None,
            has_changed: false,
            is_begun: true,
            error: None,
        }
    }
}

/// All of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told<'a> {
    run: RunId,
    plan: Digest,
    hosts: Vec<One<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    host: &'a str,
    /// How its order ended, `unchanged` where there was nothing to do, `failed` where no order came to an end, `not-started` where none was given.
    state: &'a str,
    report: Option<&'a Report>,
    error: Option<serde_json::Value>,
}

impl<'a> Told<'a> {
    pub(super) fn new(run: RunId, plan: Digest, all: &'a [Outcome]) -> Self {
        let ended = |one: &Outcome| if one.is_begun { "failed" } else { "not-started" };
        let one = |one: &'a Outcome| One {
            host: &one.host,
            state: one
                .report
                .as_ref()
                .map_or_else(|| ended(one), |report| &report.state),
            report: one.report.as_ref(),
            error: one.error.as_ref().map(fault::to_json),
        };
        Self {
            run,
            plan,
            hosts: all.iter().map(one).collect(),
        }
    }

    pub(super) fn to_people(&self) -> String {
        let rows = self.hosts.iter().map(|one| {
            let report = one.report;
            [
                one.host.to_owned(),
                one.state.to_owned(),
                report.map(Report::counts).unwrap_or_default(),
                report
                    .map(|report| report.pack.display().to_string())
                    .unwrap_or_default(),
            ]
        });
        let mut parts = vec![
            format!(
                "{} on {} {}",
                self.run,
                self.hosts.len(),
                if self.hosts.len() == 1 { "host" } else { "hosts" }
            ),
            table(["host", "state", "steps", "evidence"], rows),
        ];
        let first = self.hosts.iter().find_map(|one| one.report);
        parts.extend(first.map(|report| {
            format!(
                "next: writ evidence verify {} --root {}",
                report.pack.display(),
                report.root
            )
        }));
        parts.join("\n\n")
    }
}

/// The failures of hosts as one error, after each was told where there are several hosts.
///
/// # Errors
/// That error; there is none where no host failed.
pub(super) fn failures(teller: &Teller, all: &[Outcome]) -> anyhow::Result<()> {
    let failed: Vec<(&Outcome, &anyhow::Error)> = all
        .iter()
        .filter_map(|one| Some((one, one.error.as_ref()?)))
        .collect();
    // What stops everything counts first, then what a new plan mends, then the first by name.
    let first_with = |exit| failed.iter().find(|(_, error)| fault::exit(error) == exit);
    let worst = first_with(Exit::Interrupted).or_else(|| first_with(Exit::Stale));
    let Some((_, worst)) = worst.or(failed.first()) else {
        return Ok(());
    };
    if all.len() > 1 {
        for (one, error) in &failed {
            teller.complain(&format!("{}: {}", one.host, fault::tell(error)));
        }
    }
    let known = worst.downcast_ref::<Fault>();
    let message = match all.len() {
        1 => format!("{worst:#}"),
        hosts => format!("{} of {hosts} hosts failed, and each is told above", failed.len()),
    };
    Err(Fault {
        exit: fault::exit(worst),
        code: known.and_then(|fault| fault.code.clone()),
        message,
        help: known
            .and_then(|fault| fault.help.clone())
            .filter(|_| all.len() == 1),
    }
    .into())
}
