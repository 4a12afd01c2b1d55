//! What is shown in which form: lists and shows, and the problems of a config.

use serde_json::Value;

use super::alerts::ALERT;
use super::drift::FINDING;
use super::incidents::INCIDENT;
use super::{RUN, kind, plan};
use crate::stub::Stub;
use crate::{err, out};

#[test]
fn every_list_and_show_comes_in_every_form() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    assert!(server.writ(home.path(), &["init"]).status().unwrap().success());
    let (plan, digest) = plan();
    let typed: writ_plan::plan::Plan = serde_json::from_value(plan).unwrap();
    std::fs::write(home.path().join("site.plan"), typed.encode().unwrap()).unwrap();
    let digest = digest.to_hex();
    let all: [&[&str]; 41] = [
        &["run", "list"],
        &["run", "show", RUN],
        &["run", "logs", RUN],
        &["run", "watch", RUN],
        &["run", "cancel", RUN, "--reason", "x"],
        &["run", "resume", RUN, "--budget", "0.000041", "--no-wait"],
        &["agent", "list"],
        &["agent", "show", "web-1"],
        &["agent", "rm", "web-1"],
        &["halt", "--list"],
        &["budget", "list"],
        &["budget", "show", "project:web"],
        &["budget", "set", "project:web", "--cap", "1"],
        &["cost", "report"],
        &["cost", "top"],
        &["incident", "list"],
        &["incident", "show", INCIDENT],
        &["incident", "ack", INCIDENT],
        &["incident", "close", INCIDENT, "--reason", "x"],
        &["incident", "verify"],
        &["drift", "show", FINDING],
        &["drift", "history", FINDING],
        &["drift", "hosts"],
        &["drift", "acknowledge", FINDING, "--reason", "x"],
        &["slo", "list"],
        &["slo", "show", "drift-latency"],
        &["alert", "receivers"],
        &["alert", "rules"],
        &["alert", "list"],
        &["alert", "show", ALERT],
        &["alert", "replay", ALERT],
        &["alert", "test", "ops"],
        &["validate"],
        &["dev", "status"],
        &["help", "exit-codes"],
        &["show", "site.plan"],
        &["show", &digest],
        &["diff", "site.plan", &digest],
        &["explain"],
        &["explain", "w0312"],
        &["schema"],
    ];
    for args in all {
        let shown = |form: &str| {
            let output = server
                .writ(home.path(), &[args, &["-o", form]].concat())
                .output()
                .unwrap();
            assert!(output.status.success(), "{args:?} -o {form}: {}", err(&output));
            out(&output)
        };
        let json: Value =
            serde_json::from_str(&shown("json")).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        let yaml: Value =
            serde_saphyr::from_str(&shown("yaml")).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        assert_eq!(json, yaml, "{args:?}");
        let table = shown("table");
        assert!(
            args == ["schema"] || !table.trim().is_empty() && serde_json::from_str::<Value>(&table).is_err(),
            "{args:?}: {table}"
        );
    }
}

#[test]
fn every_problem_of_a_config_is_told_at_once() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let text = "version: 1\nproject: p\nresouces: []\nlimits: { cpu: soon }\ntargets: { labels: { env: dev } }\nresources:\n  - { fyle: /x }\n";
    std::fs::write(home.path().join("writ.yaml"), text).unwrap();
    let output = server
        .writ(home.path(), &["validate", "-o", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    let lines: Vec<u64> = told["problems"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["line"].as_u64())
        .collect();
    for line in [3, 4, 7] {
        assert!(lines.contains(&line), "line {line}: {told}");
    }
    let people = out(&server.writ(home.path(), &["validate"]).output().unwrap());
    assert!(
        people.contains("resources") && people.contains("file"),
        "what was meant is told: {people}"
    );
}
