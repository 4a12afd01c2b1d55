//! `writ drift`: how it ends, what is asked of the controller, and that a host's words stay words.

use serde_json::{Value, json};

use crate::stub::{Answer, Asked, Stub};
use crate::{err, out};

/// Its id, as the examples write it.
pub(super) const FINDING: &str = "drift_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b";

/// A finding as the API shows it.
pub(super) fn finding() -> Value {
    let change = json!({"attribute": "content", "want": "aa", "got": "bb\u{1b}[2J"});
    json!({"id": FINDING, "agent": "web-1", "agentId": "agent_1", "project": "web", "resource": "file:/etc/motd", "class": "configuration",
        "severity": "warn", "state": "open", "flapping": true, "changes": [change], "unseen": null, "occurrences": 4,
        "firstSeen": "2026-01-01T00:00:00Z", "lastSeen": "2026-01-02T00:00:00Z", "lastClean": null, "orderId": "order_1", "runId": "run_1",
        "acknowledgedBy": null, "acknowledgedAt": null, "reason": null})
}

/// The finding with what became of it.
pub(super) fn shown() -> Value {
    let event = json!({"at": "2026-01-01T00:00:00Z", "what": "opened", "actor": "controller", "detail": {"class": "configuration", "severity": "warn"}});
    json!({"finding": finding(), "history": [event]})
}

/// What is watched on a host.
pub(super) fn host() -> Value {
    json!({"agent": "web-1", "agentId": "agent_1", "project": "web", "state": "unknown", "lookedAt": "2026-01-01T00:00:00Z", "ageSeconds": 7300,
        "watched": 5, "unwatched": 1, "differing": 2, "unseen": 0, "leftOut": 0, "orderId": "order_1", "runId": "run_1", "bundle": "00"})
}

fn listing(state: &'static str) -> Stub {
    Stub::serving(move |asked: &Asked, _| {
        let mut one = finding();
        one.as_object_mut()
            .unwrap()
            .insert("state".to_owned(), json!(state));
        let items = if state == "none" { json!([]) } else { json!([one]) };
        assert!(asked.line.starts_with("GET /api/v1/drift"), "{}", asked.line);
        Answer::Json(200, json!({"items": items, "next": null}))
    })
}

#[test]
fn a_list_ends_with_2_where_something_is_not_as_it_should_be() {
    let home = tempfile::tempdir().unwrap();
    for (state, exit) in [
        ("open", 2),
        ("acknowledged", 2),
        ("unknown", 2),
        ("cleared", 0),
        ("none", 0),
    ] {
        for form in ["table", "json", "yaml"] {
            let args = ["drift", "list", "-o", form];
            let output = listing(state).writ(home.path(), &args).output().unwrap();
            assert_eq!(output.status.code(), Some(exit), "{state}: {}", err(&output));
        }
    }
    let args = ["drift", "list", "--json-lines"];
    let lines = out(&listing("open").writ(home.path(), &args).output().unwrap());
    let one: Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((lines.lines().count(), &one["id"]), (1, &json!(FINDING)));
}

#[test]
fn filters_are_the_controllers_and_words_of_hosts_do_not_move_the_cursor() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(super::kind);
    let filters = [
        "--host",
        "web-1",
        "--project",
        "web",
        "--class",
        "security",
        "--severity",
        "critical",
        "--state",
        "open",
    ];
    let args = [&["drift", "list"], &filters[..]].concat();
    let output = server.writ(home.path(), &args).output().unwrap();
    let asked = "GET /api/v1/drift?agent=web-1&project=web&class=security&severity=critical&state=open";
    assert_eq!(server.asked(asked).len(), 1, "{}", err(&output));
    for args in [&["drift", "list"][..], &["drift", "show", FINDING]] {
        let told = out(&server.writ(home.path(), args).output().unwrap());
        assert!(told.contains("flapping") && !told.contains('\u{1b}'), "{told}");
    }
    let hosts = out(&server.writ(home.path(), &["drift", "hosts"]).output().unwrap());
    assert!(hosts.contains("unknown") && hosts.contains("2 h ago"), "{hosts}");
    for wrong in [
        &["drift", "list", "--host", "a&b"][..],
        &["drift", "hosts", "--project", "../x"],
        &["drift", "show", "run_1"],
        &["drift", "acknowledge", FINDING],
        &["drift", "list", "--class", "odd"],
    ] {
        let output = server.writ(home.path(), wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{wrong:?} {}", err(&output));
    }
}
