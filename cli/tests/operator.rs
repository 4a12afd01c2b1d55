//! Operator commands against a server that answers as a controller does: what is asked, what is shown, and how the command ends.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests; the setting for tests does not reach their helper functions"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use writ_protocol::digest::Digest;

/// A request as it came.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    head: String,
    body: Value,
}

/// A server with one answer for each `METHOD /path`; anything else is not found.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn answering(answers: &[(&str, u16, Value)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Vec<(String, u16, Value)> = answers
            .iter()
            .map(|(line, status, body)| ((*line).to_owned(), *status, body.clone()))
            .collect();
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is no reason to stop.
                serve(&stream, &answers, &seen).ok();
            }
        });
        Self { url, asked }
    }

    fn asked(&self, line: &str) -> Vec<Asked> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|asked| asked.line == line)
            .cloned()
            .collect()
    }
}

fn serve(
    stream: &TcpStream,
    answers: &[(String, u16, Value)],
    seen: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let header = |name: &str| {
        head.lines()
            .find_map(|l| l.to_lowercase().strip_prefix(name).map(str::to_owned))
    };
    let mut body = vec![
        0;
        header("content-length:")
            .and_then(|n| n.trim().parse().ok())
            .unwrap_or(0)
    ];
    if header("transfer-encoding:").is_some() {
        body = chunked(&mut reader)?;
    } else {
        reader.read_exact(&mut body)?;
    }
    let first = head.lines().next().unwrap_or_default();
    let line = first.rsplit_once(' ').unwrap().0.to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    seen.lock().unwrap().push(Asked {
        line: line.clone(),
        head: head.clone(),
        body,
    });
    let found = answers.iter().find(|(known, ..)| *known == line);
    let (status, answer) = found.map_or((404, json!({"title": "not found"})), |(_, s, a)| (*s, a.clone()));
    let text = answer.to_string();
    let length = text.len();
    let mut answer = stream;
    write!(
        answer,
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}

fn chunked(reader: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        all.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Ok(all);
        }
    }
}

fn command(home: &Path, server: &Server, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_writ"));
    command
        .args(args)
        .current_dir(home)
        .stdin(Stdio::null())
        .env("XDG_CONFIG_HOME", home.join("config"));
    command
        .env("WRIT_SERVER", &server.url)
        .env("WRIT_TOKEN", "secret")
        .env_remove("WRIT_CONTEXT");
    command
}

fn writ(home: &Path, server: &Server, args: &[&str]) -> Output {
    command(home, server, args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn run(id: &str, kind: &str, state: &str) -> Value {
    let order = json!({"id": "order_1", "agentName": "web-1", "state": state, "code": null, "detail": null});
    json!({"id": id, "kind": kind, "state": state, "orders": [order], "costMicros": 7, "currency": "USD"})
}

/// A plan of no host, with its digest.
fn plan() -> (Value, String) {
    let zero = Digest::ZERO.to_hex();
    let plan = json!({
        "version": 1, "project": "hello", "configDigest": zero, "graphDigest": zero, "bundleDigest": zero,
        "hosts": [], "groups": [],
    });
    let typed: writ_plan::plan::Plan = serde_json::from_value(plan.clone()).unwrap();
    (plan, typed.digest().unwrap().to_hex())
}

#[test]
fn a_plan_is_made_checked_and_kept_as_the_bytes_its_digest_names() {
    let home = tempfile::tempdir().unwrap();
    let (plan, digest) = plan();
    let server = Server::answering(&[
        ("POST /api/v1/runs", 201, run("run_1", "check", "running")),
        ("GET /api/v1/runs/run_1", 200, run("run_1", "check", "succeeded")),
        (
            "GET /api/v1/runs/run_1/plan",
            200,
            json!({"digest": digest, "plan": plan}),
        ),
    ]);
    assert!(writ(home.path(), &server, &["init"]).status.success());
    let output = writ(
        home.path(),
        &server,
        &["plan", "--out", "p", "--detailed-exitcode", "-o", "json"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(
        Digest::of(&std::fs::read(home.path().join("p")).unwrap()).to_hex(),
        digest
    );
    let asked = server.asked("POST /api/v1/runs").remove(0);
    let head = asked.head.to_lowercase();
    assert!(
        head.contains("authorization: bearer secret") && head.contains("idempotency-key: "),
        "{head}"
    );
    assert!(
        asked.body.to_string().contains("project: hello"),
        "{}",
        asked.body
    );
    assert!(!out(&output).contains("secret") && !err(&output).contains("secret"));
}

#[test]
fn a_plan_under_another_name_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (plan, _) = plan();
    let server = Server::answering(&[
        ("POST /api/v1/runs", 201, run("run_1", "check", "running")),
        ("GET /api/v1/runs/run_1", 200, run("run_1", "check", "succeeded")),
        (
            "GET /api/v1/runs/run_1/plan",
            200,
            json!({"digest": Digest::ZERO, "plan": plan}),
        ),
    ]);
    assert!(writ(home.path(), &server, &["init"]).status.success());
    let output = writ(home.path(), &server, &["plan"]);
    assert_eq!(output.status.code(), Some(17), "{}", err(&output));
}

#[test]
fn apply_needs_approval_and_ends_as_the_run_ends() {
    let home = tempfile::tempdir().unwrap();
    let (_, digest) = plan();
    let mut stale = run("run_2", "apply", "failed");
    stale["orders"][0]["code"] = "W0312".into();
    stale["orders"][0]["detail"] = "file:/etc/motd changed".into();
    let server = Server::answering(&[
        ("POST /api/v1/runs", 201, run("run_2", "apply", "running")),
        ("GET /api/v1/runs/run_2", 200, stale),
        (
            "GET /api/v1/runs/run_2/steps",
            200,
            json!({"items": [{"agentName": "web-1", "step": "file:/etc/motd", "outcome": "skipped", "code": "W0312",
                "changes": [{"attribute": "mode", "want": "0644", "got": "0600"}]}]}),
        ),
    ]);
    let asked = writ(home.path(), &server, &["apply", &digest]);
    assert_eq!(
        asked.status.code(),
        Some(10),
        "nobody is there to approve: {}",
        err(&asked)
    );
    assert!(
        server.asked("POST /api/v1/runs").is_empty(),
        "nothing was ordered"
    );
    let applied = writ(home.path(), &server, &["apply", &digest, "--auto-approve"]);
    assert_eq!(applied.status.code(), Some(13), "{}", err(&applied));
    assert!(
        err(&applied).contains("error[W0312]") && err(&applied).contains("help: make a new plan"),
        "{}",
        err(&applied)
    );
    assert!(
        err(&applied).contains("file:/etc/motd") && err(&applied).contains("mode 0600 -> 0644"),
        "what moved is told: {}",
        err(&applied)
    );
    let detailed = writ(
        home.path(),
        &server,
        &["apply", &digest, "-y", "--detailed-exitcodes"],
    );
    assert_eq!(detailed.status.code(), Some(4), "{}", err(&detailed));
}

#[test]
fn a_watch_ends_without_the_run() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::answering(&[("GET /api/v1/runs/run_3", 200, run("run_3", "apply", "running"))]);
    let late = writ(home.path(), &server, &["run", "watch", "run_3", "--timeout", "0"]);
    assert_eq!(late.status.code(), Some(124), "{}", err(&late));
    let mut watching = command(home.path(), &server, &["run", "watch", "run_3"]);
    let mut child = watching.stderr(Stdio::piped()).spawn().unwrap();
    let mut talk = BufReader::new(child.stderr.take().unwrap());
    let mut first = String::new();
    talk.read_line(&mut first).unwrap();
    assert!(first.contains("web-1"), "{first}");
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let mut rest = String::new();
    talk.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("run_3 goes on"), "{rest}");
}

#[test]
fn lists_follow_their_pages_in_every_form() {
    let home = tempfile::tempdir().unwrap();
    let first = json!({"items": [run("run_1", "check", "succeeded")], "next": "c1"});
    let second = json!({"items": [run("run_2", "apply", "failed")]});
    let server = Server::answering(&[
        ("GET /api/v1/runs", 200, first),
        ("GET /api/v1/runs?cursor=c1", 200, second),
    ]);
    let lines = out(&writ(home.path(), &server, &["run", "list", "--json-lines"]));
    let ids: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, ["run_1", "run_2"]);
    let table = out(&writ(home.path(), &server, &["run", "list"]));
    assert!(table.starts_with("RUN") && table.lines().count() == 3, "{table}");
    let yaml = out(&writ(
        home.path(),
        &server,
        &["run", "list", "-o", "yaml", "--limit", "1"],
    ));
    assert!(yaml.contains("run_1") && !yaml.contains("run_2"), "{yaml}");
}

fn budget(id: &str, mode: &str) -> Value {
    json!({ "id": id, "mode": mode, "window": "month", "windowBegan": "2026-11-01T00:00:00Z", "capMicros": 25_500_000, "reservedMicros": 500_000,
        "spentMicros": 40, "disputedMicros": 0, "overrunMicros": 2, "leftMicros": 24_999_958, "currency": "USD", "refused": 3, "setBy": "ada" })
}

#[test]
fn a_budget_is_shown_and_set_and_keeps_what_is_not_said() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::answering(&[
        (
            "GET /api/v1/budgets",
            200,
            json!({"items": [budget("project:web", "warn")]}),
        ),
        (
            "GET /api/v1/budgets/project:web",
            200,
            budget("project:web", "warn"),
        ),
        (
            "POST /api/v1/budgets/project:web",
            200,
            budget("project:web", "enforce"),
        ),
        (
            "GET /api/v1/budgets/tenant",
            404,
            json!({"title": "not found", "code": "W0003"}),
        ),
        ("POST /api/v1/budgets/tenant", 200, budget("tenant", "enforce")),
    ]);
    let writ = |args: &[&str]| writ(home.path(), &server, args);
    let table = out(&writ(&["budget", "list"]));
    for cell in [
        "project:web",
        "month from 2026-11-01",
        "25.500000 USD",
        "0.000042",
        "24.999958",
    ] {
        assert!(table.contains(cell), "{cell}: {table}");
    }
    let shown = out(&writ(&["budget", "show", "project:web", "-o", "json"]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["setBy"], "ada", "what is not read is shown all the same");
    let asked = |place: &str| server.asked(place).pop().unwrap().body;
    assert!(
        writ(&["budget", "set", "project:web", "--cap", "30.25"])
            .status
            .success()
    );
    let kept = json!({"capMicros": 30_250_000, "mode": "warn", "window": "month"});
    assert_eq!(asked("POST /api/v1/budgets/project:web"), kept);
    assert!(writ(&["budget", "set", "tenant", "--cap", "1"]).status.success());
    let fresh = json!({"capMicros": 1_000_000, "mode": "enforce", "window": "none"});
    assert_eq!(asked("POST /api/v1/budgets/tenant"), fresh);
    for wrong in [
        ["budget", "set", "tenant", "--mode", "warn"],
        ["budget", "set", "tenant", "--cap", "1.0000001"],
        ["budget", "set", "a/b", "--cap", "1"],
    ] {
        let output = writ(&wrong);
        assert_eq!(output.status.code(), Some(64), "{wrong:?} {}", err(&output));
    }
}

#[test]
fn what_a_budget_says_of_an_order_is_told() {
    let home = tempfile::tempdir().unwrap();
    let (_, digest) = plan();
    let refused = json!({"title": "budget exhausted", "code": "W0505", "detail": "the budget of tenant has 0.10 USD left"});
    let server = Server::answering(&[("POST /api/v1/runs", 403, refused)]);
    let output = writ(home.path(), &server, &["apply", &digest, "-y"]);
    assert_eq!(output.status.code(), Some(12), "{}", err(&output));
    assert!(err(&output).contains("the budget of tenant has 0.10 USD left"));
    let mut warned = run("run_1", "apply", "running");
    warned["notices"] = json!(["the budget of project:web is passed"]);
    let server = Server::answering(&[("POST /api/v1/runs", 201, warned)]);
    let output = writ(home.path(), &server, &["apply", &digest, "-y", "--no-wait"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let said = err(&output);
    assert!(
        said.contains("warning: the budget of project:web is passed"),
        "{said}"
    );
}
