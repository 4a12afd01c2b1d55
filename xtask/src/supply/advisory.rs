//! Known vulnerabilities: the packages of the graph against a folder of advisories in RustSec's form.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use cargo_metadata::Package;
use cargo_metadata::semver::{Version, VersionReq};
use serde::Deserialize;

use super::{Problem, title};
use crate::rules::Accepted;

/// A folder `crates/<package>/<id>.md`.
#[derive(Debug)]
pub(super) struct Database {
    crates: PathBuf,
}

/// What the database says about a graph.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Advisories that were read.
    pub(super) read: usize,
    /// What must be mended.
    pub(super) problems: Vec<Problem>,
    /// What is worth knowing.
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Front {
    advisory: Advisory,
    versions: Versions,
}

#[derive(Debug, Deserialize)]
struct Advisory {
    id: String,
    withdrawn: Option<String>,
    informational: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Versions {
    #[serde(default)]
    patched: Vec<VersionReq>,
    #[serde(default)]
    unaffected: Vec<VersionReq>,
}

impl Database {
    /// Opens the database, if there is one.
    ///
    /// # Errors
    /// The folder is there but holds no advisories: a check that reads nothing must not pass.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Option<Self>> {
        if !folder.exists() {
            return Ok(None);
        }
        let crates = folder.join("crates");
        if !crates.is_dir() {
            return Err(anyhow!(
                "{} is no advisory database: it has no folder `crates`",
                folder.display()
            ));
        }
        Ok(Some(Self { crates }))
    }

    /// Holds the packages against the database. Vulnerable and unsound ones are problems, unmaintained ones are notes.
    pub(super) fn look<'a>(
        &self,
        packages: impl Iterator<Item = &'a Package>,
        accepted: &[Accepted],
    ) -> anyhow::Result<Verdict> {
        let mut verdict = Verdict::default();
        let mut used = BTreeSet::new();
        for package in packages {
            for (title_line, front) in self.about(package.name.as_str())? {
                verdict.read += 1;
                let Advisory {
                    id,
                    withdrawn,
                    informational,
                } = front.advisory;
                if withdrawn.is_some() || !front.versions.touch(&package.version) {
                    continue;
                }
                let what = format!("{id}: {title_line}");
                if accepted.iter().any(|known| known.id == id) {
                    used.insert(id);
                } else if matches!(informational.as_deref(), Some("unmaintained" | "notice")) {
                    verdict.notes.push(format!("note: {}: {what}", title(package)));
                } else {
                    verdict.problems.push(Problem {
                        package: title(package),
                        what,
                        rule: "[[supply.accepted]], when it does not reach us",
                    });
                }
            }
        }
        verdict.problems.extend(
            accepted
                .iter()
                .filter(|known| !used.contains(&known.id))
                .map(|known| Problem {
                    package: known.id.clone(),
                    what: format!(
                        "is accepted (\"{}\") but touches nothing; take it out",
                        known.reason
                    ),
                    rule: "[[supply.accepted]]",
                }),
        );
        Ok(verdict)
    }

    fn about(&self, package: &str) -> anyhow::Result<Vec<(String, Front)>> {
        let folder = self.crates.join(package);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut paths: Vec<PathBuf> = fs::read_dir(&folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
        paths.sort();
        paths
            .iter()
            .map(|path| {
                parse(&fs::read_to_string(path)?)
                    .with_context(|| format!("reading the advisory {}", path.display()))
            })
            .collect()
    }
}

impl Versions {
    fn touch(&self, version: &Version) -> bool {
        !self
            .patched
            .iter()
            .chain(&self.unaffected)
            .any(|fine| fine.matches(version))
    }
}

/// The title and the TOML at the head of an advisory.
fn parse(text: &str) -> anyhow::Result<(String, Front)> {
    let (head, body) = text
        .trim_start()
        .strip_prefix("```toml")
        .and_then(|rest| rest.split_once("```"))
        .context("it does not begin with a block of TOML")?;
    let title = body
        .lines()
        .find_map(|line| line.strip_prefix("# "))
        .unwrap_or("without a title");
    Ok((title.trim().to_owned(), toml::from_str(head)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advisory(extra: &str, versions: &str) -> String {
        format!(
            "```toml\n[advisory]\nid = \"X-1\"\npackage = \"p\"\n{extra}\n[versions]\n{versions}\n```\n\n# It breaks\n\nText.\n"
        )
    }

    fn database(text: &str) -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("crates/p")).unwrap();
        fs::write(folder.path().join("crates/p/X-1.md"), text).unwrap();
        let database = Database::open(folder.path()).unwrap().unwrap();
        (folder, database)
    }

    fn package(version: &str) -> Package {
        let json = serde_json::json!({
            "name": "p", "version": version, "id": "p", "dependencies": [], "targets": [], "features": {}, "manifest_path": "/p/Cargo.toml",
            "edition": "2024", "authors": [], "categories": [], "keywords": [], "license": null, "source": null, "description": null,
            "readme": null, "repository": null, "homepage": null, "documentation": null, "links": null, "publish": null
        });
        serde_json::from_value(json).unwrap()
    }

    fn look(text: &str, version: &str, accepted: &[Accepted]) -> (Vec<String>, Vec<String>) {
        let (_folder, database) = database(text);
        let package = package(version);
        let verdict = database.look(std::iter::once(&package), accepted).unwrap();
        (
            verdict.problems.into_iter().map(|problem| problem.what).collect(),
            verdict.notes,
        )
    }

    #[test]
    fn a_version_that_is_neither_patched_nor_spared_is_a_problem() {
        let text = advisory(
            "",
            "patched = [\">= 1.2.0\", \"^1.1.5\"]\nunaffected = [\"< 1.0.0\"]",
        );
        assert_eq!(look(&text, "1.0.3", &[]).0, ["X-1: It breaks"]);
        for fine in ["1.2.0", "1.1.6", "0.9.0"] {
            assert!(look(&text, fine, &[]).0.is_empty(), "{fine}");
        }
    }

    #[test]
    fn unsound_is_a_problem_unmaintained_a_note_and_withdrawn_nothing() {
        let kinds = |extra: &str| {
            let (problems, notes) = look(&advisory(extra, "patched = []"), "1.0.0", &[]);
            (problems.len(), notes.len())
        };
        assert_eq!(kinds("informational = \"unsound\""), (1, 0));
        assert_eq!(kinds("informational = \"unmaintained\""), (0, 1));
        assert_eq!(kinds("withdrawn = \"2026-01-01\""), (0, 0));
    }

    #[test]
    fn an_accepted_advisory_is_quiet_and_a_needless_acceptance_is_not() {
        let accepted = [Accepted {
            id: "X-1".to_owned(),
            reason: "never called".to_owned(),
        }];
        let text = advisory("", "patched = [\">= 2.0.0\"]");
        assert!(look(&text, "1.0.0", &accepted).0.is_empty());
        let needless = look(&text, "2.0.0", &accepted).0;
        assert!(
            needless.len() == 1 && needless[0].contains("take it out"),
            "{needless:?}"
        );
    }

    #[test]
    fn no_database_is_said_and_a_folder_that_is_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Database::open(&folder.path().join("missing")).unwrap().is_none());
        assert!(Database::open(folder.path()).is_err());
    }
}
