//! What the doctor finds, and what it says to do about it.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::{Value, json};

use super::kind;
use crate::out;
use crate::stub::{Answer, Stub};

/// What the doctor finds, by name: state and next step.
fn findings(output: &Output) -> BTreeMap<String, (String, String)> {
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|one| {
            (
                text(one, "what"),
                (
                    text(one, "state"),
                    format!("{} {}", text(one, "detail"), text(one, "next")),
                ),
            )
        })
        .collect()
}

#[test]
fn the_doctor_names_cause_and_next_step() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let well = server
        .writ(home.path(), &["doctor", "-o", "json"])
        .output()
        .unwrap();
    let found = findings(&well);
    for fine in [
        "configuration",
        "file modes",
        "controller",
        "revocation",
        "clock",
        "version",
        "token",
        "agents",
    ] {
        assert!(
            found.get(fine).is_some_and(|(state, _)| state == "ok"),
            "{fine}: {found:#?}"
        );
    }
    assert_eq!(found["agents heard"].0, "warn", "web-1 was last heard long ago");
    assert_eq!(well.status.code(), Some(0), "a warning is no failure");

    // A secret that everybody can read.
    std::fs::write(home.path().join("token"), "t").unwrap();
    let open = server
        .writ(home.path(), &["doctor", "-o", "json", "--token-file", "token"])
        .output()
        .unwrap();
    assert_eq!(open.status.code(), Some(1));
    let (state, words) = &findings(&open)["file modes"];
    assert!(state == "wrong" && words.contains("chmod 600 token"), "{words}");
}

#[test]
fn the_doctor_tells_what_a_controller_lacks() {
    let home = tempfile::tempdir().unwrap();
    let sick = Stub::serving(|asked, before| {
        if asked.line == "GET /readyz" {
            let checks = json!([{"name": "ledger", "state": "failing", "reason": "no connection"}]);
            return Answer::Json(503, json!({"stopping": false, "checks": checks}));
        }
        if asked.line.starts_with("GET /api/v1/agents") {
            return Answer::Json(
                401,
                json!({"title": "authentication needed", "code": "W0005", "status": 401}),
            );
        }
        kind(asked, before)
    });
    let output = sick
        .writ(home.path(), &["doctor", "-o", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let found = findings(&output);
    assert!(
        found["controller"].0 == "wrong"
            && found["controller"]
                .1
                .contains("ledger: no connection look at PostgreSQL"),
        "{found:#?}"
    );
    assert!(
        found["token"].0 == "wrong" && found["token"].1.contains("--token-file"),
        "{found:#?}"
    );
    let people = out(&sick.writ(home.path(), &["doctor"]).output().unwrap());
    assert!(
        people.contains("next, controller: look at PostgreSQL"),
        "{people}"
    );

    let nobody = sick
        .writ(
            home.path(),
            &["doctor", "-o", "json", "--server", "http://127.0.0.1:9"],
        )
        .output()
        .unwrap();
    assert_eq!(
        (nobody.status.code(), findings(&nobody)["controller"].0.as_str()),
        (Some(1), "wrong")
    );
}
