//! Families, conditions, and that no order of writing changes a byte.

use proptest::prelude::*;
use writ_plan::compile::{Given, compile, files_needed};
use writ_plan::diagnostic::code;
use writ_protocol::graph::{Condition, Fact, Facts, Spec};

use crate::{HEAD, compiled, contents, ids, of_files, resource, sources};

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
    tags: [b, a]
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
        is_part in any::<bool>(),
    ) {
        let packages = format!("[{}]", packages.join(", "));
        let text = |items: &[String]| items.concat().replace("[nginx, \"curl\"]", &packages);
        let (inside, outside) = items.split_at(here);
        // Some of it in an included file, wherever the values stand.
        let included = format!("vars: {{ sites: {{ {} }} }}\nresources:\n{}", sites.join(", "), text(outside));
        let config = format!("include: [more.yaml]\nresources:\n{}", text(inside));
        let config = if here == 0 { config.replace("resources:\n", "resources: []\n") } else { config };
        let mut shuffled = of_files(&[("writ.yaml", &config), ("more.yaml", &included)]);
        let mut wanted = sources(FAMILIES);
        if is_part {
            let part = |tags: [&str; 2]| Given { tags: tags.map(str::to_owned).to_vec(), ..Given::default() };
            wanted.give(&part(["a", "b"]));
            shuffled.give(&part(["b", "a"]));
        }
        let (wanted, found) = (compiled(&wanted), compiled(&shuffled));
        prop_assert_eq!(found.graph.encode().expect("encodes"), wanted.graph.encode().expect("encodes"));
        prop_assert_eq!(found.blobs, wanted.blobs);
    }
}
