//! How a command ends: the exit code of the table for every refusal and every end of a run, and what is told of a name that is nearly right.

use serde_json::{Value, json};

use super::{RUN, kind};
use crate::stub::{Answer, Stub};
use crate::{err, out};

#[test]
fn every_refusal_has_the_exit_code_of_the_table() {
    let home = tempfile::tempdir().unwrap();
    // What the controller refuses with, and how the command ends.
    let codes = [
        ("W0001", 400, 3),
        ("W0002", 413, 3),
        ("W0003", 404, 1),
        ("W0004", 409, 1),
        ("W0005", 401, 19),
        ("W0006", 403, 11),
        ("W0007", 422, 1),
        ("W0009", 503, 20),
        ("W0010", 500, 1),
        ("W0011", 429, 1),
        ("W0013", 422, 3),
        ("W0200", 400, 17),
        ("W0201", 422, 18),
        ("W0203", 409, 17),
        ("W0206", 400, 17),
        ("W0210", 409, 16),
        ("W0301", 409, 14),
        ("W0308", 409, 15),
        ("W0312", 409, 13),
        ("W0313", 409, 12),
        ("W0315", 409, 15),
    ];
    for (code, status, exit) in codes {
        let problem = json!({"title": "refused", "status": status, "code": code, "detail": "so it is"});
        let server = Stub::serving(move |_, _| Answer::Json(status, problem.clone()));
        let output = server.writ(home.path(), &["run", "list"]).output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{code}: {}", err(&output));
        assert!(
            err(&output).starts_with(&format!("error[{code}]: ")),
            "{}",
            err(&output)
        );
        let machine = server
            .writ(home.path(), &["run", "list", "-o", "json"])
            .output()
            .unwrap();
        let told: Value = serde_json::from_str(&err(&machine)).unwrap();
        assert_eq!((&told["code"], &told["exit"]), (&json!(code), &json!(exit)));
        assert!(out(&machine).is_empty(), "data and talk are apart");
    }
}

/// An answer that was lost comes again without the token: it is told once.
#[test]
fn a_join_token_whose_text_was_lost_is_said_to_be_lost() {
    let home = tempfile::tempdir().unwrap();
    let repeated = json!({"id": "join_1", "expiresAt": "2026-01-01T00:00:00Z"});
    let server = Stub::serving(move |_, _| Answer::Json(201, repeated.clone()));
    let output = server.writ(home.path(), &["agent", "enroll"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).is_empty());
    for part in ["join_1", "shown only once", "help: ", "writ agent enroll"] {
        assert!(err(&output).contains(part), "{part}: {}", err(&output));
    }
}

/// How a run ended, and how the command that waited for it ends.
#[test]
fn every_end_of_a_run_has_the_exit_code_of_the_table() {
    let home = tempfile::tempdir().unwrap();
    let states = [
        ("succeeded", "succeeded", None, 0),
        ("failed", "failed", Some("W0306"), 1),
        ("unresolved", "unresolved", Some("W0315"), 15),
        ("aborted", "aborted", Some("W0301"), 14),
        ("stopped", "stopped", Some("W0301"), 14),
        ("failed", "refused", Some("W0312"), 13),
        ("cancelled", "cancelled", Some("W0302"), 1),
        ("cancelled", "refused", Some("W0312"), 1),
        ("failed", "refused", Some("W0313"), 12),
        ("failed", "expired", Some("W0201"), 18),
    ];
    for (run, host, code, exit) in states {
        let order =
            json!({"id": "order_1", "agentName": "web-1", "state": host, "code": code, "detail": null});
        let run = json!({"id": RUN, "kind": "apply", "state": run, "orders": [order], "counts": {host: 1}});
        let server = Stub::serving(move |asked, before| {
            if asked.line == format!("GET /api/v1/runs/{RUN}") {
                Answer::Json(200, run.clone())
            } else {
                kind(asked, before)
            }
        });
        let output = server.writ(home.path(), &["run", "watch", RUN]).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{host} {code:?}: {}",
            err(&output)
        );
    }
}

#[test]
fn a_name_that_is_nearly_right_is_told() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let cases: [(&[&str], i32, &str); 7] = [
        (&["agent", "show", "wbe-1"], 1, "help: did you mean \"web-1\"?"),
        (
            &["agent", "quarantine", "web-2", "--reason", "x"],
            1,
            "help: did you mean \"web-1\"?",
        ),
        (
            &["agent", "rm", "mailserver"],
            1,
            "help: `writ agent list` shows them all",
        ),
        (&["help", "agnet"], 64, "help: did you mean \"agent\"?"),
        (&["agnet", "list"], 64, "'agent'"),
        (&["run", "list", "--limt", "3"], 64, "'--limit'"),
        (&["run", "list", "--context", "prod"], 64, "there is no context"),
    ];
    for (args, exit, part) in cases {
        let output = server.writ(home.path(), args).output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(part), "{args:?}: {}", err(&output));
    }
}
