//! Each config of `bad_configs/` is refused with the codes at the places that its first line names, and nothing else.
#![expect(clippy::format_collect, reason = "a test that cannot go on says so and stops")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use writ_plan::compile::{Sources, compile, files_needed};
use writ_plan::diagnostic::{Diagnostic, code, render};

fn sources(name: &str, text: &str) -> Sources {
    let template = b"listen 80\nserver {{ host_name }}\n".to_vec();
    let mut files = BTreeMap::from([
        ("site.conf.j2".to_owned(), template),
        ("a.txt".to_owned(), b"a".to_vec()),
        ("notes".to_owned(), b"#!/bin/sh\n".to_vec()),
    ]);
    let included = [
        (
            "inc/good.yaml",
            "vars: { port: 80 }\nresources: [{ file: /etc/motd, content: hi }]\n",
        ),
        ("inc/loop.yaml", "include: [other.yaml]\n"),
        ("inc/other.yaml", "include: [\"../inc/loop.yaml\"]\n"),
        ("inc/back.yaml", "include: [\"../include_config.yaml\"]\n"),
        (
            "inc/bad.yaml",
            "project: x\nresources:\n  - file: /etc/motd\n    contnet: hi\n",
        ),
        (
            "inc/outside.yaml",
            "resources:\n  - file: /etc/motd\n    source: ../../secret\n",
        ),
        (
            "inc/twice.yaml",
            "resources:\n  - file: /etc/motd\n    content: \"{{ gone }}\"\n",
        ),
        ("inc/broken.yaml", "vars: {\n"),
        ("inc/values_devfast.yaml", "vars: { port: 80 }\n"),
        ("report_devfast.txt", "made by a trial"),
    ];
    files.extend(included.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())));
    for n in 1..=9 {
        let text = format!("include: [deep{}.yaml]\n", n + 1);
        files.insert(format!("deep{n}.yaml"), text.into_bytes());
    }
    files.insert("latin.yaml".to_owned(), b"vars: { a: \xe9 }\n".to_vec());
    let mut sources = Sources {
        config_name: name.to_owned(),
        config_text: text.to_owned(),
        files,
    };
    // What the command line adds, where the second line says so.
    let given = text
        .lines()
        .nth(1)
        .and_then(|line| line.strip_prefix("# given: "));
    if let Some(given) = given.and_then(|json| serde_json::from_str(json).ok()) {
        sources.give(&given);
    }
    sources
}

fn places(name: &str, diagnostics: &[Diagnostic]) -> String {
    let place = |d: &Diagnostic| {
        let file = if d.file == name {
            String::new()
        } else {
            format!("{}:", d.file)
        };
        format!("{} {file}{}:{}", d.code, d.line, d.column)
    };
    diagnostics.iter().map(place).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_bad_config_is_refused_with_its_codes_at_their_places() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_configs");
    let mut wrong = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("reads").path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .expect("a name")
            .to_owned();
        let text = fs::read_to_string(&path).expect("reads");
        let expected = text
            .lines()
            .next()
            .and_then(|l| l.strip_prefix("# expect: "))
            .expect("a first line");
        let diagnostics = compile(&sources(&name, &text)).expect_err(&name);
        let found = places(&name, &diagnostics);
        seen.extend(diagnostics.iter().map(|d| d.code.clone()));
        if found != expected {
            wrong.push(format!(
                "{name}\n  expected {expected}\n  found    {found}\n{}",
                render(&diagnostics, 20)
            ));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 60, "only {count} configs");
    // Codes that no file can show, because it would be too large or because the checks before leave nothing for them.
    let elsewhere = [
        code::TOO_LARGE,
        code::CONTENT_TOO_LARGE,
        code::TOO_MANY,
        code::GRAPH,
        // Every type of this version is built.
        code::LATER_VERSION,
    ];
    let unseen: Vec<_> = code::TABLE
        .iter()
        .filter(|(c, _)| !seen.contains(*c) && !elsewhere.contains(c))
        .collect();
    assert!(unseen.is_empty(), "no config shows {unseen:?}");
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let code_of = |text: &str| {
        compile(&sources("writ.yaml", text))
            .expect_err("refused")
            .first()
            .map(|d| d.code.clone())
    };
    let head = "version: 1\nproject: p\ntargets: { hosts: [a] }\n";
    assert_eq!(
        code_of(&"#".repeat((1 << 20) + 1)).as_deref(),
        Some(code::TOO_LARGE)
    );
    let flat = format!("{head}vars: {{ x: [{}] }}\n", "0,".repeat(410_000));
    assert_eq!(code_of(&flat).as_deref(), Some(code::TOO_DEEP));
    let many = format!("{head}resources:\n{}", "- command: a\n".repeat(20_001));
    let codes = compile(&sources("writ.yaml", &many)).expect_err("refused");
    assert!(
        codes
            .iter()
            .any(|d| d.code == code::TOO_MANY || d.code == code::MISSING_FIELD)
    );
    let vars = format!(
        "{head}vars: {{ x: \"{}\" }}\n{}",
        "y".repeat(70_000),
        "resources:\n- file: /a\n  content: b\n"
    );
    assert_eq!(code_of(&vars).as_deref(), Some(code::TOO_MANY));
}

#[test]
fn contents_beyond_a_bundle_are_refused_once() {
    let head = "version: 1\nproject: p\ntargets: { hosts: [a] }\nresources:\n";
    let items: String = (0..4)
        .map(|n| format!("- file: /f{n}\n  source: f{n}\n"))
        .collect();
    let mut sources = sources("writ.yaml", &format!("{head}{items}"));
    for n in 0..4 {
        sources.files.insert(format!("f{n}"), vec![n; 5 << 20]);
    }
    let found = compile(&sources).expect_err("refused");
    assert_eq!(
        places("writ.yaml", &found),
        format!("{} 10:11", code::CONTENT_TOO_LARGE)
    );
}

#[test]
fn the_text_for_people_shows_place_caret_and_help() {
    let text =
        "version: 1\nproject: web\ntargets: { hosts: [a] }\nresources:\n  - file: /a\n    contnet: hi\n";
    let found = compile(&sources("writ.yaml", text)).expect_err("refused");
    let wanted = "\
error[W0102]: unknown field `contnet` in `file`
  --> writ.yaml:6:5
 6 |     contnet: hi
   |     ^^^^^^^ `file` has: file, state, content, template, source, target, mode, owner, group, backup, for_each, when, tags, depends_on, notify, limits
help: did you mean `content`?
more: writ explain W0102";
    assert_eq!(found.first().expect("one").to_string(), wanted);
    let json = serde_json::to_value(&found).expect("is JSON");
    assert_eq!(json[0]["didYouMean"], "content");
    assert_eq!(json[0]["line"], 6);
}

#[test]
fn the_list_of_files_needs_only_the_shape() {
    let head = "version: 1\nproject: p\ntargets: { hosts: [a] }\nvars: { env: prod }\n";
    let items = "resources:\n- file: /b\n  template: \"{{ env }}/b.j2\"\n- file: /a\n  source: a.txt\n- file: /c\n  source: a.txt\n";
    let files = files_needed("writ.yaml", &format!("{head}{items}")).expect("reads");
    assert_eq!(files, ["a.txt", "prod/b.j2"]);
    let bad = files_needed(
        "writ.yaml",
        &format!("{head}resources:\n- file: /b\n  source: ../../etc/shadow\n"),
    )
    .expect_err("refused");
    assert_eq!(places("writ.yaml", &bad), format!("{} 7:11", code::FILE_NAME));
}

#[test]
fn nothing_that_a_terminal_obeys_reaches_the_output() {
    let text = "version: 1\nproject: \"a\\e[31mb\\u202e\"\ntargets: { hosts: [a] }\nresources: [{ file: \"/\\x07\", content: a }]\n";
    let found = compile(&sources("writ.yaml", text)).expect_err("refused");
    assert!(!found.is_empty());
    let shown = render(&found, 20);
    assert!(
        shown
            .chars()
            .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'),
        "{shown:?}"
    );
}
