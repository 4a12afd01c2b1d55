//! The program as a shell sees it: exit codes, what goes to stdout and what to stderr, and a private PostgreSQL and nats-server for real.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; the setting for tests does not reach their helper functions"
)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn writ(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_writ"));
    command
        .args(args)
        .current_dir(home)
        .env("XDG_CONFIG_HOME", home.join("config"));
    for variable in ["WRIT_SERVER", "WRIT_TOKEN", "WRIT_CONTEXT"] {
        command.env_remove(variable);
    }
    command.output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap_or_else(|e| panic!("{e}: {}{}", out(output), err(output)))
}

#[test]
fn exit_codes_are_those_of_the_table() {
    let home = tempfile::tempdir().unwrap();
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = format!("http://{unused}");
    std::fs::write(home.path().join("token"), "t").unwrap();
    std::fs::write(
        home.path().join("bad.yaml"),
        "version: 1\nproject: p\nresouces: []\n",
    )
    .unwrap();
    std::fs::write(home.path().join("bad.pack"), "x".repeat(4096)).unwrap();
    let root = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let cases: [(&[&str], i32); 9] = [
        (&["--help"], 0),
        (&["help", "exit-codes"], 0),
        (&["frobnicate"], 64),
        (&["help", "frobnicate"], 64),
        (&["run", "list"], 64),
        (&["run", "list", "--server", &nobody], 19),
        (&["run", "list", "--server", &nobody, "--token-file", "token"], 20),
        (&["validate", "bad.yaml"], 3),
        (&["evidence", "verify", "bad.pack", "--root", root], 17),
    ];
    for (args, wanted) in cases {
        let output = writ(home.path(), args);
        assert_eq!(
            output.status.code(),
            Some(wanted),
            "{args:?}: {}{}",
            out(&output),
            err(&output)
        );
    }
}

#[test]
fn a_sample_is_written_once_and_valid() {
    let home = tempfile::tempdir().unwrap();
    assert!(writ(home.path(), &["init"]).status.success());
    let again = writ(home.path(), &["init"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("--force"), "{}", err(&again));
    let valid = writ(home.path(), &["validate", "-o", "json"]);
    assert_eq!(json(&valid)["valid"], true);
    assert!(err(&valid).is_empty(), "data and talk are apart: {}", err(&valid));
}

#[test]
fn a_wrong_config_is_told_with_place_and_caret_and_as_json() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join("writ.yaml"),
        "version: 1\nproject: p\nresouces: []\n",
    )
    .unwrap();
    let people = writ(home.path(), &["validate"]);
    assert!(
        out(&people).contains("writ.yaml:3:1") && out(&people).contains('^'),
        "{}",
        out(&people)
    );
    let machines = json(&writ(home.path(), &["validate", "-o", "json"]));
    assert_eq!(machines["valid"], false);
    assert!(
        machines["problems"]
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p["line"] == 3),
        "{machines}"
    );
}

#[test]
fn problems_come_in_the_forms_of_other_programs() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("web")).unwrap();
    let path = home.path().join("web/writ.yaml");
    std::fs::write(&path, "version: 1\nproject: p\nresouces: []\n").unwrap();
    let github = writ(home.path(), &["validate", "web/writ.yaml", "-o", "github"]);
    assert_eq!(github.status.code(), Some(3), "{}", err(&github));
    let line = "::error file=web/writ.yaml,line=3,col=1,endColumn=9,title=W0102::";
    assert!(
        out(&github).lines().any(|told| told.starts_with(line)),
        "{}",
        out(&github)
    );
    assert!(
        out(&github).lines().all(|told| told.starts_with("::error ")),
        "{}",
        out(&github)
    );
    let output = writ(home.path(), &["validate", "web/writ.yaml", "-o", "sarif"]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    let sarif = json(&output);
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let results = run["results"].as_array().unwrap();
    let unknown = results.iter().find(|r| r["ruleId"] == "W0102").unwrap();
    let place = &unknown["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "web/writ.yaml");
    let region = serde_json::json!({"startLine": 3, "startColumn": 1, "endColumn": 9});
    assert_eq!(place["region"], region);
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(
        results
            .iter()
            .all(|r| rules.iter().any(|rule| rule["id"] == r["ruleId"])),
        "{sarif}"
    );

    std::fs::remove_file(&path).unwrap();
    assert!(writ(home.path(), &["init", "web"]).status.success());
    let fine = writ(home.path(), &["validate", "web/writ.yaml", "-o", "sarif"]);
    assert!(fine.status.success() && json(&fine)["runs"][0]["results"] == Value::Array(vec![]));
    assert_eq!(
        out(&writ(home.path(), &["validate", "web/writ.yaml", "-o", "github"])),
        ""
    );
    let elsewhere = writ(home.path(), &["explain", "-o", "sarif"]);
    assert_eq!(elsewhere.status.code(), Some(64), "{}", out(&elsewhere));
}

#[test]
fn codes_and_the_schema_are_told_without_a_controller() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join("bad.yaml"),
        "version: 1\nproject: p\nresouces: []\n",
    )
    .unwrap();
    let told = out(&writ(home.path(), &["validate", "bad.yaml"]));
    let hint = told
        .lines()
        .find_map(|line| line.strip_prefix("more: writ "))
        .unwrap();
    let words: Vec<&str> = hint.split(' ').collect();
    let explained = writ(home.path(), &words);
    assert!(
        explained.status.success(),
        "what a problem points at is there: {}",
        err(&explained)
    );
    assert!(
        out(&explained).starts_with(words[1]) && out(&explained).contains("What to do."),
        "{}",
        out(&explained)
    );
    let unknown = writ(home.path(), &["explain", "W0xyz"]);
    assert_eq!(unknown.status.code(), Some(3), "{}", out(&unknown));
    let schema = out(&writ(home.path(), &["schema"]));
    assert_eq!(schema, include_str!("../../docs/schema/config.schema.json"));
}

#[test]
fn values_tell_where_they_come_from() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let head = "version: 1\nproject: p\ntargets: { hosts: [a] }\n";
    let config = format!(
        "{head}defaults: {{ port: 80 }}\nvars: {{ port: 8080 }}\nresources: [{{ file: /a, content: \"{{{{ port }}}}\" }}]\n"
    );
    let (config, prod) = (write("site.yaml", &config), write("prod.yaml", "port: 443\n"));
    let told = writ(
        home.path(),
        &["explain", "value", "port", &config, "--var-file", &prod],
    );
    let wanted = "port = 443\n  from --var-file, prod.yaml:1:1\n  over 8080 from vars, site.yaml:5:9\n  over 80 from defaults, site.yaml:4:13\n";
    assert_eq!(out(&told), wanted, "{}", err(&told));
    let unknown = writ(home.path(), &["explain", "value", "prot", &config]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(
        err(&unknown).contains("did you mean \"port\"?"),
        "{}",
        err(&unknown)
    );
    let digest = |more: &[&str]| {
        let words = [&["validate", &config, "-o", "json"], more].concat();
        json(&writ(home.path(), &words))["configDigest"].clone()
    };
    assert_ne!(digest(&[]), digest(&["--var", "port=1"]));
    let slip = writ(home.path(), &["validate", &config, "--var", "prot=1"]);
    assert_eq!(slip.status.code(), Some(3));
    assert!(out(&slip).contains("error[W0135]"), "{}", out(&slip));
}

fn pids(status: &Value) -> Vec<u64> {
    let parts = status["parts"].as_array().unwrap();
    parts.iter().filter_map(|part| part["pid"].as_u64()).collect()
}

#[test]
fn private_servers_come_up_once_survive_a_crash_and_leave_nothing() {
    let home = tempfile::tempdir().unwrap();
    let up = [
        "dev",
        "up",
        "--detach",
        "--agents",
        "0",
        "--controllers",
        "0",
        "-o",
        "json",
    ];
    let first = writ(home.path(), &up);
    assert!(first.status.success(), "{}", err(&first));
    let started = json(&first);
    assert_eq!(
        (&started["ready"], pids(&started).len()),
        (&Value::Bool(true), 2),
        "{started}"
    );

    let second = writ(home.path(), &up);
    assert!(
        second.status.success() && err(&second).contains("already"),
        "{}",
        err(&second)
    );
    assert_eq!(pids(&json(&second)), pids(&started), "the same processes go on");

    let answer = writ(home.path(), &["dev", "psql", "--", "-At", "-c", "SHOW fsync"]);
    assert_eq!(out(&answer).trim(), "on", "{}", err(&answer));

    for pid in pids(&started) {
        assert!(
            Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
    let again = writ(home.path(), &up);
    assert!(again.status.success(), "{}", err(&again));
    assert!(
        pids(&json(&again))
            .iter()
            .all(|pid| !pids(&started).contains(pid)),
        "new processes"
    );

    assert!(writ(home.path(), &["dev", "down"]).status.success());
    let after = json(&writ(home.path(), &["dev", "status", "-o", "json"]));
    assert!(
        after["parts"]
            .as_array()
            .unwrap()
            .iter()
            .all(|part| part["state"] == "stopped"),
        "{after}"
    );
    for pid in pids(&json(&again)) {
        let gone =
            std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
        assert!(gone, "{pid} is still there");
    }
    assert!(writ(home.path(), &["dev", "reset"]).status.success());
    assert!(!home.path().join(".writ/dev").exists());
}
