//! Static inventories: hosts are found by the targets of a config, and targets that no host meets are told with their places.

use std::collections::BTreeMap;

use writ_plan::compile::{Sources, compile};
use writ_plan::diagnostic::{Diagnostic, code};
use writ_plan::inventory::Inventory;
use writ_plan::{CONFIG_BYTES_MAX, INVENTORY_BYTES_MAX};

const HOSTS: &str = "hosts:\n  web-2: { labels: { role: web, env: prod } }\n  web-1: { labels: { role: web, env: dev } }\n  db-1: { labels: { role: db, env: prod } }\n  spare: {}\n";

fn config(targets: &str) -> Sources {
    Sources {
        config_name: "writ.yaml".to_owned(),
        config_text: format!(
            "version: 1\nproject: p\ntargets: {targets}\nresources: [{{ file: /a, content: a }}]\n"
        ),
        files: BTreeMap::new(),
    }
}

fn places(problems: &[Diagnostic]) -> Vec<(&str, u32, u32, Option<&str>)> {
    let place = |one: &'_ Diagnostic| (one.line, one.column);
    problems
        .iter()
        .map(|one| {
            (
                one.code.as_str(),
                place(one).0,
                place(one).1,
                one.did_you_mean.as_deref(),
            )
        })
        .collect()
}

#[test]
fn targets_select_hosts_of_the_inventory_by_name() {
    let inventory = Inventory::read("hosts.yaml", HOSTS).expect("reads");
    let selected = |targets: &str| -> Vec<String> {
        let sources = config(targets);
        let targets = compile(&sources).expect("compiles").targets;
        inventory.check(&sources, &targets).expect("they are there");
        inventory
            .select(&targets)
            .into_iter()
            .map(ToOwned::to_owned)
            .collect()
    };
    assert_eq!(selected("{ labels: { role: web } }"), ["web-1", "web-2"]);
    assert_eq!(selected("{ labels: { role: web, env: prod } }"), ["web-2"]);
    assert_eq!(
        selected("{ labels: { env: prod }, hosts: [web-1, db-1] }"),
        ["db-1"]
    );
    assert_eq!(selected("{ hosts: [spare] }"), ["spare"]);
}

#[test]
fn targets_that_no_host_meets_are_told_with_their_places() {
    let inventory = Inventory::read("hosts.yaml", HOSTS).expect("reads");
    let problems = |targets: &str| {
        let sources = config(targets);
        let targets = compile(&sources).expect("compiles").targets;
        inventory.check(&sources, &targets).expect_err("refused")
    };
    let found = problems("{ labels: { rol: web, env: prd }, hosts: [web-1, web-12] }");
    assert_eq!(
        places(&found),
        [
            (code::TARGETS, 3, 22, Some("role")),
            (code::TARGETS, 3, 37, Some("prod")),
            (code::TARGETS, 3, 59, Some("web-1")),
        ]
    );
    let found = problems("{ labels: { role: db, env: dev } }");
    assert_eq!(places(&found), [(code::TARGETS, 3, 1, None)]);
}

#[test]
fn a_bad_inventory_is_told_with_its_places() {
    for (text, wanted) in [
        ("hosts: [a, b]\n", (code::WRONG_KIND, 1, 8)),
        ("hsts: {}\n", (code::UNKNOWN_FIELD, 1, 1)),
        ("hosts: { a: { role: web } }\n", (code::UNKNOWN_FIELD, 1, 15)),
        ("hosts: { \"a b\": {} }\n", (code::NAME, 1, 10)),
        (
            "hosts: { a: { labels: { role: \"w b\" } } }\n",
            (code::NAME, 1, 31),
        ),
        ("hosts: { a: { address: \"1 2\" } }\n", (code::NAME, 1, 24)),
        ("hosts: { a: { vars: [1] } }\n", (code::WRONG_KIND, 1, 21)),
        ("hosts: { a: {}, a: {} }\n", (code::REPEATED_KEY, 1, 17)),
    ] {
        let problems = Inventory::read("hosts.yaml", text).expect_err(text);
        let first = problems.first().expect("one");
        assert_eq!((first.code.as_str(), first.line, first.column), wanted, "{text}");
        assert_eq!(first.file, "hosts.yaml");
    }
}

#[test]
fn ten_thousands_of_hosts_are_an_inventory_and_one_that_is_larger_is_told_so() {
    let host = |n: usize| {
        format!(
            "  web-{n}.example: {{ address: 192.0.2.7, labels: {{ role: web, env: prod, rack: r-{n} }} }}\n"
        )
    };
    let all = format!("hosts:\n{}", (0..20_000).map(host).collect::<String>());
    assert!(all.len() > CONFIG_BYTES_MAX, "more than a config may have");
    let inventory = Inventory::read("hosts.yaml", &all).expect("reads");
    assert_eq!(inventory.hosts.len(), 20_000);
    let many = all + &" ".repeat(INVENTORY_BYTES_MAX);
    let problems = Inventory::read("hosts.yaml", &many).expect_err("is refused");
    assert_eq!(places(&problems), [(code::TOO_LARGE, 1, 1, None)]);
    let told = problems.first().map(ToString::to_string).unwrap_or_default();
    assert!(told.contains("the inventory has"), "{told}");
}
