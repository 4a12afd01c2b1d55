//! Incidents as the commands show them, and what `writ incident verify` says of a log that somebody wrote in.

use serde_json::{Value, json};
use uuid::Uuid;
use writ_protocol::id::IncidentId;
use writ_protocol::incident::{Act, Entry, Head, Kind, Opened};
use writ_protocol::time::Timestamp;

use super::kind;
use crate::stub::{Answer, Asked, Stub};
use crate::{err, out};

/// Its id, as the examples write it.
pub(super) const INCIDENT: &str = "incident_0000000000000001a1b2c3d4e5f60718";

/// The incident.
pub(super) fn incident() -> Value {
    json!({"id": INCIDENT, "kind": "halt", "cause": "halt:1", "state": "open", "summary": "it burns", "orders": 0,
        "openedAt": "2026-01-01T00:00:00Z", "ackedBy": null, "closedBy": null, "reason": null, "lastSeq": 1})
}

/// The entry that opens it.
fn entry() -> Value {
    let entry = Entry {
        seq: 1,
        incident_id: IncidentId::from_uuid(Uuid::from_u128(0x0000_0000_0000_0001_a1b2_c3d4_e5f6_0718)),
        at: Timestamp::from_millis(5),
        actor: "controller".to_owned(),
        act: Act::Open(Opened {
            kind: Kind::Halt,
            cause: "halt:1".to_owned(),
            summary: "it burns".to_owned(),
            halt_id: None,
            run_id: None,
            agent_id: None,
        }),
        orders: Vec::new(),
        more_orders: 0,
    };
    let body = entry.encode().unwrap();
    let hash = Head::default().with(&body).hash;
    json!({"seq": 1, "body": body, "hash": hash})
}

/// The incident with its entries.
pub(super) fn shown() -> Value {
    json!({"incident": incident(), "entries": [entry()]})
}

/// The log, or what comes after its one entry.
pub(super) fn log(asked: &Asked) -> Value {
    let is_after = asked.line.contains("cursor=1");
    let items: Vec<Value> = (!is_after).then(entry).into_iter().collect();
    json!({"items": items, "next": null})
}

/// A controller whose ledger somebody wrote in beside it.
fn forged(asked: &Asked, count: usize) -> Answer {
    if !asked.line.contains("incident-log") {
        return kind(asked, count);
    }
    let text = log(asked).to_string().replace("it burns", "it is fine");
    Answer::Json(200, serde_json::from_str(&text).unwrap())
}

#[test]
fn a_log_holds_by_its_own_head_and_not_by_another_or_with_another_word_in_it() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let verify = |server: &Stub, more: &[&str]| {
        let args = [&["incident", "verify", "-o", "json"], more].concat();
        server.writ(home.path(), &args).output().unwrap()
    };
    let output = verify(&server, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let said: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((&said["entries"], &said["incidents"]), (&json!(1), &json!(1)));
    let head = said["head"].as_str().unwrap();
    assert!(verify(&server, &["--through", head]).status.success());
    let later = head.replacen("1:", "2:", 1);
    assert_eq!(
        verify(&server, &["--through", &later]).status.code(),
        Some(16),
        "it had more entries"
    );
    assert_eq!(verify(&server, &["--through", "soon"]).status.code(), Some(64));
    let output = verify(&Stub::serving(forged), &[]);
    assert_eq!(output.status.code(), Some(16));
    assert!(err(&output).contains("entry 1 was changed"), "{}", err(&output));
}
