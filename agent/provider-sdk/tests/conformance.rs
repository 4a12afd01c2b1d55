//! The templates pass the conformance suite as they are; and spoilt in one place each, they fail the case that is about it.

#![expect(
    clippy::expect_used,
    reason = "tests; the setting for tests does not reach their helper functions"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use writ_conformance::provider::examples::Examples;
use writ_conformance::provider::report::{Outcome, Report};
use writ_conformance::provider::{Program, examine};

const PYTHON: &str = include_str!("../templates/python/main.py");
const EXAMPLES: &[u8] = include_bytes!("../templates/conformance.json");

/// A case, and a place of the Python template and what it becomes, so that exactly this is wrong.
const SPOILT: [(&str, &str, &str); 12] = [
    (
        "observe-changes-nothing",
        "    path, _ = wanted(subject)\n",
        "    path, _ = wanted(subject)\n    open(path + '.seen', 'w').close()\n",
    ),
    (
        "diff-changes-nothing",
        "    seen = observation[\"text\"]\n",
        "    seen = observation[\"text\"]\n    open(subject['spec']['path'] + '.d', 'w').close()\n",
    ),
    (
        "observe-is-steady",
        "        return {\"text\": file.read().decode(errors=\"replace\")}",
        "        return {\"text\": file.read().decode(errors=\"replace\"), \"life\": os.getpid()}",
    ),
    (
        "diff-predicts-apply",
        "    if text == seen:\n",
        "    if text == seen or seen is not None:\n",
    ),
    (
        "second-apply-changes-nothing",
        "    if not changes:\n        return\n",
        "",
    ),
    (
        "round-trip",
        "            os.unlink(path)\n",
        "            pass\n",
    ),
    (
        "killed-and-converges",
        "    with open(path + \".new\", \"wb\") as file:",
        "    with open(path + \".new\", \"xb\") as file:\n        sys.stdout.flush(); __import__('time').sleep(0.2)",
    ),
    (
        "unknown-field",
        "    if set(spec) != {\"path\", \"text\"}:",
        "    if not {\"path\", \"text\"} <= set(spec):",
    ),
    (
        "hostile-names",
        "    say(\"writing the note\")\n",
        "    os.system('echo ' + text)\n",
    ),
    (
        "refused-examples",
        "any(part in (\"\", \".\", \"..\") for part in parts[1:])",
        "False",
    ),
    (
        "version-unknown",
        "    if VERSION not in said[\"versions\"]:",
        "    if False:",
    ),
    (
        "noise",
        "        sys.exit(f\"{NAME}: {error}\")",
        "        sys.exit(0)",
    ),
];

fn examined(path: PathBuf) -> Report {
    let examples = Examples::read(EXAMPLES).expect("the template's examples");
    let program = Program {
        path,
        arguments: vec![],
    };
    examine(&program, &examples).expect("begins")
}

fn python(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("notes");
    fs::write(&path, text).expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("makes it a program");
    path
}

fn names(report: &Report, outcome: Outcome) -> Vec<&str> {
    let cases = report.kinds.iter().flat_map(|kind| &kind.cases);
    let cases = cases.filter(|case| case.outcome == outcome);
    cases.map(|case| case.name.as_str()).collect()
}

/// Every case passes but the cancel, which the templates do not promise.
fn passes(report: &Report) {
    let told = report.told();
    assert_eq!(names(report, Outcome::Failed), Vec::<&str>::new(), "{told}");
    assert_eq!(
        names(report, Outcome::NotRun),
        ["cancelled-and-converges"],
        "{told}"
    );
    assert!(report.count(Outcome::Passed) >= 20, "{told}");
    assert_eq!(report.agreed, Some(1));
}

#[test]
fn the_rust_template_passes() {
    passes(&examined(env!("CARGO_BIN_EXE_writ-provider-template").into()));
}

#[test]
fn the_python_template_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    passes(&examined(python(folder.path(), PYTHON)));
}

#[test]
fn what_a_provider_does_wrong_is_seen_by_the_case_that_is_about_it() {
    // All are written before one is started: a process that is begun while a program is being written holds it open, and then nobody can start it.
    let spoilt: Vec<_> = SPOILT
        .into_iter()
        .map(|(case, from, to)| {
            assert_eq!(PYTHON.matches(from).count(), 1, "{case}: the place to spoil");
            let folder = tempfile::tempdir().expect("a folder");
            let program = python(folder.path(), &PYTHON.replace(from, to));
            (case, program, folder)
        })
        .collect();
    // At once: most of it is waiting for programs that start.
    std::thread::scope(|scope| {
        for (case, program, _) in &spoilt {
            scope.spawn(|| is_seen(case, program.clone()));
        }
    });
}

fn is_seen(case: &str, program: PathBuf) {
    let report = examined(program);
    let failed = names(&report, Outcome::Failed);
    assert!(
        failed.contains(&case),
        "{case}: failed was {failed:?}\n{}",
        report.told()
    );
    assert!(!report.is_good());
}

#[test]
fn what_is_no_provider_at_all_fails_its_handshake_and_is_asked_no_more() {
    let report = examined("/bin/true".into());
    assert_eq!(names(&report, Outcome::Failed), ["handshake"]);
    assert_eq!(report.count(Outcome::Passed), 0);
    let folder = tempfile::tempdir().expect("a folder");
    let talker = python(folder.path(), "#!/bin/sh\necho hello there\nexec sleep 1000\n");
    assert_eq!(names(&examined(talker), Outcome::Failed), ["handshake"]);
}
