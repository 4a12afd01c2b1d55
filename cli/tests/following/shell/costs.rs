//! `writ cost`: what is asked of the controller, what people are told, and that lines which do not add up to their total are not shown.

use serde_json::{Value, json};

use crate::stub::{Answer, Asked, Stub};
use crate::{err, out};

fn line(key: &str, orders: u64, cost: u64, unknown: u64) -> Value {
    json!({"key": key, "orders": orders, "costMicros": cost, "unknownMicros": unknown, "countedMicros": cost + unknown, "openMicros": 0,
        "rateCards": [1], "disputedMicros": 0})
}

/// Two pages, or the dearest; `total` is what the controller says of all.
pub(super) fn costs(asked: &Asked, total: &Value) -> Value {
    let by_page = if asked.line.contains("cursor=more") {
        (json!([line("web", 2, 30, 500_000)]), Value::Null)
    } else if asked.line.contains("/top?") {
        (
            json!([line("web", 2, 30, 500_000), line("db", 1, 12, 0)]),
            Value::Null,
        )
    } else {
        (json!([line("db", 1, 12, 0)]), json!("more"))
    };
    json!({"by": "project", "from": "2026-11-16T00:00:00Z", "to": "2026-11-23T00:00:00Z", "project": null, "currency": "USD",
        "total": total, "items": by_page.0, "next": by_page.1})
}

pub(super) fn total() -> Value {
    line("", 3, 42, 500_000)
}

pub(super) fn unknown() -> Value {
    json!({"items": [{"runId": super::RUN, "agentName": "web-1", "state": "aborted", "why": "unmetered", "costMicros": 30, "countedMicros": 500_030}],
        "next": null})
}

#[test]
fn a_report_has_every_page_its_total_and_what_nobody_knows() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(super::kind);
    let shown = server
        .writ(home.path(), &["cost", "report", "--week", "2026-W47"])
        .output()
        .unwrap();
    assert_eq!(shown.status.code(), Some(0), "{}", err(&shown));
    let rows: Vec<Vec<String>> = out(&shown)
        .lines()
        .map(|row| row.split_whitespace().map(str::to_owned).collect())
        .collect();
    for row in [
        "db 1 0.000012 0.000000 0.000012 USD 0.000000 v1",
        "web 2 0.000030 0.500000 0.500030 USD 0.000000 v1",
        "total 3 0.000042 0.500000 0.500042 USD 0.000000 v1",
        &format!("{} web-1 aborted unmetered 0.000030 0.500030 USD", super::RUN),
    ] {
        let wanted: Vec<String> = row.split(' ').map(str::to_owned).collect();
        assert!(rows.contains(&wanted), "{row}\n{}", out(&shown));
    }
    let asked = server.asked("GET /api/v1/costs?by=project&limit=500");
    let first = &asked.first().unwrap().line;
    assert!(
        first.contains("from=2026-11-16T00:00:00") && first.contains("to=2026-11-23T00:00:00"),
        "{first}"
    );
}

#[test]
fn lines_that_do_not_add_up_to_their_total_are_read_again_and_never_shown() {
    let home = tempfile::tempdir().unwrap();
    let moving = |asked: &Asked, nth: usize| {
        let is_of_unknown = asked.line.contains("/unknown?");
        let total = line("", 3, 43 + u64::try_from(nth).unwrap(), 500_000);
        Answer::Json(
            200,
            if is_of_unknown {
                unknown()
            } else {
                costs(asked, &total)
            },
        )
    };
    let server = Stub::serving(moving);
    let shown = server.writ(home.path(), &["cost", "report"]).output().unwrap();
    assert_eq!(shown.status.code(), Some(1), "{}", err(&shown));
    assert_eq!(out(&shown), "");
    assert!(err(&shown).contains("do not add up"), "{}", err(&shown));
}
