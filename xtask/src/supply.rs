//! What comes from outside: licences, bans, sources and advisories, off cargo's own graph, and the bill of materials that tells of it.
//!
//! Written here rather than left to a tool of its own, because it is small, needs no download, and reads the advisory
//! database from a folder.

mod advisory;
mod licence;

use cargo_metadata::{Metadata, Package};

use anyhow::bail;

use crate::place::Place;
use crate::rules::{self, ARCH, Supply};
use crate::sbom;
use crate::step::read;

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
        lockfile(place)?;
        let bill = sbom::check(place)?;
        return Ok(format!("{} packages; {note}; {bill}", foreign(&metadata).count()));
    }
    bail!("{} problems; {note}", problems.len())
}

/// Cargo brings a stale `Cargo.lock` up to date in passing, before this tool even starts; then what is checked and tested
/// is not what is committed. A lock file that changes together with a manifest is somebody's work in progress.
fn lockfile(place: &Place) -> anyhow::Result<()> {
    let changed =
        read(
            place
                .command("git")
                .args(["status", "--porcelain", "--", "Cargo.lock", "*Cargo.toml"]),
        )?;
    if is_stale(&changed) {
        bail!(
            "Cargo.lock is not what the committed manifests need: look at `git diff Cargo.lock` and commit it"
        );
    }
    Ok(())
}

/// Whether the lock file stands alone in a short `git status`.
fn is_stale(changed: &str) -> bool {
    let mut changed = changed.lines().filter_map(|line| line.get(3..)).peekable();
    changed.peek().is_some() && changed.all(|path| path == "Cargo.lock")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn package(license: &str, source: &str) -> Package {
        let json = serde_json::json!({
            "name": "p", "version": "1.0.0", "id": "p", "dependencies": [], "targets": [], "features": {}, "manifest_path": "/p/Cargo.toml",
            "edition": "2024", "authors": [], "categories": [], "keywords": [], "license": license, "source": source, "description": null,
            "readme": null, "repository": null, "homepage": null, "documentation": null, "links": null, "publish": null
        });
        serde_json::from_value(json).unwrap()
    }

    fn found(license: &str, source: &str, banned: &str) -> Vec<&'static str> {
        let supply: Supply = toml::from_str(&format!(
            "licences = [\"MIT\"]\nadvisory_db = \"\"\n[[ban]]\npackages = [\"{banned}\"]\nreason = \"no\"\n"
        ))
        .unwrap();
        look(&package(license, source), &supply)
            .iter()
            .map(|problem| problem.rule)
            .collect()
    }

    #[test]
    fn licences_bans_and_sources_are_held() {
        // The registry's name is in cargo's data, never in our files.
        let registry = ["registry+https://github.com/rust-lang/crates", ".io-index"].concat();
        assert_eq!(found("MIT", &registry, "q"), Vec::<&str>::new());
        assert_eq!(found("GPL-3.0", &registry, "q"), ["[supply] licences"]);
        assert_eq!(found("MIT", &registry, "p"), ["[[supply.ban]]"]);
        assert_eq!(
            found("MIT", "git+https://example.org/p", "q"),
            ["xtask/src/supply.rs, sources"]
        );
    }

    #[test]
    fn a_lock_file_that_changes_alone_is_stale_and_with_a_manifest_it_is_not() {
        assert!(!is_stale(""));
        assert!(is_stale(" M Cargo.lock\n"));
        assert!(!is_stale(" M Cargo.lock\n M agent/Cargo.toml\n"));
        assert!(!is_stale(" M agent/Cargo.toml\n"));
    }
}
