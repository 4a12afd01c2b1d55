//! Lists against their documents: each code has a heading, each table is described, each link leads somewhere. A document
//! that is not written yet is not asked for.

use std::collections::BTreeSet;

use super::{Finding, Text, covers, has_extension};

/// Where codes are declared: those of the wire, and those of configs.
const REASONS: [&str; 2] = ["protocol/src/reason.rs", "plan/src/diagnostic/code.rs"];
const ERRORS: &str = "docs/errors.md";
const TABLES: &str = "docs/data-model.md";

/// Codes without a heading, headings without a code, tables without a word, links to nothing.
pub(crate) fn look(files: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let file = |path: &str| files.iter().find(|file| file.path == path);
    if let Some(errors) = file(ERRORS) {
        let reasons: Vec<&Text> = REASONS.into_iter().filter_map(file).collect();
        findings.extend(codes(&reasons, &errors.content));
    }
    if let Some(document) = file(TABLES) {
        let migrations = files
            .iter()
            .filter(|file| file.path.starts_with("migrations/") && has_extension(&file.path, "sql"));
        findings.extend(migrations.flat_map(|migration| tables(migration, &document.content)));
    }
    findings.extend(
        files
            .iter()
            .filter(|page| has_extension(&page.path, "md"))
            .flat_map(|page| links(page, files)),
    );
    findings
}

fn codes(reasons: &[&Text], errors: &str) -> Vec<Finding> {
    let headings: Vec<(usize, &str)> = errors
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .filter(|(_, line)| line.starts_with('#'))
        .collect();
    let described: BTreeSet<&str> = headings.iter().flat_map(|(_, line)| codes_in(line)).collect();
    let mut known = BTreeSet::new();
    let mut findings = Vec::new();
    for reason in reasons {
        for (at, code) in declared(&reason.content) {
            if !described.contains(code.as_str()) {
                let why = "whoever meets a code must be able to look up what it means and what to do";
                let what = format!("{code} has no heading in {ERRORS}");
                findings.push(finding(&reason.path, at, what, why));
            }
            known.insert(code);
        }
    }
    for (line, heading) in headings {
        for code in codes_in(heading).filter(|code| !known.contains(*code)) {
            findings.push(finding(
                ERRORS,
                line,
                format!("{code} is declared nowhere"),
                "codes are stable: none is described that is never sent",
            ));
        }
    }
    findings
}

/// Codes that a file declares, with their lines: `Name = 12, "title";` or `NAME: &str = "W0012";`.
fn declared(content: &str) -> Vec<(usize, String)> {
    let lines = content
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"));
    let mut found = Vec::new();
    for (at, line) in lines.enumerate() {
        let Some((_, value)) = line
            .split_once(" = ")
            .filter(|_| !line.trim_start().starts_with("//"))
        else {
            continue;
        };
        let number = value
            .split_once(", \"")
            .and_then(|(number, _)| number.parse::<u16>().ok());
        found.extend(number.map(|number| (at + 1, format!("W{number:04}"))));
        let text = value.strip_prefix('"').unwrap_or_default();
        found.extend(codes_in(text).map(|code| (at + 1, code.to_owned())));
    }
    found
}

/// Words of the form `W` and four digits.
fn codes_in(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric()).filter(|word| {
        word.strip_prefix('W')
            .is_some_and(|digits| digits.len() == 4 && digits.chars().all(|c| c.is_ascii_digit()))
    })
}

fn tables(migration: &Text, document: &str) -> Vec<Finding> {
    let created = migration
        .content
        .lines()
        .enumerate()
        .filter_map(|(at, line)| created(line).map(|table| (at + 1, table)));
    created
        .filter(|(_, table)| !document.contains(&format!("`{table}`")))
        .map(|(line, table)| {
            finding(
                &migration.path,
                line,
                format!("the table `{table}` is not in {TABLES}"),
                "each table says who writes it, who reads it, and why",
            )
        })
        .collect()
}

/// The table that a line creates; partitions belong to their table.
fn created(line: &str) -> Option<String> {
    let words: Vec<String> = line
        .split(|c: char| c.is_whitespace() || c == '(')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .skip_while(|word| word != "create")
        .filter(|word| !matches!(word.as_str(), "if" | "not" | "exists" | "unlogged"))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["create", "table", _, "partition", ..] => None,
        ["create", "table", name, ..] => Some(
            name.rsplit('.')
                .next()
                .unwrap_or(name)
                .trim_matches('"')
                .to_owned(),
        ),
        _ => None,
    }
}

/// Links of a page to files that are not there. Code blocks show links, they do not make them.
fn links(page: &Text, files: &[Text]) -> Vec<Finding> {
    let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut in_block = false;
    let mut findings = Vec::new();
    for (at, line) in page.content.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        for target in line
            .split("](")
            .skip(1)
            .filter(|_| !in_block)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(target, _)| target)
        {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || target.contains(':') || leads(&join(folder, path), files) {
                continue;
            }
            let why = "a page that leads nowhere is not trusted where it is right";
            findings.push(finding(
                &page.path,
                at + 1,
                format!("the link `{target}` leads to no file"),
                why,
            ));
        }
    }
    findings
}

fn leads(path: &str, files: &[Text]) -> bool {
    path.is_empty() || files.iter().any(|file| covers(path, &file.path))
}

/// A relative path as one from the root.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = if path.starts_with('/') {
        Vec::new()
    } else {
        folder.split('/').collect()
    };
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

fn finding(file: &str, line: usize, what: String, reason: &str) -> Finding {
    Finding {
        file: file.to_owned(),
        line,
        rule: "document",
        what,
        reason: reason.to_owned(),
        written: "xtask/src/tidy/documents.rs".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<Text> = files
            .iter()
            .map(|(path, content)| Text {
                path: (*path).to_owned(),
                content: (*content).to_owned(),
            })
            .collect();
        look(&files)
            .into_iter()
            .map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.what))
            .collect()
    }

    #[test]
    fn codes_and_headings_must_match_both_ways_once_the_document_is_there() {
        let reasons =
            "//! W0009 = \"W0008\".\n    A = 1, \"a\";\n    B = 2, \"b\";\n#[cfg(test)]\nx = \"W9999\";\n";
        let (wire, plan) = (REASONS[0], REASONS[1]);
        let of_plan = "pub const C: &str = \"W0100\";\n";
        assert_eq!(found(&[(wire, reasons)]), Vec::<String>::new());
        assert_eq!(
            found(&[
                (wire, reasons),
                (plan, of_plan),
                (ERRORS, "## W0001: a\n### W0002 b\n## W0100\n")
            ]),
            Vec::<String>::new()
        );
        assert_eq!(
            found(&[
                (wire, reasons),
                (plan, of_plan),
                (ERRORS, "## W0001: a\nW0002 in prose\n## W0003\n")
            ]),
            [
                "protocol/src/reason.rs:3 W0002 has no heading in docs/errors.md",
                "plan/src/diagnostic/code.rs:1 W0100 has no heading in docs/errors.md",
                "docs/errors.md:3 W0003 is declared nowhere"
            ]
        );
    }

    #[test]
    fn every_table_is_described_and_partitions_need_no_word() {
        let sql = "CREATE TABLE runs (\n);\ncreate table if not exists steps(\nCREATE TABLE runs_1 PARTITION OF runs\n-- a note\n";
        assert_eq!(
            found(&[("migrations/0001_a.sql", sql), (TABLES, "## `runs`\n")]),
            ["migrations/0001_a.sql:3 the table `steps` is not in docs/data-model.md"]
        );
    }

    #[test]
    fn links_lead_to_files_and_folders_and_those_outside_are_not_followed() {
        let page = "[a](protocol.md#x) [b](../agent/src/lib.rs) [c](../agent) [d](https://example.org) [e](#here) [f](../README.md)\n[g](gone.md)\n```\n[h](shown.md)\n```\n";
        let files = [
            ("docs/a.md", page),
            ("docs/protocol.md", ""),
            ("agent/src/lib.rs", ""),
            ("README.md", ""),
        ];
        assert_eq!(found(&files), ["docs/a.md:2 the link `gone.md` leads to no file"]);
    }
}
