//! What a migration may not do to a database that is in use: hold a lock that nobody was told of, read or write a whole table under one, or
//! take away what the release before still needs.
//!
//! Controllers of two releases work on one schema while a fleet is upgraded, so a migration only adds; what is no longer needed goes a release
//! later, and says so. To add a rule: a branch in [`statement`] or [`action`], and a bad sample below.

use std::collections::BTreeSet;

use super::super::Finding;
use super::sql::{Script, Statement};

/// Migrations that were sealed before a rule of this file stood, and what of it they do not keep.
const SEALED_BEFORE: [(&str, &str); 4] = [
    ("0006_feed_order.sql", "says-locks"),
    ("0006_feed_order.sql", "index"),
    ("0009_step_place.sql", "set-not-null"),
    ("0009_step_place.sql", "drop"),
];

const READS_ALL: &str = "it reads or writes the whole table while nobody else may use it; a fleet waits";
const OLD_RELEASE: &str =
    "the release before still runs while this one is rolled out, and its statements fail";

/// A rule that is broken.
struct Broken {
    line: usize,
    rule: &'static str,
    what: String,
    why: &'static str,
}

/// What is known about a file while its statements are looked at.
struct File {
    /// Tables that the file makes: they are empty and nobody waits for them.
    made: BTreeSet<String>,
    /// What the header says of locks, in lower case.
    locks: String,
    /// Whether the runner opens no transaction around it.
    is_bare: bool,
    statements: usize,
    /// Lines of `-- Contract: …`, which say that the release before no longer uses what goes.
    contracts: Vec<usize>,
}

/// What is unsafe in a migration.
pub(super) fn look(path: &str, name: &str, text: &str) -> Vec<Finding> {
    let script = Script::read(text);
    let file = File::new(&script);
    let mut broken = file.header(&script);
    for one in &script.statements {
        statement(&file, one, &mut broken);
    }
    broken
        .into_iter()
        .filter(|broken| !SEALED_BEFORE.contains(&(name, broken.rule)))
        .map(|broken| Finding {
            file: path.to_owned(),
            line: broken.line,
            rule: "unsafe-migration",
            what: format!("{}: {}", broken.rule, broken.what),
            reason: broken.why.to_owned(),
            written: "xtask/src/tidy/migrations/safety.rs".to_owned(),
        })
        .collect()
}

impl File {
    fn new(script: &Script) -> Self {
        let made = script
            .statements
            .iter()
            .filter_map(|statement| created_table(&words(statement)).map(str::to_owned));
        // The sentence on locks may run over several lines: all that follows belongs to it.
        let locks = script
            .header
            .iter()
            .skip_while(|line| !line.starts_with("Locks:"));
        let contracts = script
            .comments
            .iter()
            .filter(|(_, text)| text.strip_prefix("Contract:").is_some_and(|why| why.len() > 10));
        Self {
            made: made.collect(),
            locks: locks.cloned().collect::<Vec<_>>().join(" ").to_lowercase(),
            is_bare: script.header.first().is_some_and(|line| line == "no-transaction"),
            statements: script.statements.len(),
            contracts: contracts.map(|(line, _)| *line).collect(),
        }
    }

    fn header(&self, script: &Script) -> Vec<Broken> {
        let mut broken = Vec::new();
        let mut say = |rule, what: &str| {
            broken.push(Broken {
                line: 1,
                rule,
                what: what.to_owned(),
                why: "whoever runs it on a fleet in use must know what will wait, and why it is worth it",
            });
        };
        let is_why = |line: &&String| !line.starts_with("Locks:") && line.as_str() != "no-transaction";
        if !script.header.iter().any(|line| is_why(&line) && line.len() > 20) {
            say("says-why", "the first lines do not say why");
        }
        if self.locks.is_empty() {
            say(
                "says-locks",
                "no line `-- Locks: …` before the first statement: write `-- Locks: creates only.`, or which lock on which table and for how long",
            );
        }
        broken
    }

    fn says(&self, table: &str) -> bool {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        self.locks.split(|c| !is_word(c)).any(|word| word == table)
    }

    /// Whether the comment right above a statement says that nobody uses any more what goes.
    fn is_contract(&self, statement: &Statement) -> bool {
        self.contracts
            .iter()
            .any(|line| *line < statement.line && statement.line - line <= 2)
    }
}

fn words(statement: &Statement) -> Vec<&str> {
    statement
        .words
        .iter()
        .map(String::as_str)
        .filter(|word| !matches!(*word, "if" | "exists" | "only"))
        .collect()
}

/// The table that a statement makes.
fn created_table<'a>(words: &[&'a str]) -> Option<&'a str> {
    match words {
        ["create", "table", "not", name, ..]
        | ["create", "unlogged", "table", "not", name, ..]
        | ["create", "table", name, ..]
        | ["create", "unlogged", "table", name, ..] => Some(name),
        _ => None,
    }
}

fn statement(file: &File, one: &Statement, broken: &mut Vec<Broken>) {
    let words = words(one);
    let mut say = |rule, what: String, why| {
        broken.push(Broken {
            line: one.line,
            rule,
            what,
            why,
        });
    };
    if let Some(table) = touched(&words).filter(|table| !file.made.contains(*table))
        && !file.locks.is_empty()
        && !file.says(table)
    {
        let what = format!("`{table}` is there already and `-- Locks:` does not name it");
        say("says-locks", what, "whoever runs it must know what will wait");
    }
    match words.as_slice() {
        ["create", "unique", "index", rest @ ..] | ["create", "index", rest @ ..] => {
            index(file, rest, &mut say);
        }
        ["alter", "table", table, rest @ ..] if !file.made.contains(*table) => {
            for part in actions(rest) {
                action(part, file.is_contract(one), &mut say);
            }
        }
        ["drop" | "truncate", rest @ ..] if !file.is_contract(one) => {
            let what = format!(
                "`{}` goes without a line `-- Contract: …` above that says since which release nobody uses it",
                rest.join(" ")
            );
            say("drop", what, OLD_RELEASE);
        }
        ["create", "type", name, "as", "enum", ..] => {
            let what = format!("`{name}` is an enum: a text column with a named CHECK can be changed later");
            say(
                "enum",
                what,
                "values of an enum can be added and never taken away",
            );
        }
        ["begin" | "commit" | "rollback" | "start" | "end", ..] => {
            let what = "the migration runs in one transaction already".to_owned();
            say(
                "transaction",
                what,
                "half of a migration would stay when the other half fails",
            );
        }
        ["do" | "call" | "execute", ..] => {
            let what = format!("`{}` does what cannot be read here", words.join(" "));
            say(
                "hidden",
                what,
                "what a migration does must stand in its statements",
            );
        }
        [word @ ("lock" | "vacuum" | "cluster" | "reindex"), ..] => {
            let what = format!("`{word}` has no place in a migration");
            say("lock", what, READS_ALL);
        }
        _ => {}
    }
}

/// The table whose rows or form a statement touches.
fn touched<'a>(words: &[&'a str]) -> Option<&'a str> {
    match words {
        ["alter", "table", table, ..] | ["update", table, ..] | ["delete", "from", table, ..] => Some(table),
        ["create", "unique", "index", rest @ ..] | ["create", "index" | "trigger", rest @ ..] => {
            after(rest, "on")
        }
        _ => None,
    }
}

fn after<'a>(words: &[&'a str], word: &str) -> Option<&'a str> {
    let at = words.iter().position(|found| *found == word)?;
    words.get(at + 1).copied()
}

fn index(file: &File, rest: &[&str], say: &mut impl FnMut(&'static str, String, &'static str)) {
    let table = after(rest, "on").unwrap_or_default();
    if file.made.contains(table) {
        return;
    }
    if rest.first() == Some(&"concurrently") {
        if !file.is_bare || file.statements > 1 {
            let what =
                "CONCURRENTLY needs a file of its own whose first line is `-- no-transaction`".to_owned();
            say("index", what, "PostgreSQL refuses it inside a transaction");
        }
    } else if !file.locks.contains("share") {
        let what = format!(
            "an index on `{table}`, which is there already: make it CONCURRENTLY, or say in `-- Locks:` that SHARE stops its writers meanwhile"
        );
        say("index", what, READS_ALL);
    }
}

/// The actions of an `ALTER TABLE`, apart at the commas outside brackets.
fn actions<'a, 'b>(words: &'b [&'a str]) -> Vec<&'b [&'a str]> {
    let mut depth = 0_usize;
    words
        .split(|word| {
            match *word {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && *word == ","
        })
        .collect()
}

fn action(part: &[&str], is_contract: bool, say: &mut impl FnMut(&'static str, String, &'static str)) {
    let shown = part.join(" ");
    let has = |word: &str| part.contains(&word);
    match part {
        [
            "add",
            "constraint" | "check" | "foreign" | "unique" | "primary",
            ..,
        ] => {
            let is_quick = part.ends_with(&["not", "valid"]) || (has("using") && has("index"));
            if !is_quick {
                let what = format!(
                    "`{shown}`: add it NOT VALID and validate it in the next migration, or make it of an index that is there (USING INDEX)"
                );
                say("constraint", what, READS_ALL);
            }
        }
        ["add", ..] => column(part, &shown, say),
        ["rename", ..] => say(
            "rename",
            format!("`{shown}`: add the new one, write both, and drop the old one a release later"),
            OLD_RELEASE,
        ),
        ["drop", ..] if !is_contract => say(
            "drop",
            format!(
                "`{shown}` without a line `-- Contract: …` above that says since which release nobody uses it"
            ),
            OLD_RELEASE,
        ),
        ["alter", ..] if has("type") => say(
            "type",
            format!("`{shown}`: add a column of the new type, fill it, and drop the old one a release later"),
            READS_ALL,
        ),
        ["alter", .., "set", "not", "null"] => say(
            "set-not-null",
            format!("`{shown}`: add a CHECK (… IS NOT NULL) NOT VALID and validate it in the next migration"),
            READS_ALL,
        ),
        _ => {}
    }
}

/// A column that is added to a table with rows.
fn column(part: &[&str], shown: &str, say: &mut impl FnMut(&'static str, String, &'static str)) {
    let has = |word: &str| part.contains(&word);
    let is_not_null = part.windows(2).any(|pair| pair == ["not", "null"]);
    if is_not_null && !has("default") && !has("generated") {
        let what = format!("`{shown}`: NOT NULL without a DEFAULT fails as soon as there is one row");
        say("not-null", what, OLD_RELEASE);
    }
    let is_drawn = part
        .iter()
        .skip_while(|word| **word != "default")
        .nth(2)
        .is_some_and(|word| *word == "(");
    let is_serial = part.iter().any(|word| word.ends_with("serial"));
    if is_drawn || is_serial || has("generated") {
        let what = format!(
            "`{shown}`: a value that is worked out for each row; add it empty and fill it in batches"
        );
        say("default", what, READS_ALL);
    }
    if has("unique") || has("primary") {
        let what = format!("`{shown}`: make the index CONCURRENTLY, then add the constraint USING INDEX");
        say("constraint", what, READS_ALL);
    }
}

#[cfg(test)]
mod tests;
