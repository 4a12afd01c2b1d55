//! Samples, good and bad, and the migrations that are there.

use super::*;

const HEADER: &str =
    "-- Why this is here, in a sentence.\n-- Locks: ACCESS EXCLUSIVE on step for a moment.\n";

fn rules(text: &str) -> Vec<String> {
    look("migrations/0042_x.sql", "0042_x.sql", text)
        .iter()
        .map(|finding| format!("{} {}", finding.line, finding.what.split(':').next().unwrap()))
        .collect()
}

fn below(statements: &str) -> Vec<String> {
    rules(&format!("{HEADER}{statements}"))
}

#[test]
fn what_only_adds_and_says_its_locks_passes() {
    for good in [
        "ALTER TABLE step ADD COLUMN note text;",
        "ALTER TABLE step ADD COLUMN is_seen boolean NOT NULL DEFAULT false, ADD COLUMN n numeric(4,2) DEFAULT 0;",
        "ALTER TABLE step ADD CONSTRAINT step_n_known CHECK (n IN (1, 2)) NOT VALID;",
        "ALTER TABLE step VALIDATE CONSTRAINT step_n_known;",
        "ALTER TABLE step ADD CONSTRAINT step_one UNIQUE USING INDEX step_one;",
        "ALTER TABLE step ALTER COLUMN note DROP NOT NULL;",
        "UPDATE step SET note = 'DROP TABLE step; -- no' WHERE note IS NULL;",
        "CREATE TABLE hat (id uuid PRIMARY KEY, step_id uuid NOT NULL REFERENCES step);\nCREATE UNIQUE INDEX hat_by_step ON hat (step_id);",
        "CREATE TABLE IF NOT EXISTS hat (id uuid);\nALTER TABLE hat ADD COLUMN n int NOT NULL;\nINSERT INTO hat VALUES ('x', 1);",
        "-- Contract: nobody has read it since 0.3.\nALTER TABLE step DROP COLUMN note;",
        "-- Contract: nobody has read it since 0.3.\nDROP TABLE hat;",
    ] {
        assert_eq!(below(good), Vec::<String>::new(), "{good}");
    }
    assert_eq!(
        rules(
            "-- no-transaction\n-- Orders are looked for by their day.\n-- Locks: SHARE UPDATE EXCLUSIVE on step.\nCREATE INDEX CONCURRENTLY step_by_day ON step (day);"
        ),
        Vec::<String>::new()
    );
    assert_eq!(
        rules(
            "-- Orders are looked for by their day.\n-- Locks: SHARE on step: a second\n-- for a million rows.\nCREATE INDEX step_by_day ON step (day);"
        ),
        Vec::<String>::new()
    );
}

#[test]
fn what_breaks_or_locks_is_refused_with_its_line() {
    for (bad, rule) in [
        ("ALTER TABLE step ADD COLUMN note text NOT NULL;", "not-null"),
        (
            "ALTER TABLE step\n ADD COLUMN a int, ADD b int NOT NULL;",
            "not-null",
        ),
        (
            "ALTER TABLE step ADD COLUMN id uuid DEFAULT gen_random_uuid();",
            "default",
        ),
        ("ALTER TABLE step ADD COLUMN id bigserial;", "default"),
        ("ALTER TABLE step ADD COLUMN id uuid UNIQUE;", "constraint"),
        ("CREATE INDEX step_by_day ON step (day);", "index"),
        (
            "CREATE UNIQUE INDEX CONCURRENTLY step_by_day ON step (day);",
            "index",
        ),
        ("DO $$ BEGIN DROP TABLE step; END $$;", "hidden"),
        ("CALL tidy_up('step');", "hidden"),
        ("DROP TABLE step;", "drop"),
        ("DROP INDEX IF EXISTS step_by_day;", "drop"),
        ("TRUNCATE step;", "drop"),
        ("ALTER TABLE step DROP COLUMN note;", "drop"),
        ("ALTER TABLE ONLY public.step DROP CONSTRAINT step_one;", "drop"),
        ("-- Contract: old.\nDROP TABLE step;", "drop"),
        ("ALTER TABLE step RENAME COLUMN a TO b;", "rename"),
        ("ALTER TABLE step RENAME TO stairs;", "rename"),
        ("ALTER TABLE step ALTER COLUMN a TYPE bigint;", "type"),
        ("ALTER TABLE step ALTER a SET DATA TYPE bigint;", "type"),
        ("ALTER TABLE step ALTER COLUMN a SET NOT NULL;", "set-not-null"),
        ("ALTER TABLE step ADD CONSTRAINT c CHECK (a > 0);", "constraint"),
        (
            "ALTER TABLE step ADD FOREIGN KEY (a) REFERENCES hat;",
            "constraint",
        ),
        ("ALTER TABLE step ADD CONSTRAINT c UNIQUE (a);", "constraint"),
        ("CREATE TYPE colour AS ENUM ('red');", "enum"),
        ("BEGIN;", "transaction"),
        ("LOCK TABLE step;", "lock"),
        ("ALTER TABLE hat ADD COLUMN a int;", "says-locks"),
        ("UPDATE hat SET a = 1;", "says-locks"),
        ("DELETE FROM steps;", "says-locks"),
    ] {
        let line = if bad.starts_with("--") { 4 } else { 3 };
        assert_eq!(below(bad), [format!("{line} {rule}")], "{bad}");
    }
}

#[test]
fn a_header_says_why_and_what_it_locks() {
    assert_eq!(
        rules("CREATE TABLE hat (id uuid);"),
        ["1 says-why", "1 says-locks"]
    );
    assert_eq!(
        rules("-- Locks: creates only.\nCREATE TABLE hat (id uuid);"),
        ["1 says-why"]
    );
    assert_eq!(
        rules("-- Hats of those who carry them.\nCREATE TABLE hat (id uuid);\n-- Locks: too late."),
        ["1 says-locks"]
    );
}

#[test]
fn what_was_sealed_before_a_rule_is_excused_by_name_and_nobody_else_is() {
    let text =
        format!("{HEADER}ALTER TABLE step ALTER COLUMN a SET NOT NULL;\nALTER TABLE step DROP COLUMN b;");
    assert_eq!(look("m", "0009_step_place.sql", &text).len(), 0);
    assert_eq!(look("m", "0010_other.sql", &text).len(), 2);
    assert_eq!(look("m", "0006_feed_order.sql", &text).len(), 2);
}

#[test]
fn the_migrations_that_are_there_pass_and_each_excuse_is_needed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut needed = BTreeSet::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !super::super::has_extension(&name, "sql") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let findings = look(&name, &name, &text);
        assert!(findings.is_empty(), "{findings:#?}");
        // The same text under another name is held to everything.
        for finding in look("x", "x", &text) {
            needed.insert((name.clone(), finding.what.split(':').next().unwrap().to_owned()));
        }
    }
    assert!(seen >= 9, "{seen}");
    let excused = SEALED_BEFORE.map(|(name, rule)| (name.to_owned(), rule.to_owned()));
    assert_eq!(needed, BTreeSet::from(excused));
}
