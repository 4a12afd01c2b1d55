//! Every example of docs/providers.md and docs/config.md compiles, and the tables there name every field that a config takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use writ_plan::compile::{Sources, compile};
use writ_plan::diagnostic::render;
use writ_plan::schema::json_schema;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    fs::read_to_string(path).unwrap_or_default()
}

/// The examples of a page, each made a whole config.
fn examples(name: &str) -> Vec<String> {
    let page = page(name);
    let blocks = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    blocks
        .map(|block| format!("version: 1\nproject: web\ntargets: {{ hosts: [a] }}\n{block}"))
        .collect()
}

/// The files that examples name.
fn included() -> BTreeMap<String, Vec<u8>> {
    let program = ("bin/acme-notes".to_owned(), b"#!/bin/sh\n".to_vec());
    ["roles/web.yaml", "roles/database.yaml"]
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                format!("resources: [{{ file: /etc/{name}, content: x }}]\n").into_bytes(),
            )
        })
        .chain([program])
        .collect()
}

#[test]
fn every_example_compiles() {
    for (name, least) in [("providers.md", 7), ("config.md", 1)] {
        let examples = examples(name);
        for config_text in &examples {
            let sources = Sources {
                config_name: name.to_owned(),
                config_text: config_text.clone(),
                files: included(),
            };
            if let Err(problems) = compile(&sources) {
                panic!("{}\n{config_text}", render(&problems, 20));
            }
        }
        assert!(
            examples.len() >= least,
            "only {} examples in {name}",
            examples.len()
        );
    }
}

#[test]
fn every_field_stands_in_its_table() {
    let page = page("providers.md");
    let schema = json_schema();
    let items = schema["$defs"].as_object().expect("definitions");
    let mut missing = Vec::new();
    for (kind, item) in [
        ("## file", "FileItem"),
        ("## package", "PackageItem"),
        ("## service", "ServiceItem"),
        ("## user", "UserItem"),
        ("## group", "GroupItem"),
        ("## command", "CommandItem"),
        ("### In a config", "ExternalItem"),
    ] {
        let section = page.split(&format!("\n{kind}\n")).nth(1).expect("a section");
        let section = section.split("\n#").next().unwrap_or_default();
        let first_cells: String = section
            .lines()
            .filter(|line| line.starts_with("| `"))
            .filter_map(|line| line.split(" | ").next())
            .map(|cell| cell.replace('|', " "))
            .collect();
        let fields = items[item]["properties"].as_object().map(|p| p.keys().cloned());
        for field in fields.into_iter().flatten() {
            let is_common = matches!(
                field.as_str(),
                "depends_on" | "notify" | "limits" | "for_each" | "when" | "tags"
            );
            if !is_common && !first_cells.contains(&format!("`{field}`")) {
                missing.push(format!("{kind}.{field}"));
            }
        }
    }
    assert!(missing.is_empty(), "docs/providers.md lacks {missing:?}");
    assert_ne!(
        schema["$defs"]["UserItem"],
        Value::Null,
        "the schema has no items"
    );
}
