//! Arrows between rooms: which module of a package may name which, read off `crate::` and `super::` paths.
//!
//! A room is a module directly below `src/`. Tests may go anywhere: they set a scene that production code may not.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::source::{Source, is_word};
use crate::rules::ARCH;

/// Folder → room → rooms it may name.
type Tables = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Arrows that the tables do not have, and rooms they do not know.
pub(crate) fn look(sources: &[Source], tables: &Tables) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, table) in tables {
        let inside = |source: &&Source| room_of(&source.path, folder).is_some() && !source.is_test;
        let rooms: BTreeSet<&str> = sources
            .iter()
            .filter(inside)
            .filter_map(|source| room_of(&source.path, folder))
            .collect();
        let mut unknown = BTreeSet::new();
        for source in sources.iter().filter(inside) {
            let Some(room) = room_of(&source.path, folder) else {
                continue;
            };
            let Some(allowed) = table.get(room) else {
                if unknown.insert(room) {
                    findings.push(unknown_room(source, folder, room));
                }
                continue;
            };
            let open = allowed.iter().any(|entry| entry == "*");
            for (line, named) in named(source, depth(&source.path, folder)) {
                let fine =
                    open || named == room || !rooms.contains(named.as_str()) || allowed.contains(&named);
                if !fine {
                    let list = if allowed.is_empty() {
                        "no other room".to_owned()
                    } else {
                        allowed.join(", ")
                    };
                    findings.push(arrow(
                        source,
                        folder,
                        line,
                        format!("`{room}` names `{named}`; it may name {list}"),
                    ));
                }
            }
        }
    }
    findings
}

fn unknown_room(source: &Source, folder: &str, room: &str) -> Finding {
    Finding {
        file: source.path.clone(),
        line: 0,
        rule: "room",
        what: format!("the room `{room}` is not in the table"),
        reason: "a new room says what it may name; without a row every arrow would be open".to_owned(),
        written: format!("{ARCH} [rooms.{folder}]"),
    }
}

fn arrow(source: &Source, folder: &str, line: usize, what: String) -> Finding {
    Finding {
        file: source.path.clone(),
        line,
        rule: "room",
        what,
        reason: "values go one way through the house; a new arrow is a decision of its own (docs/adr)"
            .to_owned(),
        written: format!("{ARCH} [rooms.{folder}]"),
    }
}

/// The room a file belongs to: the first name below `src/`.
fn room_of<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let below = path.strip_prefix(folder)?.strip_prefix("/src/")?;
    let first = below.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// How many modules deep a file is: 0 for the package's root files.
fn depth(path: &str, folder: &str) -> usize {
    let below = path
        .strip_prefix(folder)
        .and_then(|path| path.strip_prefix("/src/"))
        .unwrap_or_default();
    if matches!(below, "lib.rs" | "main.rs") || below.starts_with("bin/") {
        0
    } else {
        below.split('/').count()
    }
}

/// The names that follow the package's root in paths, with their lines.
fn named(source: &Source, depth: usize) -> Vec<(usize, String)> {
    let mut roots = vec!["crate::".to_owned()];
    if depth > 0 {
        roots.push("super::".repeat(depth));
    }
    // One text, so that a list over several lines is one list; test lines stay as empty lines, so that numbers hold.
    let code: String = source
        .lines
        .iter()
        .map(|line| {
            if line.in_test {
                "\n".to_owned()
            } else {
                format!("{}\n", line.code)
            }
        })
        .collect();
    let mut found = Vec::new();
    for root in &roots {
        for (at, _) in code.match_indices(root.as_str()) {
            let before = code.get(..at).unwrap_or_default();
            if before.ends_with("::") || before.chars().next_back().is_some_and(is_word) {
                continue;
            }
            let line = before.matches('\n').count() + 1;
            let rest = code.get(at + root.len()..).unwrap_or_default();
            found.extend(
                first_names(rest)
                    .into_iter()
                    .map(|(down, name)| (line + down, name)),
            );
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The first name of a path, or of each path of a `{list}`, with how many lines down it stands.
fn first_names(rest: &str) -> Vec<(usize, String)> {
    let word = |text: &str| text.chars().take_while(|&c| is_word(c)).collect::<String>();
    if !rest.starts_with('{') {
        return vec![(0, word(rest))];
    }
    let mut names = Vec::new();
    let (mut depth, mut lines, mut fresh) = (0_usize, 0_usize, false);
    for (at, c) in rest.char_indices() {
        match c {
            '{' => {
                depth += 1;
                fresh = depth == 1;
            }
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            ',' if depth == 1 => fresh = true,
            '\n' => lines += 1,
            c if fresh && is_word(c) => {
                names.push((lines, word(rest.get(at..).unwrap_or_default())));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn tables() -> Tables {
        let table: [(&str, &[&str]); 4] = [
            ("api", &["app"]),
            ("app", &[]),
            ("bus", &["app"]),
            ("lib", &["*"]),
        ];
        let table = table
            .iter()
            .map(|(room, may)| {
                (
                    (*room).to_owned(),
                    may.iter().map(|&name| name.to_owned()).collect(),
                )
            })
            .collect();
        BTreeMap::from([("controller".to_owned(), table)])
    }

    fn look_at(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, content)| Source::read(path, content))
            .collect();
        look(&sources, &tables())
            .iter()
            .map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.what))
            .collect()
    }

    /// The rooms there are, with nothing in them.
    const EMPTY: [(&str, &str); 3] = [
        ("controller/src/api.rs", ""),
        ("controller/src/bus.rs", ""),
        ("controller/src/lib.rs", ""),
    ];

    fn check(path: &str, content: &str) -> Vec<usize> {
        let mut files = EMPTY.to_vec();
        files.push((path, content));
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, content)| Source::read(path, content))
            .collect();
        look(&sources, &tables())
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn an_arrow_of_the_table_is_fine_and_its_reverse_is_not() {
        assert_eq!(check("controller/src/api/v1.rs", "use crate::app::App;\n"), NONE);
        assert_eq!(check("controller/src/app.rs", "\nuse crate::api::Router;\n"), [2]);
        assert_eq!(
            check("controller/src/app.rs", "fn f() { crate::bus::publish() }\n"),
            [1]
        );
    }

    #[test]
    fn lists_over_lines_and_supers_up_to_the_root_are_read() {
        assert_eq!(
            check(
                "controller/src/app/run.rs",
                "use crate::{\n    app::x::{api, y},\n    api::Router,\n};\n"
            ),
            [3]
        );
        assert_eq!(
            check("controller/src/app/run.rs", "use super::super::bus::Bus;\n"),
            [1]
        );
        assert_eq!(check("controller/src/app/run.rs", "use super::bus::Bus;\n"), NONE);
    }

    #[test]
    fn tests_comments_root_items_and_the_root_itself_are_free() {
        assert_eq!(
            check(
                "controller/src/app.rs",
                "#[cfg(test)]\nmod tests {\n    use crate::api::A;\n}\n"
            ),
            NONE
        );
        assert_eq!(
            check(
                "controller/src/app.rs",
                "// crate::api::A\nuse crate::Error;\nuse crate::not_a_room;\n"
            ),
            NONE
        );
        assert_eq!(check("controller/src/lib.rs", "use crate::api::A;\n"), NONE);
    }

    #[test]
    fn a_room_without_a_row_is_found_once() {
        let found = look_at(&[
            ("controller/src/attic.rs", "use crate::api::A;\n"),
            ("controller/src/attic/box.rs", ""),
        ]);
        assert_eq!(
            found,
            ["controller/src/attic.rs:0 the room `attic` is not in the table"]
        );
    }
}
