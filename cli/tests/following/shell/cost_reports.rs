//! `writ cost reports|sign|fetch|verify`, with a report that is signed indeed.

use std::sync::OnceLock;

use serde_json::{Value, json};
use writ_cli::clock;
use writ_cli::dev::layout::Layout;
use writ_cli::dev::trust;
use writ_protocol::cost_report::{CostLine, CostReport, CostSums, FORMAT_VERSION, Week};
use writ_protocol::digest::Digest;

use crate::stub::Stub;
use crate::{err, out};

/// A report with everything that it is verified by.
struct Made {
    root: Digest,
    answer: Value,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        layout.make().unwrap();
        let vault = layout.vault();
        let root = trust::ensure(&vault, trust::TENANT, clock::now()).unwrap();
        let (root_bytes, policy) = vault.documents().unwrap();
        let sums = CostSums {
            orders: 3,
            cost_micros: 42,
            ..CostSums::default()
        };
        let line = |key: &str| CostLine {
            key: key.to_owned(),
            sums: sums.clone(),
        };
        let week = Week::named("2026-W47").unwrap();
        let report = CostReport {
            format_version: FORMAT_VERSION,
            tenant: trust::TENANT.to_owned(),
            week: week.name,
            from: week.from,
            to: week.to,
            currency: "USD".to_owned(),
            rate_cards: vec![1],
            total: sums.clone(),
            projects: vec![line("web")],
            kinds: vec![line("apply")],
        };
        let signed = report.sign(&vault.role_key("evidence").unwrap()).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let answer = json!({"week": "2026-W47", "digest": Digest::of(&signed.document), "orders": 3, "countedMicros": 42, "madeBy": "ann",
            "madeAt": "2026-11-23T05:00:00Z", "document": text(signed.document), "rendering": text(signed.rendering),
            "envelope": text(signed.envelope), "root": text(root_bytes), "policy": text(policy)});
        Made { root, answer }
    })
}

/// Fingerprint of the root that the report is verified by.
pub(super) fn root() -> String {
    made().root.to_hex()
}

/// The report, as the API gives it.
pub(super) fn report() -> Value {
    made().answer.clone()
}

#[test]
fn a_signed_report_is_fetched_and_verified_and_a_changed_one_is_not() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(super::kind);
    let writ = |args: &[&str]| server.writ(home.path(), args).output().unwrap();
    let fetched = writ(&["cost", "fetch", "2026-W47", "--out", "report"]);
    assert!(fetched.status.success(), "{}", err(&fetched));
    let root = root();
    let verify = ["cost", "verify", "report", "--root", &root];
    let told = writ(&verify);
    assert!(
        told.status.success() && out(&told).contains("it adds up"),
        "{}{}",
        out(&told),
        err(&told)
    );
    assert!(out(&told).contains("COST_REPORT_2026W47"), "{}", out(&told));

    let other = writ(&["cost", "verify", "report", "--root", &"0".repeat(64)]);
    assert_eq!(other.status.code(), Some(17), "{}", err(&other));
    for file in [
        "COST_REPORT_2026W47.json",
        "COST_REPORT_2026W47.md",
        "statement.dsse.json",
    ] {
        let path = home.path().join("report").join(file);
        let kept = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, kept.replacen("42", "41", 1).replacen("eyJ", "eyK", 1)).unwrap();
        let refused = writ(&verify);
        assert_eq!(refused.status.code(), Some(17), "{file}: {}", err(&refused));
        std::fs::write(&path, kept).unwrap();
    }
    assert!(writ(&verify).status.success());
    let again = writ(&["cost", "fetch", "2026-W47", "--out", "report"]);
    assert_eq!(
        again.status.code(),
        Some(1),
        "nothing is written over: {}",
        err(&again)
    );
}
