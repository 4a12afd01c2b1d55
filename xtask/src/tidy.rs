//! `cargo xtask tidy`: what the compiler does not check and a review should not have to.
//!
//! A plain text program: it lists the files git knows, looks at them, and prints findings. Each finding says where, which
//! rule, why, and where the rule is written. To add a rule: data in `xtask/arch.toml` or `xtask/tidy.toml` if it is a word or
//! an arrow, else a function that returns findings, called from [`look`].

mod arrows;
mod documents;
mod files;
mod migrations;
mod rooms;
mod source;
mod words;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::place::Place;
use crate::rules;
use crate::step::read;
use source::Source;

/// What of tidy to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// First write the checksums of new migrations to migrations/SHA256SUMS: from then on they may not change
    #[arg(long)]
    seal: bool,
}

/// Something to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path below the root.
    pub(crate) file: String,
    /// From 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// Short name of the rule.
    pub(crate) rule: &'static str,
    /// What is wrong.
    pub(crate) what: String,
    /// Why it is a rule.
    pub(crate) reason: String,
    /// Where the rule is written.
    pub(crate) written: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            rule,
            what,
            reason,
            written,
        } = self;
        write!(f, "{file}")?;
        if *line > 0 {
            write!(f, ":{line}")?;
        }
        write!(f, ": {rule}: {what}\n    why: {reason}\n    rule: {written}")
    }
}

/// A file git knows, if it is text.
#[derive(Debug)]
pub(crate) struct Text {
    /// Path below the root, with `/`.
    pub(crate) path: String,
    /// Its content.
    pub(crate) content: String,
}

/// Prints the findings.
pub(crate) fn run(place: &Place, options: &Options) -> anyhow::Result<ExitCode> {
    if options.seal {
        migrations::seal(&place.root)?;
    }
    match step(place) {
        Ok(note) => {
            eprintln!("tidy: {note}");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("tidy: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The same as a step of `check`.
pub(crate) fn step(place: &Place) -> anyhow::Result<String> {
    let files = list(place)?;
    let mut findings = look(place, &files)?;
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        return Ok(format!("{} files", files.len()));
    }
    bail!("{} findings in {} files", findings.len(), files.len())
}

fn look(place: &Place, files: &[Text]) -> anyhow::Result<Vec<Finding>> {
    let arch = rules::arch(&place.root)?;
    let tidy = rules::tidy(&place.root)?;
    let sources: Vec<Source> = files
        .iter()
        .filter(|file| has_extension(&file.path, "rs"))
        .map(|file| Source::read(&file.path, &file.content))
        .collect();
    let mut findings = arrows::look(&place.metadata()?, &arch, &place.root)?;
    findings.extend(rooms::look(&sources, &arch.rooms));
    findings.extend(words::tokens(&sources, &arch.token, rules::ARCH));
    findings.extend(words::tokens(&sources, &tidy.token, rules::TIDY));
    findings.extend(words::texts(files, &tidy));
    findings.extend(words::unfinished(&sources));
    findings.extend(files::look(files, &sources, &tidy));
    findings.extend(migrations::look(files));
    findings.extend(documents::look(files));
    Ok(findings)
}

/// Files that git tracks, and new ones it does not ignore; what is not text is left out.
fn list(place: &Place) -> anyhow::Result<Vec<Text>> {
    let names =
        read(
            place
                .command("git")
                .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]),
        )
        .context("tidy looks at the files git knows")?;
    let mut names: Vec<&str> = names.split('\0').filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    // A file that is tracked but deleted in the checkout has nothing to look at.
    let content = |name: &str| {
        std::fs::read(place.root.join(name))
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
    };
    Ok(names
        .into_iter()
        .filter_map(|name| {
            content(name).map(|content| Text {
                path: name.to_owned(),
                content,
            })
        })
        .collect())
}

/// Whether an entry of a table (a folder, a file, or a module with or without its folder) holds a path.
fn covers(entry: &str, path: &str) -> bool {
    let entry = entry.trim_end_matches('/');
    path.strip_prefix(entry)
        .is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found == extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_covers_a_folder_a_file_and_a_module() {
        for path in ["controller/src/bus.rs", "controller/src/bus/ingest.rs"] {
            assert!(covers("controller/src/bus", path), "{path}");
        }
        assert!(covers("tests", "tests/src/lib.rs"));
        assert!(covers("tests/", "tests/src/lib.rs"));
        assert!(covers("protocol/src/key.rs", "protocol/src/key.rs"));
        for path in [
            "controller/src/business.rs",
            "controller/src/app.rs",
            "x/controller/src/bus.rs",
        ] {
            assert!(!covers("controller/src/bus", path), "{path}");
        }
    }

    #[test]
    fn a_finding_says_where_what_why_and_where_it_is_written() {
        let finding = Finding {
            file: "agent/src/a.rs".to_owned(),
            line: 7,
            rule: "token",
            what: "`x` stands here".to_owned(),
            reason: "because".to_owned(),
            written: "xtask/arch.toml".to_owned(),
        };
        assert_eq!(
            finding.to_string(),
            "agent/src/a.rs:7: token: `x` stands here\n    why: because\n    rule: xtask/arch.toml"
        );
    }
}
