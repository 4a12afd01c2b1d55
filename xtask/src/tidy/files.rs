//! Files: how long, what name, and whether they open by saying what belongs in them.

use super::source::Source;
use super::{Finding, Text, has_extension};
use crate::rules::{TIDY, Tidy};

/// Files that are too long, badly named, or silent about themselves.
pub(crate) fn look(files: &[Text], sources: &[Source], rules: &Tidy) -> Vec<Finding> {
    let mut findings: Vec<Finding> = sources
        .iter()
        .filter_map(|source| too_long(source, rules))
        .collect();
    findings.extend(needless(sources, rules));
    for file in files.iter().filter(|file| has_extension(&file.path, "rs")) {
        findings.extend(badly_named(&file.path, rules));
        findings.extend(silent(file));
    }
    findings
}

fn too_long(source: &Source, rules: &Tidy) -> Option<Finding> {
    let lines = source.lines.len();
    let own = rules.long.iter().find(|long| long.path == source.path);
    let cap = own.map_or(rules.lines_max, |long| long.lines_max);
    (lines > cap).then(|| Finding {
        file: source.path.clone(),
        line: 0,
        rule: "size",
        what: format!("{lines} lines, more than {cap}"),
        reason: "a file is read whole; split it by what its parts are about (aim under 300)".to_owned(),
        written: format!("{TIDY} {}", if own.is_some() { "[[long]]" } else { "lines_max" }),
    })
}

/// Exceptions that no longer are.
fn needless(sources: &[Source], rules: &Tidy) -> Vec<Finding> {
    let is_long = |path: &str| {
        sources
            .iter()
            .any(|source| source.path == path && source.lines.len() > rules.lines_max)
    };
    rules
        .long
        .iter()
        .filter(|long| !is_long(&long.path))
        .map(|long| Finding {
            file: TIDY.to_owned(),
            line: 0,
            rule: "size",
            what: format!("{} needs no exception any more", long.path),
            reason: format!("an exception (here: {}) goes when its cause does", long.reason),
            written: format!("{TIDY} [[long]]"),
        })
        .collect()
}

fn badly_named(path: &str, rules: &Tidy) -> Option<Finding> {
    let stem = path.rsplit('/').next()?.strip_suffix(".rs")?;
    // `tests/common` and its like are modules by folder; a folder's name is held to the same.
    let folder = path.rsplit('/').nth(1).unwrap_or_default();
    let name = [stem, folder]
        .into_iter()
        .find(|name| rules.empty_names.iter().any(|empty| empty == name))?;
    Some(Finding {
        file: path.to_owned(),
        line: 0,
        rule: "name",
        what: format!("`{name}` says nothing about what belongs here"),
        reason: "a drawer for anything fills with everything; name what the file is about (`foo.rs` beside `foo/`, never mod.rs)".to_owned(),
        written: format!("{TIDY} empty_names"),
    })
}

fn silent(file: &Text) -> Option<Finding> {
    let first = file
        .content
        .lines()
        .find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    (!first.is_some_and(|line| line.starts_with("//!"))).then(|| Finding {
        file: file.path.clone(),
        line: 1,
        rule: "opening",
        what: "the file does not open with `//!`".to_owned(),
        reason: "each file says what belongs in it, what does not, and why it exists".to_owned(),
        written: "xtask/src/tidy/files.rs, silent".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Long;

    fn rules(long: Vec<Long>) -> Tidy {
        let empty_names = vec!["util".to_owned(), "mod".to_owned()];
        Tidy {
            lines_max: 3,
            long,
            empty_names,
            token: Vec::new(),
            text: Vec::new(),
            text_skip: Vec::new(),
        }
    }

    fn long(path: &str) -> Vec<Long> {
        vec![Long {
            path: path.to_owned(),
            lines_max: 5,
            reason: "one table".to_owned(),
        }]
    }

    fn found(path: &str, content: &str, long: Vec<Long>) -> Vec<&'static str> {
        let files = [Text {
            path: path.to_owned(),
            content: content.to_owned(),
        }];
        let sources = [Source::read(path, content)];
        look(&files, &sources, &rules(long))
            .iter()
            .map(|finding| finding.rule)
            .collect()
    }

    #[test]
    fn long_files_are_found_tests_too() {
        let within = "//! A.\na\nb\n";
        let beside_tests = "//! A.\na\n#[cfg(test)]\nmod tests {}\n";
        for path in [
            "a/src/a.rs",
            "a/src/a/tests.rs",
            "a/tests/a.rs",
            "tests/tests/a/b.rs",
        ] {
            assert_eq!(found(path, within, vec![]), Vec::<&str>::new(), "{path}");
            assert_eq!(found(path, &format!("{within}c\n"), vec![]), ["size"], "{path}");
            assert_eq!(found(path, beside_tests, vec![]), ["size"], "{path}");
        }
    }

    #[test]
    fn an_exception_has_a_cap_of_its_own_and_goes_when_it_is_needless() {
        assert_eq!(
            found("a/src/a.rs", "//! A.\na\nb\nc\nd\n", long("a/src/a.rs")),
            Vec::<&str>::new()
        );
        assert_eq!(
            found("a/src/a.rs", "//! A.\na\nb\nc\nd\ne\n", long("a/src/a.rs")),
            ["size"]
        );
        assert_eq!(found("a/src/a.rs", "//! A.\n", long("a/src/a.rs")), ["size"]);
    }

    #[test]
    fn names_that_say_nothing_and_silent_files_are_found() {
        assert_eq!(found("a/src/util.rs", "//! A.\n", vec![]), ["name"]);
        assert_eq!(found("a/src/b/mod.rs", "//! A.\n", vec![]), ["name"]);
        assert_eq!(found("a/src/util/b.rs", "//! A.\n", vec![]), ["name"]);
        assert_eq!(found("a/src/a.rs", "use b;\n", vec![]), ["opening"]);
        assert_eq!(found("a/src/a.rs", "", vec![]), ["opening"]);
    }
}
