//! What the config's language makes of a config: families, and that no order of writing changes a byte.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::format_collect,
    reason = "a test that cannot go on says so and stops"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use writ_plan::compile::{
    Compiled, Given, Place, Sources, VarFile, compile, files_missing, files_needed, values,
};
use writ_plan::diagnostic::{code, render};
use writ_protocol::graph::{Condition, Fact, Facts, Resource, Spec};

const HEAD: &str = "version: 1\nproject: p\ntargets: { hosts: [a] }\n";

fn sources(body: &str) -> Sources {
    Sources {
        config_name: "writ.yaml".to_owned(),
        config_text: format!("{HEAD}{body}"),
        files: BTreeMap::new(),
    }
}

fn compiled(sources: &Sources) -> Compiled {
    compile(sources).unwrap_or_else(|problems| panic!("{}", render(&problems, 20)))
}

fn ids(compiled: &Compiled) -> Vec<&str> {
    compiled
        .graph
        .resources
        .iter()
        .map(|one| one.id.as_str())
        .collect()
}

fn resource<'a>(compiled: &'a Compiled, id: &str) -> &'a Resource {
    let found = compiled.graph.resources.iter().find(|one| one.id == id);
    found.unwrap_or_else(|| panic!("{id} is missing of {:?}", ids(compiled)))
}

fn contents(compiled: &Compiled) -> Vec<&str> {
    let mut texts: Vec<_> = compiled
        .blobs
        .values()
        .map(|blob| std::str::from_utf8(blob).expect("text"))
        .collect();
    texts.sort_unstable();
    texts
}

const FAMILIES: &str = r#"
vars: { sites: { shop: { port: 80 }, blog: { port: 81 } } }
resources:
  - package: "{{ each.key }}"
    for_each: [nginx, "curl"]
    when: os.family == "debian" and arch in ["x86_64", "aarch64"]
  - file: "/srv/{{ each.key }}.conf"
    for_each: "{{ sites }}"
    content: "listen {{ each.value.port }}\n"
    depends_on: ["package:*"]
    notify: ["command:reload[{{ each.key }}]"]
  - command: reload
    for_each: "{{ sites }}"
    argv: [reload, "{{ each.key }}"]
    when_notified: true
  - command: last
    argv: ["true"]
    depends_on: ["file:/srv/*.conf", "command:reload[shop]"]
  - command: none
    for_each: []
    argv: ["true"]
  - command: after-none
    argv: ["true"]
    depends_on: [command:none]
"#;

#[test]
fn a_family_is_one_resource_for_each_member_under_ids_of_their_keys() {
    let out = compiled(&sources(FAMILIES));
    let mut found = ids(&out);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "command:after-none",
            "command:last",
            "command:reload[blog]",
            "command:reload[shop]",
            "file:/srv/blog.conf",
            "file:/srv/shop.conf",
            "package:curl",
            "package:nginx",
        ]
    );
    assert_eq!(contents(&out), ["listen 80\n", "listen 81\n"]);
    let Spec::Command(command) = &resource(&out, "command:reload[blog]").spec else {
        panic!("a command")
    };
    assert_eq!(command.argv, ["reload", "blog"]);
}

#[test]
fn others_name_a_whole_family_or_one_member() {
    let out = compiled(&sources(FAMILIES));
    let shop = resource(&out, "file:/srv/shop.conf");
    assert_eq!(shop.depends_on, ["package:curl", "package:nginx"]);
    assert_eq!(shop.notify, ["command:reload[shop]"]);
    assert_eq!(
        resource(&out, "command:last").depends_on,
        [
            "command:reload[shop]",
            "file:/srv/blog.conf",
            "file:/srv/shop.conf"
        ]
    );
    assert!(resource(&out, "command:after-none").depends_on.is_empty());
    // By its key, where its id does not show one.
    let by_key = FAMILIES.replace("\"file:/srv/*.conf\"", "\"file:/srv/*.conf[blog]\"");
    assert_eq!(
        resource(&compiled(&sources(&by_key)), "command:last").depends_on,
        ["command:reload[shop]", "file:/srv/blog.conf"]
    );
}

#[test]
fn a_member_keeps_its_id_and_its_bytes_when_another_goes() {
    let both = compiled(&sources(FAMILIES));
    let one = compiled(&sources(&FAMILIES.replace(", blog: { port: 81 }", "")));
    assert_eq!(
        resource(&one, "command:reload[shop]"),
        resource(&both, "command:reload[shop]")
    );
    assert!(!ids(&one).iter().any(|id| id.contains("blog")));
}

#[test]
fn members_name_the_files_they_need() {
    let body = "vars: { port: 1 }\nresources:\n- file: \"/srv/{{ each.key }}\"\n  for_each: [b, a]\n  source: \"{{ each.key }}.txt\"\n";
    let files = files_needed("writ.yaml", &format!("{HEAD}{body}")).expect("reads");
    assert_eq!(files, ["a.txt", "b.txt"]);
}

#[test]
fn families_are_bounded() {
    let first_code = |body: &str| {
        let problems = compile(&sources(body)).expect_err("refused");
        problems.first().map(|one| one.code.clone()).expect("one")
    };
    let list = |count: usize| (0..count).map(|n| format!("m{n},")).collect::<String>();
    let family = |name: &str, count: usize, more: &str| {
        format!(
            "- command: {name}\n  for_each: [{}]\n  argv: [x]\n{more}",
            list(count)
        )
    };
    assert_eq!(
        first_code(&format!("resources:\n{}", family("a", 1_001, ""))),
        code::TOO_MANY
    );
    assert!(compile(&sources(&format!("resources:\n{}", family("a", 1_000, "")))).is_ok());
    let many: String = (0..21)
        .map(|n| format!("- command: c{n}\n  for_each: \"{{{{ all }}}}\"\n  argv: [x]\n"))
        .collect();
    assert_eq!(
        first_code(&format!("vars: {{ all: [{}] }}\nresources:\n{many}", list(1_000))),
        code::TOO_MANY
    );
    let waits = format!(
        "resources:\n{}{}",
        family("a", 600, ""),
        family("b", 600, "  depends_on: [command:a]\n")
    );
    assert_eq!(first_code(&waits), code::TOO_MANY);
    let large = format!(
        "resources:\n- file: \"/{{{{ each.key }}}}\"\n  for_each: {{ a: {} }}\n  content: x\n",
        "y".repeat(9_000)
    );
    assert_eq!(first_code(&large), code::TOO_MANY);
}

/// One mistake in a family is told once, however many members it has, and references to its members are no second mistake.
#[test]
fn a_mistake_in_a_family_is_told_once() {
    let body = "resources:\n- file: \"/srv/{{ each.key }}\"\n  for_each: [a, b, c]\n  content: \"{{ gone }}\"\n- command: x\n  argv: [x]\n  depends_on: [\"file:/srv/c\"]\n";
    let problems = compile(&sources(body)).expect_err("refused");
    let codes: Vec<&str> = problems.iter().map(|one| one.code.as_str()).collect();
    assert_eq!(codes, [code::UNDEFINED]);
}

fn condition(text: &str) -> Condition {
    let body = format!("vars: {{ min: 4 }}\nresources:\n- command: c\n  argv: [x]\n  when: {text}\n");
    let out = compiled(&sources(&body));
    resource(&out, "command:c").when.clone().expect("a condition")
}

#[test]
fn conditions_bind_as_they_read() {
    for (text, shown) in [
        (r#"os.id == "debian""#, r#"os.id == "debian""#),
        ("os.id != 'debian'", r#"not os.id == "debian""#),
        ("cpus >= {{ min }}", "cpus >= 4"),
        ("not (cpus > 4)", "not cpus > 4"),
        (
            r#"os.id in ["ubuntu", "debian", "ubuntu"]"#,
            r#"os.id in ["debian", "ubuntu"]"#,
        ),
        (r#"os.id not in ["a"]"#, r#"not os.id == "a""#),
        (
            r#"cpus > 1 and cpus < 9 or arch == "arm" and not os.major != 12"#,
            r#"(cpus > 1 and cpus < 9) or (arch == "arm" and not not os.major == 12)"#,
        ),
        (
            "cpus > 1 and (cpus < 9 or memory_mib <= 64)",
            "cpus > 1 and (cpus < 9 or memory_mib <= 64)",
        ),
    ] {
        assert_eq!(condition(text).to_string(), shown, "{text}");
    }
    // What is shown can be written.
    let shown = condition(r#"(cpus > 1 or os.id in ["b", "a"]) and not hostname == "x""#);
    assert_eq!(condition(&shown.to_string()), shown);
}

#[test]
fn one_graph_tells_every_host_what_is_for_it() {
    let debian = condition(r#"os.family == "debian" and os.major >= 12"#);
    let host = |family: &str, major: &str| {
        Facts::from([
            (Fact::OsFamily, family.to_owned()),
            (Fact::OsMajor, major.to_owned()),
        ])
    };
    assert_eq!(debian.holds(&host("debian", "12")), Ok(true));
    assert_eq!(debian.holds(&host("debian", "11")), Ok(false));
    assert_eq!(debian.holds(&host("rhel", "12")), Ok(false));
}

/// A config of several files; the first one is the config itself.
fn of_files(files: &[(&str, &str)]) -> Sources {
    let (first, more) = files.split_first().expect("a config");
    Sources {
        config_name: first.0.to_owned(),
        config_text: format!("{HEAD}{}", first.1),
        files: more
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
            .collect(),
    }
}

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

fn families() -> Vec<String> {
    let body = FAMILIES.split_once("resources:\n").expect("resources").1;
    let items = body.split("\n  - ").map(|item| item.trim_start_matches("  - "));
    items.map(|item| format!("  - {item}\n")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_order_of_items_members_and_entries_gives_the_same_bytes(
        items in Just(families()).prop_shuffle(),
        packages in Just(vec!["nginx", "curl"]).prop_shuffle(),
        sites in Just(vec!["shop: { port: 80 }", "blog: { port: 81 }"]).prop_shuffle(),
        here in 0..6_usize,
    ) {
        let packages = format!("[{}]", packages.join(", "));
        let text = |items: &[String]| items.concat().replace("[nginx, \"curl\"]", &packages);
        let (inside, outside) = items.split_at(here);
        // Some of it in an included file, wherever the values stand.
        let included = format!("vars: {{ sites: {{ {} }} }}\nresources:\n{}", sites.join(", "), text(outside));
        let config = format!("include: [more.yaml]\nresources:\n{}", text(inside));
        let config = if here == 0 { config.replace("resources:\n", "resources: []\n") } else { config };
        let shuffled = of_files(&[("writ.yaml", &config), ("more.yaml", &included)]);
        let (wanted, found) = (compiled(&sources(FAMILIES)), compiled(&shuffled));
        prop_assert_eq!(found.graph.encode().expect("encodes"), wanted.graph.encode().expect("encodes"));
        prop_assert_eq!(found.blobs, wanted.blobs);
    }
}
