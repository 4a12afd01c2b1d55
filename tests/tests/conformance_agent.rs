//! The suite of agents: ours passes it, and one that is wrong in one thing fails the case that is about it.

use std::path::PathBuf;

use anyhow::ensure;
use writ_cli::dev::programs;
use writ_conformance::agent::{Report, examine, parts};
use writ_conformance::provider::Program;
use writ_conformance::provider::report::Outcome;

/// What is wrong with an agent, and the case that says so.
const SPOILT: [(&str, &str, &str); 9] = [
    ("trusting", "manifest", "forged"),
    ("careless", "manifest", "older"),
    ("twice", "order", "carried-out-once"),
    ("drops", "order", "evidence-verifies"),
    ("flips", "order", "recorded-in-order"),
    ("deaf", "halt", "all-hard"),
    ("believing", "watermark", "forged"),
    ("forgets", "lives", "killed-in-a-once-step"),
    ("stays", "pipe", "end-of-input"),
];

fn outcome(report: &Report, part: &str, name: &str) -> Option<Outcome> {
    let kind = report.kinds.iter().find(|kind| kind.kind == part)?;
    let case = kind.cases.iter().find(|case| case.name == name)?;
    Some(case.outcome)
}

#[test]
fn our_agent_passes() -> anyhow::Result<()> {
    let program = Program {
        path: programs::own("writ-agent")?,
        arguments: vec![],
    };
    let report = examine(&program, &[])?;
    ensure!(report.is_good(), "{}", report.told());
    ensure!(report.count(Outcome::NotRun) == 0, "{}", report.told());
    let told: Vec<&str> = report.kinds.iter().map(|kind| kind.kind.as_str()).collect();
    ensure!(told == parts().collect::<Vec<_>>(), "every part: {told:?}");
    let json = serde_json::to_value(&report)?;
    ensure!(json.get("version") == Some(&1.into()), "{json}");
    let first = json.pointer("/kinds/0/cases/0/restsOn");
    ensure!(first == Some(&"docs/protocol.md#manifest".into()), "{first:?}");
    rests_on_what_is_there(&report)
}

/// Every case rests on a place that docs/protocol.md has.
fn rests_on_what_is_there(report: &Report) -> anyhow::Result<()> {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = std::fs::read_to_string(docs)?;
    let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    let anchors: Vec<String> = headings
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    for case in report.kinds.iter().flat_map(|kind| &kind.cases) {
        let anchor = case
            .rests_on
            .and_then(|place| place.strip_prefix("docs/protocol.md#"));
        let is_there = anchor.is_some_and(|anchor| anchors.iter().any(|known| known == anchor));
        ensure!(is_there, "{}: {:?}", case.name, case.rests_on);
    }
    Ok(())
}

#[test]
fn a_spoilt_agent_fails_the_case_that_is_about_it() -> anyhow::Result<()> {
    let agent = programs::own("writ-agent")?;
    let examined = |spoilt: &str, part: &str, case: &str| {
        let program = Program {
            path: PathBuf::from(env!("CARGO_BIN_EXE_writ-spoilt-agent")),
            arguments: ["--as", spoilt, "--agent"]
                .map(str::to_owned)
                .into_iter()
                .chain([agent.display().to_string()])
                .collect(),
        };
        examine(&program, &[format!("{part}/{case}")])
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = SPOILT
            .iter()
            .map(|(spoilt, part, case)| (spoilt, part, case, scope.spawn(|| examined(spoilt, part, case))))
            .collect();
        for (spoilt, part, case, examined) in all {
            let report = examined
                .join()
                .map_err(|_| anyhow::anyhow!("{spoilt}: the suite broke off"))??;
            let found = outcome(&report, part, case);
            ensure!(
                found == Some(Outcome::Failed),
                "{spoilt}: {part}/{case} is {found:?}\n{}",
                report.told()
            );
        }
        Ok(())
    })
}
