//! `writ schedule`: what is asked of the controller, and what people are told.

use serde_json::{Value, json};

use crate::stub::{Answer, Stub};
use crate::{err, out};

/// A schedule as the API shows it.
pub(super) fn schedule() -> Value {
    let rule = json!({"cron": "30 2 * * *", "zone": "Europe/Berlin", "jitterSeconds": 0, "catchUp": "latest", "catchUpMax": null,
        "overlap": "skip", "windows": [], "freezes": []});
    json!({"id": "sched_1", "name": "nightly", "starts": "apply", "planDigest": "9f86d081884c7d65", "rule": rule, "paused": false,
        "next": coming(), "queued": 0})
}

/// A time that is still to come.
pub(super) fn coming() -> Value {
    json!({"at": "2026-11-23T01:30:00Z", "local": "2026-11-23T02:30:00+01:00[Europe/Berlin]", "dueAt": "2026-11-23T01:30:00Z"})
}

/// What became of a time.
pub(super) fn past() -> Value {
    json!({"at": "2026-11-22T01:30:00Z", "through": "2026-11-22T01:30:00Z", "times": 1, "state": "skipped", "reason": "overlap",
        "detail": null, "runId": null, "startedAt": null})
}

#[test]
fn a_schedule_is_asked_for_as_it_was_written_and_its_times_are_told() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(super::kind);
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let create = [
        "schedule",
        "create",
        "nightly",
        "--cron",
        "30 2 * * *",
        "--zone",
        "Europe/Berlin",
        "--apply",
    ];
    let made = server
        .writ(home.path(), &[&create[..], &[digest]].concat())
        .output()
        .unwrap();
    let told = out(&made);
    assert!(
        made.status.success() && told.contains("02:30:00+01:00[Europe/Berlin]"),
        "{told}{}",
        err(&made)
    );
    assert_eq!(server.asked("POST /api/v1/schedules").len(), 1);
    let history = server
        .writ(home.path(), &["schedule", "history", "nightly"])
        .output()
        .unwrap();
    assert!(
        out(&history).contains("skipped") && out(&history).contains("overlap"),
        "{}",
        out(&history)
    );
    let paused = server
        .writ(home.path(), &["schedule", "pause", "nightly", "-o", "json"])
        .output()
        .unwrap();
    let shown: Value = serde_json::from_str(&out(&paused)).unwrap();
    assert_eq!(
        (&shown["name"], &shown["rule"]["cron"]),
        (&json!("nightly"), &json!("30 2 * * *"))
    );
    assert_eq!(server.asked("POST /api/v1/schedules/nightly/pause").len(), 1);
}

#[test]
fn what_is_no_schedule_is_refused_before_anybody_is_asked() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(|_, _| Answer::Json(500, json!({})));
    let create = ["schedule", "create", "x", "--cron", "@daily"];
    for (more, words) in [
        (&["--apply", "PLAN"][..], "neither a plan's file nor"),
        (&[][..], "--apply"),
        (&["--cost-report", "--check", "PLAN"][..], "--cost-report"),
    ] {
        let refused = server
            .writ(home.path(), &[&create[..], more].concat())
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(64), "{more:?} {}", err(&refused));
        assert!(err(&refused).contains(words), "{more:?} {}", err(&refused));
    }
    let odd = server
        .writ(home.path(), &["schedule", "show", "../runs"])
        .output()
        .unwrap();
    assert_eq!(odd.status.code(), Some(64), "{}", err(&odd));
    assert!(server.asked("").is_empty());
}
