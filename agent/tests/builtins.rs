//! The built-in kinds, served by the agent in the protocol of external providers, pass the conformance suite: on folders, and on lab hosts what
//! would change this machine.

#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "tests; the setting for tests does not reach their helper functions, and what cannot be shown here says so"
)]

use writ_conformance::provider::report::{KindReport, Outcome, Report};
use writ_conformance::provider::{Program, builtin, examine};

/// Least cases of each kind.
const LEAST: usize = 10;

fn examined(kind: &str) -> Report {
    let program = Program {
        path: env!("CARGO_BIN_EXE_writ-agent").into(),
        arguments: builtin::ARGUMENTS.map(str::to_owned).to_vec(),
    };
    let examples = builtin::examples(kind).expect("the examples");
    examine(&program, &examples).expect("begins")
}

fn holds(kind: &str) {
    let report = examined(kind);
    let told = report.told();
    assert_eq!(report.count(Outcome::Failed), 0, "{told}");
    let of_kind = |of: &&KindReport| of.kind == kind;
    let cases = &report.kinds.iter().find(of_kind).expect("was examined").cases;
    let count = |outcome| cases.iter().filter(|case| case.outcome == outcome).count();
    if cases.iter().all(|case| case.outcome == Outcome::NotRun) {
        let why = cases
            .first()
            .and_then(|case| case.detail.as_deref())
            .unwrap_or_default();
        assert!(why.contains("no lab host here"), "{told}");
        eprintln!("not shown here: {why}");
        return;
    }
    assert!(count(Outcome::Passed) >= LEAST, "{told}");
    assert!(count(Outcome::NotRun) <= 1, "{told}");
}

#[test]
fn file() {
    holds("file");
}

#[test]
fn command() {
    holds("command");
}

#[test]
fn package() {
    holds("package");
}

#[test]
fn service() {
    holds("service");
}

#[test]
fn user() {
    holds("user");
}

#[test]
fn group() {
    holds("group");
}
