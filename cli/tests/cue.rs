//! A config in CUE: what the `cue` tool makes of it is a config like any other, and what goes wrong there is told with what to do.
//!
//! The tool is a fake here, a script that looks at what it is asked and answers; where a real one is at hand (`WRIT_CUE`, or `cue` in `PATH`), the
//! definitions and the sample are given to it as well.

#![expect(
    clippy::expect_used,
    reason = "tests; the setting for tests does not reach their helper functions"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const CONFIG: &str = r#"{
    "version": 1,
    "project": "hello",
    "targets": { "hosts": ["a"] },
    "resources": [
        { "file": "/etc/motd", "content": "a \u003c b é\n", "mode": "0644" }
    ]
}
"#;

struct Desk {
    folder: TempDir,
}

impl Desk {
    /// A folder with a config of that text, and a tool that does what the script says.
    fn new(config: &str, tool: &str) -> Self {
        let folder = tempfile::tempdir().expect("is made");
        let desk = Self { folder };
        desk.write("writ.cue", config);
        desk.write("answer.json", CONFIG);
        desk.write("cue", &format!("#!/bin/sh\n{tool}\n"));
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(desk.at("cue"), mode).expect("is set");
        desk
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).expect("is written");
    }

    fn writ(&self, words: &[&str]) -> Output {
        self.writ_with(words, &self.at("cue"))
    }

    fn writ_with(&self, words: &[&str], cue: &Path) -> Output {
        Command::new(env!("CARGO_BIN_EXE_writ"))
            .args(words)
            .current_dir(self.folder.path())
            .env("WRIT_CUE", cue)
            .env("NO_COLOR", "1")
            .output()
            .expect("starts")
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_cue_makes_of_a_config_is_the_config_that_yaml_would_be() {
    let desk = Desk::new(
        "version: 1\n",
        r#"[ "$*" = "export --out json writ.cue" ] && cat answer.json"#,
    );
    desk.write("writ.yaml", CONFIG);
    let digest = |name: &str| {
        let ran = desk.writ(&["validate", name, "-o", "json"]);
        assert!(ran.status.success(), "{}", err(&ran));
        let value: serde_json::Value = serde_json::from_str(&out(&ran)).expect("is JSON");
        assert_eq!(value["valid"], true);
        value["configDigest"].clone()
    };
    assert_eq!(digest("writ.cue"), digest("writ.yaml"));
}

#[test]
fn a_package_is_evaluated_whole_and_in_its_folder() {
    let script = r#"[ "$*" = "export --out json .:site" ] && cat answer.json"#;
    let desk = Desk::new("// hello\npackage site\n", script);
    fs::create_dir(desk.at("elsewhere")).expect("is made");
    for path in ["writ.cue", "./writ.cue", "elsewhere/../writ.cue"] {
        let ran = desk.writ(&["validate", path]);
        assert!(ran.status.success(), "{path}: {}", err(&ran));
    }
}

#[test]
fn what_cue_says_of_a_mistake_is_told() {
    let desk = Desk::new(
        "version: 1\n",
        "echo 'field mdoe not allowed: ./writ.cue:8:44' >&2; exit 1",
    );
    let ran = desk.writ(&["plan", "--local", "writ.cue"]);
    assert_eq!(ran.status.code(), Some(3), "{}", err(&ran));
    let said = err(&ran);
    for part in [
        "error[W0171]",
        "field mdoe not allowed: ./writ.cue:8:44",
        "cue vet",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let ran = desk.writ(&["validate", "writ.cue", "-o", "json"]);
    assert!(err(&ran).contains("\"W0171\""), "{}", err(&ran));
}

#[test]
fn a_mistake_that_cue_lets_pass_is_told_with_the_line_that_cue_wrote() {
    let bad = CONFIG.replace("\"mode\"", "\"mdoe\"");
    let desk = Desk::new("version: 1\n", "cat answer.json");
    desk.write("answer.json", &bad);
    let ran = desk.writ(&["validate", "writ.cue"]);
    assert_eq!(ran.status.code(), Some(3), "{}", err(&ran));
    let said = out(&ran);
    for part in ["writ.cue (exported):6:", "mdoe", "did you mean `mode`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let sarif = out(&desk.writ(&["validate", "writ.cue", "-o", "sarif"]));
    let sarif: serde_json::Value = serde_json::from_str(&sarif).expect("is JSON");
    let location = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "writ.cue");
    assert!(location.get("region").is_none(), "{location}");
    let github = out(&desk.writ(&["validate", "writ.cue", "-o", "github"]));
    assert!(github.starts_with("::error file=writ.cue,title="), "{github}");
}

#[test]
fn without_cue_it_is_said_what_to_do() {
    let desk = Desk::new("version: 1\n", "exit 0");
    let ran = desk.writ_with(&["validate", "writ.cue"], Path::new("no-such-cue"));
    assert_eq!(ran.status.code(), Some(1), "{}", err(&ran));
    let said = err(&ran);
    for part in ["error[W0170]", "no-such-cue", "WRIT_CUE="] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_tool_that_prints_too_much_or_no_struct_is_refused() {
    for (script, code) in [
        ("exec cat /dev/zero", "W0002"),
        ("echo '[1]'", "W0171"),
        ("printf '{\"version\": 1'", "W01"),
        ("printf '\\377'", "W00"),
    ] {
        let desk = Desk::new("version: 1\n", script);
        let ran = desk.writ(&["validate", "writ.cue"]);
        assert!(!ran.status.success(), "{script}");
        let said = out(&ran) + &err(&ran);
        assert!(said.contains(code), "{script}: {said}");
    }
}

#[test]
fn init_writes_a_config_in_cue_with_its_definitions() {
    let desk = Desk::new("", "exit 1");
    let ran = desk.writ(&["init", "site", "--format", "cue"]);
    assert!(ran.status.success(), "{}", err(&ran));
    let definitions = fs::read_to_string(desk.at("site/schema.cue")).expect("is there");
    assert_eq!(definitions, include_str!("../../docs/schema/config.cue"));
    let printed = desk.writ(&["schema", "--format", "cue"]);
    assert_eq!(out(&printed), definitions);
    // Nothing is written over, not even half.
    fs::remove_file(desk.at("site/writ.cue")).expect("is removed");
    let again = desk.writ(&["init", "site", "--format", "cue"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(!desk.at("site/writ.cue").exists());
}

/// The real tool, where there is one.
fn real() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("WRIT_CUE").map(std::path::PathBuf::from);
    let tool = named.unwrap_or_else(|| "cue".into());
    let answers = Command::new(&tool).arg("version").output();
    answers
        .is_ok_and(|output| output.status.success())
        .then_some(tool)
}

#[test]
fn a_real_cue_takes_the_sample_and_refuses_what_the_definitions_forbid() {
    let Some(cue) = real() else {
        eprintln!("NOT_RUN: there is no cue on this machine");
        return;
    };
    let desk = Desk::new("", "exit 1");
    let ran = desk.writ_with(&["init", "site", "--format", "cue"], &cue);
    assert!(ran.status.success(), "{}", err(&ran));
    let ran = desk.writ_with(&["validate", "site/writ.cue", "-o", "json"], &cue);
    assert!(ran.status.success(), "{}", err(&ran));
    let sample = fs::read_to_string(desk.at("site/writ.cue")).expect("is there");
    for (from, to) in [
        ("mode: \"0755\"", "mdoe: \"0755\""),
        ("cpu: \"10s\"", "cpu: \"10 s\""),
        ("project: \"hello\"", ""),
        ("file: \"/etc/motd.d/writ\"", "fiel: \"/etc/motd.d/writ\""),
    ] {
        assert!(sample.contains(from), "{from}");
        desk.write("site/writ.cue", &sample.replace(from, to));
        let ran = desk.writ_with(&["validate", "site/writ.cue"], &cue);
        assert_eq!(ran.status.code(), Some(3), "{to}: {}", out(&ran));
        assert!(err(&ran).contains("error[W0171]"), "{to}: {}", err(&ran));
    }
}
