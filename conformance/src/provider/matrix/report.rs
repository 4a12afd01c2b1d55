//! What came of the matrix, for people and programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

pub use crate::provider::report::Outcome;

/// Version of the report's form.
pub const MATRIX_VERSION: u16 = 1;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// [`MATRIX_VERSION`].
    pub version: u16,
    /// Its cells, by platform, provider and case.
    pub rows: Vec<Cell>,
    /// What they add up to.
    pub totals: Totals,
}

/// What cells add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// All cells.
    pub cells: usize,
    /// Those that did as they owe.
    pub passed: usize,
    /// Those that did not.
    pub failed: usize,
    /// Those that could not run here.
    pub not_run: usize,
    /// How many of a hundred that ran had nothing to do a second time, rounded down; 0 where none ran.
    pub idempotent_percent: usize,
    /// Cells that ran and did not do what was predicted.
    pub parity_mismatches: usize,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// Where.
    pub platform: String,
    /// Who, with the manager that it goes by.
    pub provider: String,
    /// What was asked for.
    pub case: String,
    /// What came of it.
    pub status: Outcome,
    /// Why it failed, or could not run.
    pub reason: Option<String>,
    /// Attributes that a check named.
    pub predicted: BTreeSet<String>,
    /// Attributes that changed.
    pub done: BTreeSet<String>,
    /// Whether a second apply did nothing.
    pub idempotent: bool,
}

/// What was seen of a cell that ran to its end.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) predicted: BTreeSet<String>,
    pub(super) done: BTreeSet<String>,
    pub(super) idempotent: bool,
    /// What a second apply did.
    pub(super) again: Option<String>,
}

impl Cell {
    pub(super) fn named((platform, provider, case): (&str, &str, &str)) -> Self {
        Self {
            platform: platform.to_owned(),
            provider: provider.to_owned(),
            case: case.to_owned(),
            status: Outcome::Failed,
            reason: None,
            predicted: BTreeSet::new(),
            done: BTreeSet::new(),
            idempotent: false,
        }
    }

    pub(super) fn not_run(named: (&str, &str, &str), why: &str) -> Self {
        Self {
            status: Outcome::NotRun,
            reason: Some(why.to_owned()),
            ..Self::named(named)
        }
    }

    /// One that ran, or that broke on the way.
    pub(super) fn ran(named: (&str, &str, &str), ran: Result<Ran, String>) -> Self {
        let cell = Self::named(named);
        match ran {
            Err(finding) => Self {
                reason: Some(finding),
                ..cell
            },
            Ok(ran) => {
                let reason = if ran.predicted != ran.done {
                    Some("what was done is not what was predicted".to_owned())
                } else if ran.idempotent {
                    None
                } else {
                    let again = ran.again.as_deref().unwrap_or("the host differs");
                    Some(format!("a second apply is not nothing: {again}"))
                };
                let status = if reason.is_none() {
                    Outcome::Passed
                } else {
                    Outcome::Failed
                };
                Self {
                    status,
                    reason,
                    predicted: ran.predicted,
                    done: ran.done,
                    idempotent: ran.idempotent,
                    ..cell
                }
            }
        }
    }
}

impl Matrix {
    pub(super) fn of(rows: Vec<Cell>) -> Self {
        let count = |outcome| rows.iter().filter(|cell| cell.status == outcome).count();
        let ran = || rows.iter().filter(|cell| cell.status != Outcome::NotRun);
        let idempotent = ran().filter(|cell| cell.idempotent).count();
        let totals = Totals {
            cells: rows.len(),
            passed: count(Outcome::Passed),
            failed: count(Outcome::Failed),
            not_run: count(Outcome::NotRun),
            idempotent_percent: (idempotent * 100).checked_div(ran().count()).unwrap_or(0),
            parity_mismatches: ran().filter(|cell| cell.predicted != cell.done).count(),
        };
        Self {
            version: MATRIX_VERSION,
            rows,
            totals,
        }
    }

    /// A line for each cell, and the sums.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = String::new();
        for cell in &self.rows {
            let status = match cell.status {
                Outcome::Passed => "PASSED",
                Outcome::Failed => "FAILED",
                Outcome::NotRun => "NOT_RUN",
            };
            let seen = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(",");
            let words = match &cell.reason {
                None => seen(&cell.done),
                Some(why) if cell.status == Outcome::NotRun => why.clone(),
                Some(why) => format!("{why} [{} / {}]", seen(&cell.predicted), seen(&cell.done)),
            };
            // Writing to a text does not fail.
            let _written = writeln!(
                text,
                "{:<12} {:<16} {:<24} {status:<8} {words}",
                cell.platform, cell.provider, cell.case
            );
        }
        let sums = self.totals;
        let _written = writeln!(
            text,
            "{} cells: {} passed, {} failed, {} not run; idempotent {} %, {} parity mismatches",
            sums.cells,
            sums.passed,
            sums.failed,
            sums.not_run,
            sums.idempotent_percent,
            sums.parity_mismatches
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(predicted: &[&str], done: &[&str], idempotent: bool) -> Cell {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let ran = Ran {
            predicted: set(predicted),
            done: set(done),
            idempotent,
            again: None,
        };
        Cell::ran(("debian", "file", "a"), Ok(ran))
    }

    #[test]
    fn what_did_not_run_is_never_counted_as_passed() {
        let matrix = Matrix::of(vec![
            ran(&["mode"], &["mode"], true),
            ran(&["mode"], &["mode", "owner"], true),
            ran(&["mode"], &["mode"], false),
            Cell::ran(("debian", "file", "b"), Err("broke".to_owned())),
            Cell::not_run(("macos", "file", "a"), "no macOS"),
        ]);
        let totals = Totals {
            cells: 5,
            passed: 1,
            failed: 3,
            not_run: 1,
            idempotent_percent: 50,
            parity_mismatches: 1,
        };
        assert_eq!(matrix.totals, totals);
        assert!(matrix.told().contains("NOT_RUN  no macOS"));
        assert_eq!(Matrix::of(Vec::new()).totals.idempotent_percent, 0);
    }
}
