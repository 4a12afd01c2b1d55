//! Migrations: numbered without a gap, never changed once sealed, and safe to run on a database in use.
//!
//! `migrations/SHA256SUMS` is in the form of `sha256sum`, so that anyone can check it. A migration whose line is there may
//! have run on somebody's database: changing it makes that database differ from a new one, silently.

mod safety;
mod sql;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::{Finding, Text, has_extension};

const FOLDER: &str = "migrations/";
const SUMS: &str = "migrations/SHA256SUMS";

/// What is wrong with the migrations.
pub(crate) fn look(files: &[Text]) -> Vec<Finding> {
    let migrations: Vec<(&str, &Text)> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix(FOLDER).map(|name| (name, file)))
        .filter(|(name, _)| has_extension(name, "sql"))
        .collect();
    let sums = files
        .iter()
        .find(|file| file.path == SUMS)
        .map(|file| parse(&file.content))
        .unwrap_or_default();
    let mut findings = Vec::new();
    for (at, (name, file)) in migrations.iter().enumerate() {
        if number(name) != Some(at + 1) {
            let what = format!(
                "the name should be {:04}_what.sql: the next number, then lower case and underscores",
                at + 1
            );
            findings.push(finding(&file.path, what));
        }
        match sums.get(*name) {
            None => findings.push(finding(
                &file.path,
                "not sealed; when it is final: cargo xtask tidy --seal".to_owned(),
            )),
            Some(sum) if *sum != digest(&file.content) => findings.push(finding(
                &file.path,
                "sealed, and changed since; undo the change and write a new migration".to_owned(),
            )),
            Some(_) => {}
        }
        findings.extend(safety::look(&file.path, name, &file.content));
    }
    for name in sums
        .keys()
        .filter(|name| !migrations.iter().any(|(there, _)| there == *name))
    {
        findings.push(finding(SUMS, format!("{name} is sealed and no longer there")));
    }
    findings
}

fn finding(file: &str, what: String) -> Finding {
    Finding {
        file: file.to_owned(),
        line: 0,
        rule: "migration",
        what,
        reason: "a migration runs once on each database; what has run anywhere must stay what it was"
            .to_owned(),
        written: "xtask/src/tidy/migrations.rs".to_owned(),
    }
}

/// Adds the sums of new migrations.
///
/// # Errors
/// A sealed migration was changed: its line is not rewritten.
pub(crate) fn seal(root: &Path) -> anyhow::Result<()> {
    let path = root.join(SUMS);
    let mut content = fs::read_to_string(&path).unwrap_or_default();
    let sealed = parse(&content);
    let mut names: Vec<String> = fs::read_dir(root.join(FOLDER))
        .context("reading migrations/")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| has_extension(name, "sql"))
        .collect();
    names.sort();
    for name in names {
        let file = root.join(FOLDER).join(&name);
        let sum = digest(&fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?);
        match sealed.get(&name) {
            None => writeln!(content, "{sum}  {name}")?,
            Some(before) if *before != sum => bail!(
                "{name} was sealed as {before} and is now {sum}. Undo the change and write a new migration; if it has never left \
                 this machine, take its line out of {SUMS} and seal again"
            ),
            Some(_) => {}
        }
    }
    fs::write(&path, content).with_context(|| format!("writing {SUMS}"))
}

fn parse(sums: &str) -> BTreeMap<String, String> {
    sums.lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
        .collect()
}

/// The number of `NNNN_what.sql`, if the name has that form.
fn number(name: &str) -> Option<usize> {
    let (number, what) = name.strip_suffix(".sql")?.split_once('_')?;
    let plain = !what.is_empty()
        && what
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    (number.len() == 4 && plain).then(|| number.parse().ok())?
}

fn digest(content: &str) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(content.as_bytes()) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str, content: &str) -> Text {
        Text {
            path: path.to_owned(),
            content: content.to_owned(),
        }
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<Text> = files.iter().map(|(path, content)| text(path, content)).collect();
        look(&files)
            .into_iter()
            .filter(|finding| finding.rule == "migration")
            .map(|finding| format!("{} {}", finding.file, finding.what))
            .collect()
    }

    #[test]
    fn a_sealed_migration_that_changed_is_found() {
        let sums = format!("{}  0001_keys.sql\n", digest("create"));
        assert_eq!(
            found(&[("migrations/0001_keys.sql", "create"), (SUMS, &sums)]),
            Vec::<String>::new()
        );
        let changed = found(&[("migrations/0001_keys.sql", "create more"), (SUMS, &sums)]);
        assert!(
            changed.len() == 1 && changed[0].contains("changed since"),
            "{changed:?}"
        );
        let gone = found(&[(SUMS, &sums)]);
        assert!(gone.len() == 1 && gone[0].contains("no longer there"), "{gone:?}");
    }

    #[test]
    fn numbers_have_no_gap_and_names_one_form() {
        let sums = ["0001_a.sql", "0003_b.sql", "0004-C.sql"]
            .map(|name| format!("{}  {name}\n", digest("")))
            .concat();
        let bad = found(&[
            ("migrations/0001_a.sql", ""),
            ("migrations/0003_b.sql", ""),
            ("migrations/0004-C.sql", ""),
            (SUMS, &sums),
        ]);
        assert_eq!(bad.len(), 2, "{bad:?}");
        assert!(
            bad[0].contains("0002_what.sql") && bad[1].contains("0003_what.sql"),
            "{bad:?}"
        );
    }

    #[test]
    fn sealing_adds_what_is_new_and_refuses_what_changed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("migrations");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("0001_a.sql"), "a").unwrap();
        seal(root.path()).unwrap();
        fs::write(folder.join("0002_b.sql"), "b").unwrap();
        seal(root.path()).unwrap();
        let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        assert_eq!(
            sums,
            format!("{}  0001_a.sql\n{}  0002_b.sql\n", digest("a"), digest("b"))
        );
        fs::write(folder.join("0001_a.sql"), "c").unwrap();
        let error = seal(root.path()).unwrap_err().to_string();
        assert!(
            error.contains("0001_a.sql") && error.contains("new migration"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(folder.join("SHA256SUMS")).unwrap(), sums);
    }
}
