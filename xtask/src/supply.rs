//! What comes from outside: licences, bans, sources and advisories, off cargo's own graph.
//!
//! Written here rather than left to a tool of its own, because it is small, needs no download, and reads the advisory
//! database from a folder.

mod advisory;
mod licence;

use cargo_metadata::{Metadata, Package};

use anyhow::bail;

use crate::place::Place;
use crate::rules::{self, ARCH, Supply};

/// Something that may not be linked.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    package: String,
    what: String,
    rule: &'static str,
}

/// The step of `check`.
pub(crate) fn step(place: &Place) -> anyhow::Result<String> {
    let supply = rules::arch(&place.root)?.supply;
    let metadata = place.metadata()?;
    let mut problems: Vec<Problem> = foreign(&metadata)
        .flat_map(|package| look(package, &supply))
        .collect();
    let advisories = advisory::Database::open(&place.root.join(&supply.advisory_db))?;
    let note = if let Some(database) = &advisories {
        let verdict = database.look(foreign(&metadata), &supply.accepted)?;
        for note in &verdict.notes {
            println!("{note}");
        }
        problems.extend(verdict.problems);
        format!("{} advisories read", verdict.read)
    } else {
        format!(
            "no advisory database here ({}): advisories not checked",
            supply.advisory_db
        )
    };
    for Problem { package, what, rule } in &problems {
        println!("{package}: {what}\n    rule: {ARCH} {rule}");
    }
    if problems.is_empty() {
        return Ok(format!("{} packages; {note}", foreign(&metadata).count()));
    }
    bail!("{} problems; {note}", problems.len())
}

/// The packages that are not ours.
fn foreign(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata
        .packages
        .iter()
        .filter(|package| !metadata.workspace_members.contains(&package.id))
}

fn look(package: &Package, supply: &Supply) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |what: String, rule| {
        problems.push(Problem {
            package: title(package),
            what,
            rule,
        });
    };
    if let Some(ban) = supply
        .ban
        .iter()
        .find(|ban| ban.packages.iter().any(|name| name == package.name.as_str()))
    {
        problem(format!("banned: {}", ban.reason), "[[supply.ban]]");
    }
    match package.license.as_deref() {
        None => problem("names no licence".to_owned(), "[supply] licences"),
        Some(expression) if !licence::allows(expression, &supply.licences) => {
            problem(
                format!("its licence `{expression}` is not on the list"),
                "[supply] licences",
            );
        }
        Some(_) => {}
    }
    if !package
        .source
        .as_ref()
        .is_some_and(cargo_metadata::Source::is_crates_io)
    {
        problem(
            "does not come from the public registry".to_owned(),
            "xtask/src/supply.rs, sources",
        );
    }
    problems
}

fn title(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
}
