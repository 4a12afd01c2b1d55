//! The counted matrix: every built-in provider × case × platform, on lab hosts. What was predicted was done, and a second time nothing is.

#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "tests; the setting for tests does not reach their helper functions, and the table is for people"
)]

use std::path::Path;

use writ_conformance::provider::matrix::report::{Cell, Matrix, Outcome};
use writ_conformance::provider::matrix::run;

/// Platforms that we have.
const OURS: [&str; 2] = ["debian", "fedora-like"];
/// Platforms that nobody here has.
const OTHERS: [&str; 2] = ["macos", "rhel"];
/// Providers that no lab host can have: both are the machine's init.
const INITS: [&str; 2] = ["service-systemd", "service-openrc"];
/// Every provider that runs in a lab host, with the least of its cells over all platforms.
const LEAST: [(&str, usize); 7] = [
    ("command", 10),
    ("file", 30),
    ("group", 14),
    ("package-apt", 10),
    ("package-dnf", 6),
    ("service-sysvinit", 12),
    ("user", 28),
];

/// Whether a cell of ours that does not run is a failure: in CI, and where `cargo xtask` brought every part and we may make lab hosts.
fn must_run() -> bool {
    let is_set = |name| std::env::var_os(name).is_some();
    is_set("CI") || (is_set("WRIT_PYTHON") && rustix::process::geteuid().is_root())
}

fn is_ours(cell: &Cell) -> bool {
    OURS.contains(&cell.platform.as_str()) && !INITS.contains(&cell.provider.as_str())
}

fn kept(matrix: &Matrix) {
    let json = serde_json::to_string_pretty(matrix).expect("is JSON");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("matrix.json");
    std::fs::write(&path, json).expect("writes");
    let table = path.with_extension("txt");
    std::fs::write(&table, matrix.told()).expect("writes");
    eprintln!(
        "{}\nalso in {} and {}",
        matrix.told(),
        path.display(),
        table.display()
    );
}

#[test]
fn every_cell_does_what_was_predicted_and_nothing_a_second_time() {
    let matrix = run(Path::new(env!("CARGO_BIN_EXE_writ-agent"))).expect("begins");
    kept(&matrix);
    let told = matrix.told();
    let totals = matrix.totals;
    assert_eq!((totals.failed, totals.parity_mismatches), (0, 0), "{told}");
    assert_eq!(totals.cells, totals.passed + totals.not_run, "{told}");
    for platform in OTHERS {
        let mut cells = matrix
            .rows
            .iter()
            .filter(|cell| cell.platform == platform)
            .peekable();
        assert!(cells.peek().is_some(), "{platform} is told of: {told}");
        assert!(
            cells.all(|cell| cell.status == Outcome::NotRun && cell.reason.is_some()),
            "{told}"
        );
    }
    let inits = matrix
        .rows
        .iter()
        .filter(|cell| INITS.contains(&cell.provider.as_str()));
    assert!(inits.clone().count() > 0 && inits.clone().all(|cell| cell.status == Outcome::NotRun));
    for (provider, least) in LEAST {
        let of = |cell: &&Cell| is_ours(cell) && cell.provider == provider;
        let cells = matrix.rows.iter().filter(of).count();
        assert!(cells >= least, "{provider} has {cells} cells: {told}");
    }
    let lost = || {
        matrix
            .rows
            .iter()
            .filter(|cell| is_ours(cell) && cell.status == Outcome::NotRun)
    };
    assert!(!must_run() || lost().count() == 0, "cells did not run: {told}");
    if totals.passed == 0 {
        assert!(lost().count() > 0, "{told}");
    } else {
        assert_eq!(totals.idempotent_percent, 100, "{told}");
    }
}
