//! Arrows between packages: which of ours may name which, and who may name what from outside.
//!
//! Read off cargo's own view of the manifests. What a package names for its tests is looser: also what `allow_in_tests`
//! lists, because tests may lean on vectors and clocks that production code does not.

use std::fs;
use std::path::Path;

use cargo_metadata::{Dependency, DependencyKind, Metadata, Package};

use super::Finding;
use crate::rules::{ARCH, Arch};

/// Arrows that the tables do not have.
pub(crate) fn look(metadata: &Metadata, arch: &Arch, root: &Path) -> anyhow::Result<Vec<Finding>> {
    let packages = metadata.workspace_packages();
    let ours: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in &packages {
        let manifest = Manifest::read(package, root)?;
        if !arch.allow.contains_key(short(package.name.as_str())) {
            let what = "this package is not in the table".to_owned();
            let reason = UNKNOWN.to_owned();
            let broken = Broken {
                rule: "arrow",
                what,
                reason,
                table: "[allow]",
            };
            findings.push(manifest.finding("", broken));
        }
        for dependency in &package.dependencies {
            let found = if ours.contains(&dependency.name.as_str()) {
                inner(package, dependency, arch)
            } else {
                outer(package, dependency, arch)
            };
            findings.extend(found.map(|broken| manifest.finding(&dependency.name, broken)));
        }
    }
    Ok(findings)
}

const UNKNOWN: &str = "a new package says what it may name; without a row every arrow would be open";

struct Broken {
    rule: &'static str,
    what: String,
    reason: String,
    table: &'static str,
}

fn inner(package: &Package, dependency: &Dependency, arch: &Arch) -> Option<Broken> {
    let from = short(package.name.as_str());
    let to = short(&dependency.name);
    let allowed = arch.allow.get(from)?;
    let for_tests = dependency.kind == DependencyKind::Development;
    let fine = allowed.iter().any(|entry| entry == to || entry == "*")
        || (for_tests && arch.allow_in_tests.iter().any(|entry| entry == to));
    (!fine).then(|| Broken {
        rule: "arrow",
        what: format!(
            "`{from}` names `{to}`; it may name {}",
            if allowed.is_empty() {
                "none of ours".to_owned()
            } else {
                allowed.join(", ")
            }
        ),
        reason: "the walls of the house are packages; a new arrow is a decision of its own (docs/adr)"
            .to_owned(),
        table: "[allow]",
    })
}

fn outer(package: &Package, dependency: &Dependency, arch: &Arch) -> Option<Broken> {
    let name = dependency.name.as_str();
    let from = package.name.as_str();
    if let Some(rule) = arch
        .owner
        .iter()
        .find(|rule| rule.packages.iter().any(|owned| owned == name))
        && !rule.owners.iter().any(|owner| owner == short(from))
    {
        let what = format!("`{name}` may be named only by {}", rule.owners.join(", "));
        return Some(Broken {
            rule: "owner",
            what,
            reason: rule.reason.clone(),
            table: "[[owner]]",
        });
    }
    let pure = arch.pure.packages.iter().any(|package| package == short(from));
    let never = arch.pure.never.iter().any(|never| never == name);
    // Tests of a pure package may do what it may not.
    (pure && never && dependency.kind != DependencyKind::Development).then(|| Broken {
        rule: "pure",
        what: format!("`{from}` names `{name}`"),
        reason: arch.pure.reason.clone(),
        table: "[pure]",
    })
}

/// The name as the tables use it.
fn short(name: &str) -> &str {
    name.strip_prefix("writ-").unwrap_or(name)
}

/// A package's manifest, to say the line.
struct Manifest {
    path: String,
    content: String,
}

impl Manifest {
    fn read(package: &Package, root: &Path) -> anyhow::Result<Self> {
        let path = package.manifest_path.as_std_path();
        let content = fs::read_to_string(path)?;
        let path = path
            .strip_prefix(root)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned();
        Ok(Self { path, content })
    }

    fn finding(&self, dependency: &str, broken: Broken) -> Finding {
        let Broken {
            rule,
            what,
            reason,
            table,
        } = broken;
        let line = self.line_of(dependency);
        Finding {
            file: self.path.clone(),
            line,
            rule,
            what,
            reason,
            written: format!("{ARCH} {table}"),
        }
    }

    fn line_of(&self, dependency: &str) -> usize {
        let names = |line: &str| {
            line.strip_prefix(dependency)
                .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        };
        self.content.lines().position(names).map_or(0, |at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph of one package of ours, `writ-plan`, beside `writ-protocol` and `writ-store`.
    fn graph(dependencies: &str) -> Metadata {
        let package = |name: &str, dependencies: &str| {
            format!(
                r#"{{"name":"{name}","version":"0.1.0","id":"{name}","dependencies":[{dependencies}],"targets":[],"features":{{}},
                "manifest_path":"{}/Cargo.toml","edition":"2024","authors":[],"categories":[],"keywords":[],"license":null,"source":null,
                "description":null,"readme":null,"repository":null,"homepage":null,"documentation":null,"links":null,"publish":null}}"#,
                env!("CARGO_MANIFEST_DIR")
            )
        };
        let packages = [
            package("writ-plan", dependencies),
            package("writ-protocol", ""),
            package("writ-store", ""),
        ]
        .join(",");
        let json = format!(
            r#"{{"packages":[{packages}],"workspace_members":["writ-plan","writ-protocol","writ-store"],"workspace_root":"/x",
            "target_directory":"/x/target","version":1,"resolve":null}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn dependency(name: &str, kind: &str) -> String {
        format!(
            r#"{{"name":"{name}","source":null,"req":"*","kind":{kind},"optional":false,"uses_default_features":true,"features":[],
            "target":null,"rename":null,"registry":null,"path":null}}"#
        )
    }

    fn arch() -> Arch {
        toml::from_str(
            r#"
            allow_in_tests = ["store"]
            [allow]
            plan = ["protocol"]
            protocol = []
            store = []
            [rooms]
            [[token]]
            tokens = []
            reason = ""
            [[owner]]
            packages = ["sqlx"]
            owners = ["store"]
            reason = "one ledger"
            [pure]
            packages = ["plan"]
            never = ["tokio"]
            reason = "no IO"
            [supply]
            licences = []
            ban = []
            advisory_db = ""
            "#,
        )
        .unwrap()
    }

    fn rules(name: &str, kind: &str) -> Vec<&'static str> {
        let findings = look(&graph(&dependency(name, kind)), &arch(), Path::new("/x")).unwrap();
        findings.iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn an_arrow_of_the_table_is_fine_and_another_is_not() {
        assert_eq!(rules("writ-protocol", "null"), Vec::<&str>::new());
        assert_eq!(rules("writ-store", "null"), ["arrow"]);
        assert_eq!(rules("writ-store", "\"build\""), ["arrow"]);
    }

    #[test]
    fn tests_may_lean_on_what_the_list_for_tests_names() {
        assert_eq!(rules("writ-store", "\"dev\""), Vec::<&str>::new());
    }

    #[test]
    fn third_party_packages_have_owners_and_pure_packages_do_no_io() {
        assert_eq!(rules("sqlx", "null"), ["owner"]);
        assert_eq!(rules("sqlx", "\"dev\""), ["owner"]);
        assert_eq!(rules("tokio", "null"), ["pure"]);
        assert_eq!(rules("tokio", "\"dev\""), Vec::<&str>::new());
        assert_eq!(rules("serde", "null"), Vec::<&str>::new());
    }

    #[test]
    fn the_line_of_the_manifest_is_the_dependency_and_not_one_that_begins_like_it() {
        let manifest = Manifest {
            path: "a".to_owned(),
            content: "[x]\nserde_json.workspace = true\nserde = \"1\"\n".to_owned(),
        };
        assert_eq!(manifest.line_of("serde"), 3);
        assert_eq!(manifest.line_of("serde_json"), 2);
    }
}
