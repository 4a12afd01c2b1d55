//! The command line as people and scripts meet it: every example that a help text shows is run, every list and show comes in every form, every exit
//! code is the table's, names that are nearly right are told, and nothing is coloured where that is not wanted.

mod alerts;
mod codes;
mod cost_reports;
mod costs;
mod doctor;
mod drift;
mod examples;
mod forms;
mod incidents;
mod schedules;
mod terminal;

use serde_json::{Value, json};
use writ_protocol::digest::Digest;

use super::stub::{Answer, Asked};

/// An id of each kind, as the examples write them.
const RUN: &str = "run_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b";
const HALT: &str = "halt_0199a1b2c3d47e5f8a9b0c1d2e3f4a5b";

fn plan() -> (Value, Digest) {
    let zero = Digest::ZERO.to_hex();
    let plan = json!({"version": 1, "project": "hello", "configDigest": zero, "graphDigest": zero, "bundleDigest": zero, "hosts": [], "groups": []});
    let typed: writ_plan::plan::Plan = serde_json::from_value(plan.clone()).unwrap();
    let digest = typed.digest().unwrap();
    (plan, digest)
}

fn agent() -> Value {
    json!({"id": "agt_1", "name": "web-1", "state": "active", "labels": {"role": "web"}, "lastSeen": "2026-01-01T00:00:00Z", "version": "0.1.0"})
}

fn halt() -> Value {
    json!({"id": HALT, "state": "set", "scope": "all", "action": "hard", "reason": "why", "controlEpoch": 2})
}

fn slo() -> Value {
    json!({"name": "drift-latency", "about": "answers", "objective": 0.999, "window": "30d", "state": "ok", "good": 1999, "total": 2000,
        "current": 0.9995, "budgetLeft": 0.5, "burn": [{"window": "1h", "good": 9, "total": 9, "rate": null}]})
}

fn budget() -> Value {
    json!({"id": "project:web", "mode": "warn", "window": "none", "capMicros": 9, "reservedMicros": 2, "spentMicros": 3, "disputedMicros": 0,
        "overrunMicros": 0, "leftMicros": 4, "currency": "USD", "refused": 0})
}

/// A controller on which everything that is asked for is there and has gone well.
fn kind(asked: &Asked, _: usize) -> Answer {
    let path = asked.line.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let order =
        json!({"id": "order_1", "agentName": "web-1", "state": "succeeded", "code": null, "detail": null});
    let run = json!({"id": RUN, "kind": "apply", "state": "succeeded", "orders": [order], "counts": {"succeeded": 1}, "costMicros": 7, "currency": "USD"});
    let items = |one: Value| json!({"items": [one], "next": null});
    let step = json!({"orderId": "order_1", "agentName": "web-1", "step": "command:compile", "attempt": 1, "outcome": "changed",
        "endedAt": "2026-01-01T00:00:00Z", "outputDigest": Digest::of(b"words\n")});
    let file = json!({"agentName": "web-1", "step": "command:compile", "path": "/out", "digest": Digest::of(b"words\n"), "length": 6});
    let parts: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
    let body = match parts.as_slice() {
        ["agents"] => items(agent()),
        ["agents", "web-1", ..] => agent(),
        ["join-tokens"] => {
            json!({"id": "join_1", "token": "writ_join_x", "expiresAt": "2026-01-01T00:00:00Z"})
        }
        ["runs"] if asked.line.starts_with("GET") => items(run),
        ["runs"] | ["runs", _] | ["runs", _, "cancel" | "resume"] => run,
        ["runs", _, "steps"] => items(step),
        ["runs", _, "artefacts"] => items(file),
        ["plans", _] | ["runs", _, "plan"] => json!({"digest": plan().1, "plan": plan().0}),
        ["runs", _, "blobs", _] => return Answer::Bytes(b"words\n".to_vec()),
        ["runs", _, "evidence"] => return Answer::Bytes(b"pack".to_vec()),
        ["budgets"] => items(budget()),
        ["budgets", _] => budget(),
        ["costs", "unknown"] => costs::unknown(),
        ["costs", ..] => costs::costs(asked, &costs::total()),
        ["cost-reports"] if asked.line.starts_with("GET") => items(cost_reports::report()),
        ["cost-reports"] | ["cost-reports", _] => cost_reports::report(),
        ["schedules"] if asked.line.starts_with("GET") => items(schedules::schedule()),
        ["schedules", _, "history"] => items(schedules::past()),
        ["schedules", _, "next"] => json!([schedules::coming()]),
        ["schedules", ..] => schedules::schedule(),
        ["halts"] if asked.line.starts_with("GET") => items(halt()),
        ["halts"] | ["halts", _] | ["halts", _, "release"] => halt(),
        ["halts", _, "status"] => json!({"stopped": 3, "pending": 0, "unreachable": 0, "waitingFor": []}),
        ["halts", _, "lift-terms"] => json!({"tenant": "dev", "controlEpoch": 3}),
        ["incidents"] => items(incidents::incident()),
        ["incidents", incidents::INCIDENT] => incidents::shown(),
        ["incidents", incidents::INCIDENT, "ack" | "close"] => incidents::incident(),
        ["incident-log"] => incidents::log(asked),
        [
            "drift" | "suppressions" | "remediations" | "remediation-policies",
            ..,
        ] => drift::answer(&parts, asked.line.starts_with("GET")),
        ["slos"] => items(slo()),
        ["slos", _] => slo(),
        ["alerts"] => items(alerts::alert()),
        ["alert-receivers"] => items(alerts::receiver()),
        ["alerts" | "alert-receivers", ..] => alerts::alert(),
        ["alert-rules"] => items(alerts::rule()),
        ["openapi.json"] => json!({"info": {"version": env!("CARGO_PKG_VERSION")}}),
        ["", "readyz"] => {
            json!({"stopping": false, "checks": [{"name": "ledger", "state": "ok"}], "revocation": "works"})
        }
        _ => {
            return Answer::Json(
                404,
                json!({"title": "not found", "code": "W0003", "detail": "there is no such thing"}),
            );
        }
    };
    let made =
        asked.line.starts_with("POST") && matches!(parts.last(), Some(&("runs" | "halts" | "join-tokens")));
    Answer::Json(if made { 201 } else { 200 }, body)
}
