//! The counted matrix: every provider that comes with an agent × what may be asked of it × platform. Of each cell two things are counted: whether what
//! a check said is what an apply did, and whether a second apply does nothing.
//!
//! What an apply did is not asked of the provider: a script looks at the host with its own tools before and after, and names attributes as the
//! provider does. Platforms, providers and cases are data (`conformance/providers/matrix.json`), to which a cell is added as a case there.
//!
//! * `table` reads that data, `cell` runs one of its cells, [`report`] is what came of all.

mod cell;
pub mod report;
mod table;

use super::place::{Place, PlaceError};
use super::{ExamineError, Program, builtin};
use cell::Bench;
use report::{Cell, Matrix};
use table::{Platform, Row, Table};

/// Runs every cell on an agent.
///
/// # Errors
/// [`ExamineError`] when nothing could be begun. A cell that failed stands in the report.
pub fn run(agent: &std::path::Path) -> Result<Matrix, ExamineError> {
    let path = agent.canonicalize().map_err(|error| ExamineError::Program {
        path: agent.display().to_string(),
        why: error.to_string(),
    })?;
    let program = Program {
        path,
        arguments: builtin::ARGUMENTS.map(str::to_owned).to_vec(),
    };
    let table = Table::ours()?;
    let mut cells = Vec::new();
    for platform in &table.platforms {
        of_platform(&program, &table, platform, &mut cells)?;
    }
    Ok(Matrix::of(cells))
}

fn of_platform(
    program: &Program,
    table: &Table,
    platform: &Platform,
    cells: &mut Vec<Cell>,
) -> Result<(), ExamineError> {
    let rows = || {
        table
            .rows
            .iter()
            .filter(|row| row.platforms.contains(&platform.name))
    };
    let mut not_run = |why: &str| {
        let of_row = |row: &Row| none(platform, row, why);
        cells.extend(rows().flat_map(of_row));
    };
    if let Some(why) = &platform.not_run {
        not_run(why);
        return Ok(());
    }
    let place = match Place::lab(program) {
        Err(PlaceError::NoLab { why }) => {
            not_run(&format!("no lab host here: {why}"));
            return Ok(());
        }
        other => other?,
    };
    for need in &platform.needs {
        if place.sh(&format!("command -v {need}")).is_err() {
            not_run(&format!("{need} is not installed"));
            return Ok(());
        }
    }
    let made = place.sh(&platform.setup);
    for row in rows() {
        if let Some(why) = &row.not_run {
            cells.extend(none(platform, row, why));
            continue;
        }
        let bench = Bench::new(&place, table, row);
        let ready = made.clone().and_then(|()| bench.prepare());
        for case in &row.cases {
            let ran = ready.clone().and_then(|()| bench.run(case));
            cells.push(Cell::ran((&platform.name, &row.provider, &case.name), ran));
        }
    }
    Ok(())
}

fn none(platform: &Platform, row: &Row, why: &str) -> Vec<Cell> {
    let of = |case: &table::Case| Cell::not_run((&platform.name, &row.provider, &case.name), why);
    row.cases.iter().map(of).collect()
}
