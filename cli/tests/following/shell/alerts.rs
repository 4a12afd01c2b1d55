//! `writ alert`: how it ends, and what is asked of the controller.

use serde_json::{Value, json};

use crate::stub::{Answer, Asked, Stub};
use crate::{err, out};

/// Its id, as the examples write it.
pub(super) const ALERT: &str = "alert_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b";

/// A notification as the API shows it.
pub(super) fn alert() -> Value {
    let event = json!({"kind": "drift.opened", "severity": "warn", "subject": "drift_1", "summary": "web-1: file:/etc/motd\u{1b}[2J",
        "at": "2026-01-01T00:00:00Z"});
    json!({"id": ALERT, "receiver": "ops", "rule": "all", "severity": "warn", "state": "dead", "reason": null, "events": [event],
        "madeAt": "2026-01-01T00:00:00Z", "dueAt": "2026-01-01T00:00:00Z", "attempts": 10, "triedAt": "2026-01-02T00:00:00Z", "answer": "503",
        "endedAt": "2026-01-02T00:00:00Z"})
}

/// Somebody who is told.
pub(super) fn receiver() -> Value {
    json!({"name": "ops", "kind": "webhook", "delivers": true, "seesSecurity": false, "rateMost": 60, "ratePerSeconds": 3600, "quietHours": 1,
        "tries": 10})
}

/// Of what.
pub(super) fn rule() -> Value {
    json!({"name": "all", "events": ["drift.*"], "atLeast": "warn", "classes": [], "projects": [], "environments": ["prod"], "labels": {},
        "receivers": ["ops"], "groupBy": null, "onceInSeconds": 3600})
}

#[test]
fn dead_ones_are_asked_for_by_state_and_end_with_2() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(|asked: &Asked, _| {
        let line = "GET /api/v1/alerts?receiver=ops&state=dead";
        assert!(asked.line.starts_with(line), "{}", asked.line);
        Answer::Json(200, json!({"items": [alert()], "next": null}))
    });
    let output = server
        .writ(home.path(), &["alert", "dead", "--receiver", "ops"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(
        out(&output).contains("web-1") && !out(&output).contains('\u{1b}'),
        "{}",
        out(&output)
    );
    let none = Stub::serving(|_: &Asked, _| Answer::Json(200, json!({"items": [], "next": null})));
    let output = none.writ(home.path(), &["alert", "dead"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    for args in [["alert", "show", "../runs"], ["alert", "test", "../x"]] {
        let output = none.writ(home.path(), &args).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{}", err(&output));
    }
}
