//! The command line as people and scripts meet it: every example that a help text shows is run, every list and show comes in every form, every exit
//! code is the table's, names that are nearly right are told, and nothing is coloured where that is not wanted.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use writ_protocol::digest::Digest;

use super::stub::{Answer, Asked, Stub};
use super::{err, out};

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
        ["runs"] | ["runs", _] | ["runs", _, "cancel"] => run,
        ["runs", _, "steps"] => items(step),
        ["runs", _, "artefacts"] => items(file),
        ["runs", _, "plan"] => json!({"digest": plan().1, "plan": plan().0}),
        ["runs", _, "blobs", _] => return Answer::Bytes(b"words\n".to_vec()),
        ["runs", _, "evidence"] => return Answer::Bytes(b"pack".to_vec()),
        ["halts"] if asked.line.starts_with("GET") => items(halt()),
        ["halts"] | ["halts", _] | ["halts", _, "release"] => halt(),
        ["halts", _, "status"] => json!({"stopped": 3, "pending": 0, "unreachable": 0, "waitingFor": []}),
        ["halts", _, "lift-terms"] => json!({"tenant": "dev", "controlEpoch": 3}),
        ["openapi.json"] => json!({"info": {"version": env!("CARGO_PKG_VERSION")}}),
        ["", "readyz"] => json!({"stopping": false, "checks": [{"name": "ledger", "state": "ok"}]}),
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

/// Words as a shell makes them, for the quotes that the examples use.
fn words(line: &str) -> Vec<String> {
    let parts = line
        .split(" > ")
        .next()
        .unwrap_or_default()
        .split('"')
        .enumerate();
    let all = parts.flat_map(|(n, part)| match n % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        _ => vec![part.to_owned()],
    });
    all.skip(1).collect()
}

/// Every example of every help text.
fn examples(server: &Stub, home: &Path, path: &[String], found: &mut Vec<String>) {
    let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let help = out(&server.writ(home, &args).output().unwrap());
    let (before, after) = help.split_once("\nExample").unwrap_or((help.as_str(), ""));
    found.extend(
        after
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("writ "))
            .map(str::to_owned),
    );
    let commands = before.split_once("Commands:\n").map_or("", |(_, rest)| rest);
    let commands = commands.split("\n\n").next().unwrap_or_default();
    for name in commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
    {
        if !name.is_empty() {
            examples(server, home, &[path, &[name.to_owned()]].concat(), found);
        }
    }
}

/// What an example does not run without: a stack, or a pack that verifies. Those are run by other tests.
const ELSEWHERE: [&str; 5] = [
    "writ dev demo",
    "writ dev up",
    "writ dev psql",
    "writ dev logs",
    "writ evidence verify",
];

#[test]
fn every_example_of_every_help_text_is_true() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let mut found = Vec::new();
    examples(&server, home.path(), &[], &mut found);
    assert!(found.len() > 35, "{found:#?}");
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/command/sample.yaml")).unwrap();
    std::fs::write(home.path().join("site.yaml"), &text).unwrap();
    let (plan, _) = plan();
    let plan: writ_plan::plan::Plan = serde_json::from_value(plan).unwrap();
    std::fs::write(home.path().join("site.plan"), plan.encode().unwrap()).unwrap();
    assert!(server.writ(home.path(), &["init"]).status().unwrap().success());
    let key = home.path().join("operator.pem");
    std::fs::write(
        &key,
        writ_protocol::key::SigningKey::generate()
            .unwrap()
            .to_pem()
            .unwrap()
            .as_str(),
    )
    .unwrap();
    let config =
        json!({"current": "here", "contexts": {"here": {"server": server.url, "operator_key": key}}});
    std::fs::create_dir_all(home.path().join("config/writ")).unwrap();
    std::fs::write(home.path().join("config/writ/config.yaml"), config.to_string()).unwrap();
    let mut wrong = Vec::new();
    for line in found
        .iter()
        .filter(|line| !ELSEWHERE.iter().any(|other| line.starts_with(other)))
    {
        let args = words(line);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = server.writ(home.path(), &args).output().unwrap();
        // Nobody is here to say yes, no file is written over, and a doctor tells what it finds.
        let fine: &[i32] = match line.as_str() {
            line if line.starts_with("writ apply") && !line.contains("--auto-approve") => &[10],
            line if line.starts_with("writ init") => &[0, 1],
            line if line.starts_with("writ doctor") => &[0, 1],
            line if line.contains("--detailed-exitcodes") => &[2],
            _ => &[0],
        };
        if !output.status.code().is_some_and(|code| fine.contains(&code)) {
            wrong.push(format!(
                "{line}: {:?}\n{}{}",
                output.status.code(),
                out(&output),
                err(&output)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_list_and_show_comes_in_every_form() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    assert!(server.writ(home.path(), &["init"]).status().unwrap().success());
    let all: [&[&str]; 12] = [
        &["run", "list"],
        &["run", "show", RUN],
        &["run", "logs", RUN],
        &["run", "watch", RUN],
        &["run", "cancel", RUN, "--reason", "x"],
        &["agent", "list"],
        &["agent", "show", "web-1"],
        &["agent", "rm", "web-1"],
        &["halt", "--list"],
        &["validate"],
        &["dev", "status"],
        &["help", "exit-codes"],
    ];
    for args in all {
        let shown = |form: &str| {
            let output = server
                .writ(home.path(), &[args, &["-o", form]].concat())
                .output()
                .unwrap();
            assert!(output.status.success(), "{args:?} -o {form}: {}", err(&output));
            out(&output)
        };
        let json: Value =
            serde_json::from_str(&shown("json")).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        let yaml: Value =
            serde_saphyr::from_str(&shown("yaml")).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        assert_eq!(json, yaml, "{args:?}");
        let table = shown("table");
        assert!(
            !table.trim().is_empty() && serde_json::from_str::<Value>(&table).is_err(),
            "{args:?}: {table}"
        );
    }
}

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

#[test]
fn every_problem_of_a_config_is_told_at_once() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let text = "version: 1\nproject: p\nresouces: []\nlimits: { cpu: soon }\ntargets: { labels: { env: dev } }\nresources:\n  - { fyle: /x }\n";
    std::fs::write(home.path().join("writ.yaml"), text).unwrap();
    let output = server
        .writ(home.path(), &["validate", "-o", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    let lines: Vec<u64> = told["problems"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["line"].as_u64())
        .collect();
    for line in [3, 4, 7] {
        assert!(lines.contains(&line), "line {line}: {told}");
    }
    let people = out(&server.writ(home.path(), &["validate"]).output().unwrap());
    assert!(
        people.contains("resources") && people.contains("file"),
        "what was meant is told: {people}"
    );
}

#[test]
fn completions_are_what_their_shells_read() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let mut scripts = BTreeMap::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = server.writ(home.path(), &["completion", shell]).output().unwrap();
        assert!(
            output.status.success() && err(&output).is_empty(),
            "{shell}: {}",
            err(&output)
        );
        scripts.insert(shell, out(&output));
    }
    assert!(scripts["zsh"].starts_with("#compdef writ") && scripts["zsh"].contains("quarantine"));
    assert!(scripts["fish"].contains("complete -c writ") && scripts["fish"].contains("quarantine"));
    // Bash itself completes with it.
    let ask = "source writ.bash; COMP_WORDS=(writ agent qu); COMP_CWORD=2; _writ writ qu agent; echo \"${COMPREPLY[@]}\"";
    std::fs::write(home.path().join("writ.bash"), &scripts["bash"]).unwrap();
    let bash = Command::new("bash")
        .args(["--norc", "-c", ask])
        .current_dir(home.path())
        .output()
        .unwrap();
    assert_eq!(out(&bash).trim(), "quarantine", "{}", err(&bash));
}

/// With a terminal of its own.
fn on_a_terminal(server: &Stub, home: &Path, args: &str, variables: &[(&str, &str)]) -> Output {
    let plain = server.writ(home, &[]);
    let line = format!(
        "stty rows 24 cols 80; exec {} {args}",
        plain.get_program().display()
    );
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::null());
    script
        .current_dir(home)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("CI")
        .env("TERM", "xterm");
    script.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let args = "agent show nobody-at-all";
    let shown = |variables: &[(&str, &str)]| out(&on_a_terminal(&server, home.path(), args, variables));
    assert!(shown(&[]).contains("\u{1b}[1;31merror"), "{:?}", shown(&[]));
    assert!(
        !shown(&[("NO_COLOR", "1")]).contains('\u{1b}'),
        "{:?}",
        shown(&[("NO_COLOR", "1")])
    );
    // With and without a build server around it, which many libraries take for a terminal with colours.
    for dumb in [&[("TERM", "dumb")][..], &[("TERM", "dumb"), ("CI", "true")]] {
        assert!(!shown(dumb).contains('\u{1b}'), "{dumb:?}: {:?}", shown(dumb));
    }
    let piped = server
        .writ(home.path(), &["agent", "show", "nobody-at-all"])
        .output()
        .unwrap();
    assert!(!err(&piped).contains('\u{1b}'), "{:?}", err(&piped));
}

/// What the doctor finds, by name: state and next step.
fn findings(output: &Output) -> BTreeMap<String, (String, String)> {
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|one| {
            (
                text(one, "what"),
                (
                    text(one, "state"),
                    format!("{} {}", text(one, "detail"), text(one, "next")),
                ),
            )
        })
        .collect()
}

#[test]
fn the_doctor_names_cause_and_next_step() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let well = server
        .writ(home.path(), &["doctor", "-o", "json"])
        .output()
        .unwrap();
    let found = findings(&well);
    for fine in [
        "configuration",
        "file modes",
        "controller",
        "clock",
        "version",
        "token",
        "agents",
    ] {
        assert!(
            found.get(fine).is_some_and(|(state, _)| state == "ok"),
            "{fine}: {found:#?}"
        );
    }
    assert_eq!(found["agents heard"].0, "warn", "web-1 was last heard long ago");
    assert_eq!(well.status.code(), Some(0), "a warning is no failure");

    // A secret that everybody can read.
    std::fs::write(home.path().join("token"), "t").unwrap();
    let open = server
        .writ(home.path(), &["doctor", "-o", "json", "--token-file", "token"])
        .output()
        .unwrap();
    assert_eq!(open.status.code(), Some(1));
    let (state, words) = &findings(&open)["file modes"];
    assert!(state == "wrong" && words.contains("chmod 600 token"), "{words}");
}

#[test]
fn the_doctor_tells_what_a_controller_lacks() {
    let home = tempfile::tempdir().unwrap();
    let sick = Stub::serving(|asked, before| {
        if asked.line == "GET /readyz" {
            let checks = json!([{"name": "ledger", "state": "failing", "reason": "no connection"}]);
            return Answer::Json(503, json!({"stopping": false, "checks": checks}));
        }
        if asked.line.starts_with("GET /api/v1/agents") {
            return Answer::Json(
                401,
                json!({"title": "authentication needed", "code": "W0005", "status": 401}),
            );
        }
        kind(asked, before)
    });
    let output = sick
        .writ(home.path(), &["doctor", "-o", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let found = findings(&output);
    assert!(
        found["controller"].0 == "wrong"
            && found["controller"]
                .1
                .contains("ledger: no connection look at PostgreSQL"),
        "{found:#?}"
    );
    assert!(
        found["token"].0 == "wrong" && found["token"].1.contains("--token-file"),
        "{found:#?}"
    );
    let people = out(&sick.writ(home.path(), &["doctor"]).output().unwrap());
    assert!(
        people.contains("next, controller: look at PostgreSQL"),
        "{people}"
    );

    let nobody = sick
        .writ(
            home.path(),
            &["doctor", "-o", "json", "--server", "http://127.0.0.1:9"],
        )
        .output()
        .unwrap();
    assert_eq!(
        (nobody.status.code(), findings(&nobody)["controller"].0.as_str()),
        (Some(1), "wrong")
    );
}
