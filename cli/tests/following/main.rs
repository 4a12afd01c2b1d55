//! Following a run: by its stream of events, without one, across losses, and while the controller is away. Beside it, in `shell`, the command line
//! as people and scripts meet it.
#![expect(
    clippy::unwrap_used,
    reason = "tests; the setting for tests does not reach their helper functions"
)]

mod shell;
mod stub;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stub::{Answer, Asked, Stub, When};
use writ_cli::clock::Stopwatch;
use writ_protocol::digest::Digest;

const RUN: &str = "/api/v1/runs/run_1";
const STREAM: &str = "GET /api/v1/stream?topics=run:run_1";
/// Silence on a stream, in which a client that polls would ask several times.
const QUIET: Duration = Duration::from_millis(1_500);

fn run(state: &str, host: &str) -> Value {
    let order = json!({"id": "order_1", "agentName": "web-1", "state": host, "code": null, "detail": null});
    json!({"id": "run_1", "kind": "apply", "state": state, "orders": [order], "counts": {host: 1}, "costMicros": 7, "currency": "USD"})
}

/// The run while it goes on, and once it is over.
fn at_end(over: bool, end: &str) -> Answer {
    let now = if over {
        run(end, end)
    } else {
        run("running", "accepted")
    };
    Answer::Json(200, now)
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn event(id: &str, name: &str, data: &str) -> String {
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
}

/// Answers for everything but the run and its stream.
fn rest(asked: &Asked) -> Answer {
    if asked.line.ends_with("/steps") {
        return Answer::Json(200, json!({"items": []}));
    }
    Answer::Json(404, json!({"title": "not found"}))
}

#[test]
fn a_change_on_the_stream_is_what_asks_again() {
    let home = tempfile::tempdir().unwrap();
    // The run is over only once the stream has told of it; asking early and often would show.
    let begun = Arc::new(std::sync::Mutex::new(None));
    let server = Stub::serving(move |asked, _| {
        if asked.line.starts_with(STREAM) {
            *begun.lock().unwrap() = Some(Stopwatch::start());
            let pieces = vec![
                (When::Now, event("5-1", "open", "{}")),
                (When::Quiet(QUIET), event("6-2", "run:run_1", "{}")),
            ];
            return Answer::Events { pieces, hold: true };
        }
        if asked.line == format!("GET {RUN}") {
            let over = begun
                .lock()
                .unwrap()
                .is_some_and(|watch| watch.elapsed() >= QUIET);
            return at_end(over, "succeeded");
        }
        rest(asked)
    });
    let watched = server
        .writ(home.path(), &["run", "watch", "run_1"])
        .output()
        .unwrap();
    assert_eq!(watched.status.code(), Some(0), "{}", err(&watched));
    assert!(err(&watched).contains("web-1            accepted") && err(&watched).contains("succeeded"));
    let questions = server
        .asked(&format!("GET {RUN}"))
        .iter()
        .filter(|a| !a.line.ends_with("/steps"))
        .count();
    assert!(
        questions <= 4,
        "{questions} questions: the stream tells when to ask"
    );
}

#[test]
fn a_stream_that_breaks_goes_on_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let resumed = Arc::new(AtomicBool::new(false));
    let server = {
        let resumed = Arc::clone(&resumed);
        Stub::serving(move |asked, _| {
            if asked.line.starts_with(STREAM) {
                let place = asked.header("last-event-id");
                if place.as_deref() == Some("6-2") {
                    resumed.store(true, Ordering::SeqCst);
                    let pieces = vec![(When::Now, event("6-2", "open", "{}"))];
                    return Answer::Events { pieces, hold: true };
                }
                assert_eq!(place, None, "a reader goes on behind the last event it had");
                let pieces = vec![
                    (When::Now, event("5-1", "open", "{}")),
                    (When::Now, event("6-2", "run:run_1", "{}")),
                ];
                return Answer::Events { pieces, hold: false };
            }
            if asked.line == format!("GET {RUN}") {
                let over = resumed.load(Ordering::SeqCst);
                return at_end(over, "succeeded");
            }
            rest(asked)
        })
    };
    let watched = server
        .writ(home.path(), &["run", "watch", "run_1"])
        .output()
        .unwrap();
    assert_eq!(watched.status.code(), Some(0), "{}", err(&watched));
    assert_eq!(server.asked(STREAM).len(), 2);
    assert!(
        !err(&watched).contains("no answer"),
        "a stream that comes back is no news: {}",
        err(&watched)
    );
}

#[test]
fn without_a_stream_the_run_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(|asked, before| {
        if asked.line.starts_with(STREAM) {
            return Answer::Json(
                429,
                json!({"title": "too many requests", "code": "W0011", "status": 429}),
            );
        }
        if asked.line == format!("GET {RUN}") {
            return at_end(before >= 3, "failed");
        }
        rest(asked)
    });
    let watched = server
        .writ(home.path(), &["run", "watch", "run_1", "--json-lines"])
        .output()
        .unwrap();
    assert_eq!(watched.status.code(), Some(1), "{}", err(&watched));
    assert_eq!(
        server.asked(STREAM).len(),
        1,
        "a refusal is not asked for again at once"
    );
    let lines: Vec<Value> = out(&watched)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["order.state", "order.state", "run.ended"]);
    for line in &lines {
        assert!(
            line["run"] == "run_1" && line["time"].as_str().is_some_and(|at| at.ends_with('Z')),
            "{line}"
        );
    }
    assert_eq!(lines[2]["state"], "failed");
}

#[test]
fn a_controller_that_goes_away_and_comes_back_is_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    drop(held);
    // Nobody listens there at first.
    let nobody = Stub {
        url: format!("http://{address}"),
        book: Arc::default(),
    };
    let mut watching = nobody.writ(home.path(), &["run", "watch", "run_1"]);
    let mut child = watching
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut talk = BufReader::new(child.stderr.take().unwrap());
    let mut first = String::new();
    talk.read_line(&mut first).unwrap();
    assert!(
        first.starts_with("no answer since 2") && first.contains("run_1 goes on"),
        "{first}"
    );
    let _server = Stub::on(TcpListener::bind(address).unwrap(), |asked, _| {
        if asked.line == format!("GET {RUN}") {
            return Answer::Json(200, run("succeeded", "succeeded"));
        }
        rest(asked)
    });
    let mut more = String::new();
    talk.read_to_string(&mut more).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{more}");
    assert!(more.contains("the controller answers again, after"), "{more}");
    assert!(!more.contains("no answer since"), "said once: {more}");
}

#[test]
fn patience_with_a_controller_that_stays_away_ends_as_unreachable() {
    let home = tempfile::tempdir().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = Stub {
        url: format!("http://{}", held.local_addr().unwrap()),
        book: Arc::default(),
    };
    drop(held);
    let gone = nobody
        .writ(home.path(), &["run", "watch", "run_1", "--timeout", "1"])
        .output()
        .unwrap();
    assert_eq!(gone.status.code(), Some(20), "{}", err(&gone));
    assert!(
        err(&gone).contains("has not answered since 2") && err(&gone).contains("writ doctor"),
        "{}",
        err(&gone)
    );
}

/// Live lines of one step, one of them lost on the way, and of another step all of them.
#[test]
fn live_output_is_shown_as_it_comes_and_whole_where_lines_were_lost() {
    let home = tempfile::tempdir().unwrap();
    let (lossy, fine) = ("one\ntwo\nthree\n", "all\nof it\n");
    let server = Stub::serving(move |asked, before| {
        let piece = |step: &str, seq: u64, text: &str| {
            let data =
                json!({"order": "order_1", "step": step, "stream": "stdout", "seq": seq, "text": text});
            format!("event: log\ndata: {data}\n\n")
        };
        let step = |name: &str, text: &str| {
            json!({"orderId": "order_1", "agentName": "web-1", "step": name, "attempt": 1, "outcome": "changed",
                "endedAt": "2026-01-01T00:00:00Z", "outputDigest": Digest::of(text.as_bytes())})
        };
        match asked.line.as_str() {
            "GET /api/v1/runs/run_1/logs" => {
                let pieces = vec![
                    (When::Now, "event: open\ndata: {}\n\n".to_owned()),
                    (
                        When::Asked("GET /api/v1/runs/run_1"),
                        piece("command:lossy", 1, "one\n"),
                    ),
                    (When::Now, piece("command:fine", 1, "all\n")),
                    (When::Now, piece("command:fine", 2, "of it\n")),
                    (When::Now, piece("command:lossy", 3, "three\n")),
                ];
                Answer::Events { pieces, hold: true }
            }
            "GET /api/v1/runs/run_1" => at_end(before >= 2, "succeeded"),
            "GET /api/v1/runs/run_1/steps" if before >= 1 => Answer::Json(
                200,
                json!({"items": [step("command:lossy", lossy), step("command:fine", fine)]}),
            ),
            line if line.contains("/blobs/") => {
                let text = if line.ends_with(&Digest::of(lossy.as_bytes()).to_hex()) {
                    lossy
                } else {
                    fine
                };
                Answer::Bytes(text.as_bytes().to_vec())
            }
            _ => rest(asked),
        }
    });
    let shown = server
        .writ(home.path(), &["run", "logs", "run_1", "--follow"])
        .output()
        .unwrap();
    assert_eq!(shown.status.code(), Some(0), "{}", err(&shown));
    let text = out(&shown);
    assert!(
        text.starts_with("── web-1 command:lossy\none\n── web-1 command:fine\nall\nof it\n"),
        "{text}"
    );
    assert!(
        text.ends_with("── web-1 command:lossy\none\ntwo\nthree\n"),
        "what was lost comes whole: {text}"
    );
    assert_eq!(
        text.matches("of it").count(),
        1,
        "what was not lost comes once: {text}"
    );
    assert!(err(&shown).contains("live lines were lost"), "{}", err(&shown));
}

#[test]
fn recorded_output_is_chosen_by_host_step_and_time() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(|asked, _| {
        let step = |host: &str, name: &str, at: &str| {
            json!({"orderId": "order_1", "agentName": host, "step": name, "attempt": 1, "outcome": "changed",
                "endedAt": at, "outputDigest": Digest::of(b"words\n")})
        };
        if asked.line.contains("/blobs/") {
            return Answer::Bytes(b"words\n".to_vec());
        }
        if asked.line.ends_with("/steps") {
            let steps = [
                step("web-1", "command:a", "2026-01-01T00:00:00Z"),
                step("web-1", "command:b", "2026-01-02T00:00:00Z"),
                step("web-2", "command:b", "2026-01-03T00:00:00Z"),
            ];
            return Answer::Json(200, json!({ "items": steps }));
        }
        rest(asked)
    });
    let shown = |more: &[&str]| {
        let args = [&["run", "logs", "run_1", "-o", "json"], more].concat();
        let output = server.writ(home.path(), &args).output().unwrap();
        let all: Vec<Value> =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", err(&output)));
        all.iter()
            .map(|one| format!("{} {}", one["host"], one["step"]).replace('"', ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shown(&[]),
        ["web-1 command:a", "web-1 command:b", "web-2 command:b"]
    );
    assert_eq!(
        shown(&["--host", "web-1", "--step", "command:b"]),
        ["web-1 command:b"]
    );
    assert_eq!(
        shown(&["--since", "2026-01-02T00:00:00Z"]),
        ["web-1 command:b", "web-2 command:b"]
    );
    assert_eq!(shown(&["--since", "1h"]), Vec::<String>::new());
    let wrong = server
        .writ(home.path(), &["run", "logs", "run_1", "--since", "soon"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(64), "{}", err(&wrong));
}

#[test]
fn on_a_terminal_the_picture_changes_in_place_and_goes_at_the_end() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(|asked, before| {
        if asked.line == format!("GET {RUN}") {
            return at_end(before >= 3, "succeeded");
        }
        rest(asked)
    });
    let output = server.on_a_terminal(home.path(), "run watch run_1", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    let text = out(&output);
    assert!(
        text.contains("apply running: 0 of 1 hosts done") && text.contains("web-1  accepted"),
        "{text:?}"
    );
    assert!(text.contains("\u{1b}["), "the picture is drawn over: {text:?}");
    assert!(
        text.trim_end().ends_with("cost 0.000007 USD"),
        "the verdict is what stays: {text:?}"
    );
}

#[test]
fn a_host_that_failed_behind_the_first_page_decides_exit_and_words() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(|asked, _| {
        let order = |host: &str, state: &str, code: Option<&str>| json!({"id": "order_1", "agentName": host, "state": state, "code": code, "detail": code.map(|_| "it moved")});
        let page = |orders: Value, next: Option<&str>| {
            let mut page = run("failed", "failed");
            (page["orders"], page["ordersNext"]) = (orders, json!(next));
            Answer::Json(200, page)
        };
        match asked.line.strip_prefix(&format!("GET {RUN}")) {
            Some("") => page(json!([order("web-1", "succeeded", None)]), Some("web-1")),
            Some("?cursor=web-1") => page(json!([order("web-2", "failed", Some("W0306"))]), Some("web-2")),
            Some("?cursor=web-2") => page(json!([order("web-3", "refused", Some("W0312"))]), None),
            _ => rest(asked),
        }
    });
    let watched = server
        .writ(home.path(), &["run", "watch", "run_1", "-o", "json"])
        .output()
        .unwrap();
    assert_eq!(watched.status.code(), Some(13), "{}", err(&watched));
    assert!(
        err(&watched).contains("web-3 refused it moved"),
        "{}",
        err(&watched)
    );
    let shown: Value = serde_json::from_slice(&watched.stdout).unwrap();
    assert_eq!(shown["orders"].as_array().map(Vec::len), Some(3));
    assert_eq!(shown["ordersNext"], Value::Null);
}
