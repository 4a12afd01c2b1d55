//! `writ provider` as a shell sees it: a template is a whole provider, and the suite says what one does wrong.
#![expect(
    clippy::unwrap_used,
    reason = "tests; the setting for tests does not reach their helper functions"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn writ(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_writ"));
    command.arg("provider").args(args).current_dir(home);
    command.output().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_python_provider_passes_as_it_was_written_and_fails_when_it_is_spoilt() {
    let home = tempfile::tempdir().unwrap();
    let new = writ(home.path(), &["new", "acme-dns", "--lang", "python"]);
    assert_eq!(new.status.code(), Some(0), "{}", err(&new));
    let test = writ(home.path(), &["test", "acme-dns/acme-dns", "-o", "json"]);
    assert_eq!(test.status.code(), Some(0), "{}", err(&test));
    let report: Value = serde_json::from_slice(&test.stdout).unwrap();
    assert_eq!(
        (&report["provider"], &report["agreed"]),
        (&"acme-dns".into(), &1.into())
    );
    let cases = report["kinds"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|kind| kind["cases"].as_array().unwrap());
    let not_passed: Vec<&Value> = cases.filter(|case| case["outcome"] != "PASSED").collect();
    assert_eq!(not_passed.len(), 1, "{not_passed:?}");
    assert_eq!(not_passed[0]["outcome"], "NOT_RUN");

    let program = home.path().join("acme-dns/acme-dns");
    let text = fs::read_to_string(&program).unwrap();
    let spoilt = text.replace("    if not changes:\n        return\n", "");
    assert_ne!(spoilt, text);
    fs::write(&program, spoilt).unwrap();
    let test = writ(home.path(), &["test", "acme-dns/acme-dns"]);
    assert_eq!(test.status.code(), Some(1));
    assert!(err(&test).contains("error[W0165]"), "{}", err(&test));
    let told = String::from_utf8(test.stdout).unwrap();
    assert!(
        told.contains("FAILED   note/second-apply-changes-nothing: "),
        "{told}"
    );
}

#[test]
fn a_rust_provider_names_the_sdk_where_it_lies_and_itself() {
    let home = tempfile::tempdir().unwrap();
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/provider-sdk");
    let sdk = sdk.canonicalize().unwrap();
    let new = writ(
        home.path(),
        &[
            "new",
            "acme-dns",
            "--lang",
            "rust",
            "--sdk",
            sdk.to_str().unwrap(),
        ],
    );
    assert_eq!(new.status.code(), Some(0), "{}", err(&new));
    let folder = home.path().join("acme-dns");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    assert!(
        manifest.contains(&format!("writ-provider-sdk = {{ path = {sdk:?} }}")),
        "{manifest}"
    );
    let main = fs::read_to_string(folder.join("src/main.rs")).unwrap();
    assert!(main.contains("const NAME: &str = \"acme-dns\";"), "{main}");
    // Cargo reads it as a package of its own, whose SDK is the one of this workspace.
    let read = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", err(&read));
    let metadata: Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(metadata["packages"][0]["name"], "acme-dns");
}

#[test]
fn what_cannot_be_begun_or_examined_is_said() {
    let home = tempfile::tempdir().unwrap();
    let ended = |args: &[&str], code: i32, word: &str| {
        let output = writ(home.path(), args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(word), "{args:?}: {}", err(&output));
    };
    for name in ["Acme", "../acme", "", "-x", "1st", &"a".repeat(65)] {
        let output = writ(home.path(), &["new", "--lang", "python", "--", name]);
        assert_eq!(output.status.code(), Some(3), "{name:?}: {}", err(&output));
    }
    assert_eq!(
        fs::read_dir(home.path()).unwrap().count(),
        0,
        "nothing was written"
    );
    ended(&["new", "acme", "--lang", "rust"], 64, "--sdk");
    ended(
        &["new", "acme", "--lang", "rust", "--sdk", "."],
        1,
        "no folder of a Rust package",
    );
    ended(
        &["new", "acme", "--lang", "python"],
        0,
        "next: writ provider test",
    );
    ended(&["new", "acme", "--lang", "python"], 1, "W0004");
    ended(&["test", "acme/nothing"], 1, "cannot read the program");
    ended(&["test", "acme/acme", "--examples", "none.json"], 3, "W0166");
    fs::write(home.path().join("wrong.json"), r#"{"version": 2, "kinds": {}}"#).unwrap();
    ended(&["test", "acme/acme", "--examples", "wrong.json"], 3, "W0166");
}
