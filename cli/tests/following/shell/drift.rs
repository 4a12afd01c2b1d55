//! `writ drift`: how it ends, what is asked of the controller, and that a host's words stay words.

use serde_json::{Value, json};
use writ_protocol::envelope::Envelope;
use writ_protocol::key::SigningKey;
use writ_protocol::statement::{self, PAYLOAD_TYPE};
use writ_protocol::suppression::Suppression;

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

/// A suppression as the API shows it.
pub(super) fn suppression() -> Value {
    json!({"id": "suppression_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b", "kind": "suppression", "project": "web", "host": null, "environment": "staging",
        "resource": "file:/etc/app/*", "critical": false, "accepts": null, "reason": "release", "createdBy": "ann",
        "createdAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-01-02T00:00:00Z", "endedAt": null, "endedBy": null, "endReason": null,
        "envelope": "{}"})
}

/// A remediation that waits for a yes, as the API shows it.
pub(super) fn remediation() -> Value {
    json!({"id": "remediation_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b", "agent": "web-1", "project": "web", "environment": "staging", "state": "proposed",
        "detail": "what would change is known; somebody must say yes", "deadline": "2026-01-02T00:00:00Z", "findings": [FINDING],
        "resources": ["file:/etc/motd"], "orderId": "order_1", "checkRun": "run_2", "planDigest": super::plan().1, "runId": null, "asked": true,
        "begunBy": "ann", "reason": "by hand", "createdAt": "2026-01-01T00:00:00Z", "approvedBy": null, "approvedAt": null, "endedAt": null})
}

/// A policy as the API shows it.
pub(super) fn policy() -> Value {
    json!({"environment": "staging", "mode": "autocorrect", "hostsAtOnce": 1, "perHour": 10, "failuresMax": 3, "stoppedAt": null,
        "setBy": "ada", "setAt": "2026-01-01T00:00:00Z", "reason": "agreed"})
}

/// What is watched on a host.
pub(super) fn host() -> Value {
    json!({"agent": "web-1", "agentId": "agent_1", "project": "web", "state": "unknown", "lookedAt": "2026-01-01T00:00:00Z", "ageSeconds": 7300,
        "watched": 5, "unwatched": 1, "differing": 2, "unseen": 0, "leftOut": 0, "orderId": "order_1", "runId": "run_1", "bundle": "00"})
}

/// How far a look has come: of two one is not done, for a reason.
pub(super) fn scan(coming: u64, why: &str) -> Value {
    let missing = json!({"agent": "web-2", "project": "web", "why": why, "lookedAt": "2026-01-01T00:00:00Z", "lastSeen": "2026-01-01T00:01:00Z"});
    let all = if why.is_empty() {
        json!([])
    } else {
        json!([missing])
    };
    json!({"askedAt": "2026-01-02T00:00:00.5Z", "watches": 2, "looked": if why.is_empty() { 2 } else { 1 }, "coming": coming, "missing": all})
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

/// What a controller says about drift.
pub(super) fn answer(parts: &[&str], is_read: bool) -> Value {
    let items = |one: Value| json!({"items": [one], "next": null});
    match parts {
        ["drift"] => items(finding()),
        ["drift", "hosts"] => items(host()),
        ["drift", "scans"] => scan(0, "offline"),
        ["drift", _, "acknowledge"] => finding(),
        ["drift", ..] => shown(),
        ["suppressions"] if is_read => items(suppression()),
        ["suppressions", "terms"] => json!({"tenant": "dev"}),
        ["suppressions", ..] => suppression(),
        ["remediations"] if is_read => items(remediation()),
        ["remediation-policies"] => json!([policy()]),
        ["remediation-policies", _] => policy(),
        _ => remediation(),
    }
}

#[test]
fn a_list_ends_with_2_where_something_is_not_as_it_should_be() {
    let home = tempfile::tempdir().unwrap();
    for (state, exit) in [
        ("open", 2),
        ("acknowledged", 2),
        ("unknown", 2),
        ("expected", 0),
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

#[test]
fn a_scan_waits_for_hosts_that_can_look_and_names_those_that_cannot() {
    let home = tempfile::tempdir().unwrap();
    // How it stands at the second question, what differs, how long it is waited, and how it ends.
    for (coming, why, differs, timeout, exit) in [
        (0, "", false, "30", 0),
        (0, "", true, "30", 2),
        (0, "offline", false, "30", 2),
        (1, "coming", false, "0", 124),
        (1, "coming", true, "0", 2),
    ] {
        let server = Stub::serving(move |asked: &Asked, _| {
            if asked.line.starts_with("POST /api/v1/drift/scans") {
                return Answer::Json(201, scan(1, "coming"));
            }
            if asked.line.starts_with("GET /api/v1/drift/scans") {
                return Answer::Json(200, scan(coming, why));
            }
            let items = if differs { json!([finding()]) } else { json!([]) };
            Answer::Json(200, json!({"items": items, "next": null}))
        });
        let args = ["drift", "scan", "--project", "web", "--env", "prod"];
        let args = [&args[..], &["--timeout", timeout, "-o", "json"]].concat();
        let output = server.writ(home.path(), &args).output().unwrap();
        let what = format!("{why} {differs}: {}", err(&output));
        assert_eq!(output.status.code(), Some(exit), "{what}");
        let answer: Value = serde_json::from_str(&out(&output)).unwrap();
        assert_eq!(
            answer["findings"].as_array().unwrap().len(),
            usize::from(differs),
            "{what}"
        );
        assert_eq!(
            err(&output).contains("web-2: not looked at web"),
            !why.is_empty(),
            "{what}"
        );
        let body = &server.asked("POST /api/v1/drift/scans")[0].body;
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body, json!({"project": "web", "environment": "prod"}));
        let asked = "GET /api/v1/drift/scans?project=web&environment=prod&since=2026-01-02T00:00:00.5Z";
        assert_eq!(server.asked(asked).is_empty(), timeout == "0", "{what}");
        assert_eq!(
            server
                .asked("GET /api/v1/drift?project=web&environment=prod")
                .len(),
            1
        );
    }
    let server = Stub::serving(super::kind);
    let output = server
        .writ(home.path(), &["drift", "scan", "--no-wait"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(server.asked("GET /").is_empty());
    let output = server
        .writ(home.path(), &["drift", "scan", "--host", "a&b"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64), "{}", err(&output));
}

#[test]
fn a_gate_lets_pass_what_is_mild_and_nobody_where_nobody_can_see() {
    let home = tempfile::tempdir().unwrap();
    for (severity, state, host, on, exit) in [
        ("warn", "open", "clean", "warn", 2),
        ("warn", "acknowledged", "clean", "warn", 2),
        ("warn", "open", "clean", "critical", 0),
        ("info", "open", "clean", "warn", 0),
        ("odd", "open", "clean", "critical", 2),
        ("critical", "expected", "clean", "info", 0),
        ("info", "unknown", "clean", "critical", 2),
        ("info", "cleared", "unknown", "critical", 2),
    ] {
        let server = Stub::serving(move |asked: &Asked, _| {
            let (mut one, mut watched) = (finding(), super::drift::host());
            (one["severity"], one["state"]) = (json!(severity), json!(state));
            watched["state"] = json!(host);
            let item = if asked.line.contains("/hosts") {
                watched
            } else {
                one
            };
            Answer::Json(200, json!({"items": [item], "next": null}))
        });
        let args = ["drift", "gate", "--project", "web", "--fail-on", on];
        let output = server.writ(home.path(), &args).output().unwrap();
        let what = format!("{severity} {state} {host} {on}: {}", err(&output));
        assert_eq!(output.status.code(), Some(exit), "{what}");
        assert_eq!(server.asked("GET /api/v1/drift?project=web").len(), 1, "{what}");
    }
}

#[test]
fn what_may_differ_is_signed_here_and_says_what_was_seen() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(super::kind);
    let key = home.path().join("key.pem");
    let secret = SigningKey::generate().unwrap();
    std::fs::write(&key, secret.to_pem().unwrap().as_str()).unwrap();
    let key = key.to_str().unwrap();
    let signed = ["--for", "14d", "--reason", "until the next image", "--key", key];
    let accept = [&["drift", "accept", FINDING][..], &signed].concat();
    let files = [
        "--project",
        "web",
        "--resource",
        "file:/etc/*",
        "--env",
        "staging",
    ];
    let suppress = [&["drift", "suppress"][..], &files, &signed].concat();
    for args in [&accept, &suppress] {
        let output = server.writ(home.path(), args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    }
    let sent: Vec<Suppression> = server
        .asked("POST /api/v1/suppressions")
        .iter()
        .map(|asked| {
            let body: Value = serde_json::from_slice(&asked.body).unwrap();
            let envelope = Envelope::parse(body["envelope"].as_str().unwrap().as_bytes()).unwrap();
            let said = statement::peek::<Suppression>(&envelope).unwrap().predicate;
            envelope.verify(PAYLOAD_TYPE, &[secret.public()], 1).unwrap();
            said
        })
        .collect();
    let [baseline, wide] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (
            baseline.host.as_deref(),
            baseline.resource.as_str(),
            wide.host.as_deref()
        ),
        (Some("web-1"), "file:/etc/motd", None)
    );
    let accepted = baseline.accepts.as_ref().unwrap();
    assert_eq!((accepted.len(), accepted[0].got.as_str()), (1, "bb\u{1b}[2J"));
    assert_eq!(
        (&wide.accepts, wide.environment.as_deref()),
        (&None, Some("staging"))
    );
    for one in &sent {
        assert_eq!(
            (one.tenant.as_str(), one.reason.as_str()),
            ("dev", "until the next image")
        );
        assert_eq!(one.expires_at.since(one.issued_at).as_secs(), 14 * 86_400);
    }
    let nothing = [
        &["drift", "suppress", "--project", "web", "--resource", "*"][..],
        &signed,
    ]
    .concat();
    let long = [
        "drift", "accept", FINDING, "--for", "91d", "--reason", "x", "--key", key,
    ];
    let keyless = ["drift", "accept", FINDING, "--for", "1d", "--reason", "x"];
    for wrong in [&nothing[..], &long, &keyless] {
        let output = server.writ(home.path(), wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{wrong:?} {}", err(&output));
    }
    assert_eq!(server.asked("POST /api/v1/suppressions").len(), 2);
}

#[test]
fn yes_is_said_to_what_was_shown_and_by_nobody_who_was_not_asked() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(super::kind);
    let id = "remediation_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b";
    // Nobody is at the terminal.
    let output = server
        .writ(home.path(), &["drift", "approve", id])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(10), "{}", err(&output));
    assert!(server.asked("POST").is_empty());
    let output = server
        .writ(home.path(), &["drift", "approve", id, "--auto-approve"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let sent = server.asked(&format!("POST /api/v1/remediations/{id}/approve"));
    let body: Value = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!(body["planDigest"], json!(super::plan().1));
    let shown = out(&server
        .writ(home.path(), &["drift", "remediation", id])
        .output()
        .unwrap());
    assert!(
        shown.contains("proposed") && shown.contains("Plan for project"),
        "{shown}"
    );
    let set = [
        "drift",
        "policy",
        "set",
        "staging",
        "--mode",
        "autocorrect",
        "--hosts-at-once",
        "5",
        "--reason",
        "x",
    ];
    let output = server.writ(home.path(), &set).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let sent = server.asked("POST /api/v1/remediation-policies/staging");
    let body: Value = serde_json::from_slice(&sent[0].body).unwrap();
    let wanted =
        json!({"mode": "autocorrect", "hostsAtOnce": 5, "perHour": 10, "failuresMax": 3, "reason": "x"});
    assert_eq!(body, wanted);
    for wrong in [
        &["drift", "approve", FINDING][..],
        &["drift", "remediate", "--reason", "x"],
        &["drift", "remediate", FINDING],
        &[
            "drift", "policy", "set", "a/b", "--mode", "audit", "--reason", "x",
        ],
    ] {
        let output = server.writ(home.path(), wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{wrong:?} {}", err(&output));
    }
}
