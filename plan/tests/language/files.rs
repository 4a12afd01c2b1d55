//! Included files, and which value of a name counts.

use writ_plan::compile::{Given, Place, VarFile, compile, files_missing, values};
use writ_plan::diagnostic::code;

use crate::{compiled, contents, ids, of_files, sources};

const INCLUDING: [(&str, &str); 6] = [
    (
        "writ.yaml",
        "include: [roles/web.yaml, roles/db.yaml]\ndefaults: { a: default, b: default, c: default, d: default }\nvars: { d: root }\nresources:\n- file: /etc/all\n  content: \"{{ a }} {{ b }} {{ c }} {{ d }} {{ e }}\"\n  depends_on: [\"file:/etc/web\"]\n",
    ),
    (
        "roles/web.yaml",
        "include: [../common.yaml]\nvars: { b: web, c: web, d: web, e: web }\nresources:\n- file: /etc/web\n  source: files/web.txt\n",
    ),
    ("roles/db.yaml", "include: [../common.yaml]\nvars: { c: db }\n"),
    (
        "common.yaml",
        "vars: { b: common, e: common }\nresources:\n- file: /etc/common\n  source: roles/files/web.txt\n",
    ),
    ("roles/files/web.txt", "web"),
    ("unused.txt", ""),
];

#[test]
fn what_is_included_is_part_of_the_config_and_values_replace_each_other_in_their_order() {
    let out = compiled(&of_files(&INCLUDING));
    assert_eq!(ids(&out), ["file:/etc/common", "file:/etc/web", "file:/etc/all"]);
    assert_eq!(contents(&out), ["default web db root web", "web"]);
}

#[test]
fn files_are_asked_for_as_they_become_known() {
    let mut sources = of_files(&INCLUDING[..1]);
    let mut asked = Vec::new();
    loop {
        let more = files_missing(&sources).expect("a list");
        if more.is_empty() {
            break;
        }
        for name in &more {
            let (_, text) = INCLUDING.iter().find(|(known, _)| known == name).expect("a file");
            sources.files.insert(name.clone(), text.as_bytes().to_vec());
        }
        asked.push(more);
    }
    assert_eq!(
        asked,
        [
            vec!["roles/db.yaml", "roles/web.yaml"],
            vec!["common.yaml"],
            vec!["roles/files/web.txt"]
        ]
    );
    assert_eq!(compiled(&sources).graph, compiled(&of_files(&INCLUDING)).graph);
}

#[test]
fn the_digest_of_a_config_covers_every_file_of_it() {
    let whole = compiled(&of_files(&INCLUDING)).config_digest;
    for index in 0..5 {
        let mut files = INCLUDING;
        let text = format!("{}\n", files[index].1);
        files[index].1 = &text;
        assert_ne!(
            compiled(&of_files(&files)).config_digest,
            whole,
            "{}",
            files[index].0
        );
    }
}

fn given(files: &[&str], vars: &[&str]) -> Given {
    Given {
        var_files: files
            .iter()
            .enumerate()
            .map(|(n, text)| VarFile {
                name: format!("values-{n}.yaml"),
                text: (*text).to_owned(),
            })
            .collect(),
        vars: vars.iter().map(|text| (*text).to_owned()).collect(),
        ..Given::default()
    }
}

#[test]
fn the_command_line_counts_before_every_file_and_later_before_earlier() {
    let mut sources = of_files(&INCLUDING);
    let plain = compiled(&sources);
    sources.give(&given(
        &["d: one\ne: one\nc: one\n", "e: two\nunused: 1\n"],
        &["b=1", "c=x=y", "b=2"],
    ));
    let out = compiled(&sources);
    assert_eq!(contents(&out), ["default 2 x=y one two", "web"]);
    assert_ne!(
        out.config_digest, plain.config_digest,
        "the digest covers what is given"
    );
    sources.give(&Given::default());
    assert_eq!(compiled(&sources), plain);
}

#[test]
fn values_of_the_command_line_are_what_they_look_like() {
    let body = "defaults: { n: 0, t: x, f: \"\", e: y }\nresources:\n- file: /a\n  content: \"{% if t %}{{ n }}{% endif %}{% if f %}no{% endif %}[{{ e }}]{{ n == 8 }}\"\n";
    let mut sources = sources(body);
    sources.give(&given(&[], &["n=8", "t=true", "f=false", "e="]));
    assert_eq!(contents(&compiled(&sources)), ["8[]true"]);
}

#[test]
fn a_value_tells_where_it_comes_from_and_what_it_stands_in_place_of() {
    let mut sources = of_files(&INCLUDING);
    sources.give(&given(&["c: [1, a]\n"], &["b=7"]));
    let found = values(&sources).expect("values");
    let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let told = |name: &str| {
        let value = found.iter().find(|one| one.name == name).expect("it");
        let from = |value: &serde_json::Value, place: &Place| {
            format!(
                "{value} {} {}:{}:{}",
                place.layer, place.file, place.line, place.column
            )
        };
        let over = value.replaces.iter().map(|one| from(&one.value, &one.from));
        std::iter::once(from(&value.value, &value.from))
            .chain(over)
            .collect::<Vec<_>>()
    };
    assert_eq!(told("a"), [r#""default" defaults writ.yaml:5:13"#]);
    assert_eq!(
        told("b"),
        [
            "7 var --var:1:1",
            r#""web" included roles/web.yaml:2:9"#,
            r#""common" included common.yaml:1:9"#,
            r#""default" defaults writ.yaml:5:25"#
        ]
    );
    assert_eq!(
        told("c")[..2],
        [
            r#"[1,"a"] var-file values-0.yaml:1:1"#,
            r#""db" included roles/db.yaml:2:9"#
        ]
    );
    assert_eq!(
        told("d")[..2],
        [
            r#""root" vars writ.yaml:6:9"#,
            r#""web" included roles/web.yaml:2:25"#
        ]
    );
    sources.files.remove("common.yaml");
    let problems = values(&sources).expect_err("a part is missing");
    assert_eq!(
        problems.first().map(|one| one.code.as_str()),
        Some(code::FILE_MISSING)
    );
}

#[test]
fn included_files_are_bounded() {
    let names: Vec<String> = (0..65).map(|n| format!("f{n}.yaml")).collect();
    let config = format!(
        "include: [{}]\nresources: [{{ file: /a, content: a }}]\n",
        names.join(", ")
    );
    let mut sources = of_files(&[("writ.yaml", &config)]);
    sources.files = names
        .iter()
        .map(|name| (name.clone(), b"vars: { a: 1 }\n".to_vec()))
        .collect();
    let problems = compile(&sources).expect_err("refused");
    assert_eq!(
        problems.iter().map(|one| one.code.as_str()).collect::<Vec<_>>(),
        [code::INCLUDE]
    );
    sources.config_text = sources.config_text.replace(", f64.yaml", "");
    assert!(compile(&sources).is_ok());
    let large = format!("#{}\n", "x".repeat(600 << 10)).into_bytes();
    sources.files.insert("f1.yaml".to_owned(), large.clone());
    sources.files.insert("f2.yaml".to_owned(), large);
    let problems = compile(&sources).expect_err("refused");
    assert_eq!(
        problems.first().map(|one| one.code.as_str()),
        Some(code::TOO_LARGE)
    );
}
